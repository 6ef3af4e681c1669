"""What the settings as a whole say of Kafka's topics, keys and groups, and what of it can't be at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from service.settings.model import Settings

Found: TypeAlias = tuple[tuple[int | str, ...], str]
"""Where (keys and list positions) and what is wrong."""

_OWN: Final = ("submit", "jobs", "results", "dlq")


def results_topics(settings: Settings) -> tuple[str, ...]:
    """Every topic that a result may be written to, each once; the common one is the first."""
    return tuple(dict.fromkeys((settings.kafka.names.results, *(topic for _, topic in _results(settings)))))


def check_kafka(settings: Settings) -> Iterator[Found]:
    """Everything that is wrong between parts that are right by themselves."""
    kafka = settings.kafka
    if kafka.intake and not kafka.enabled:
        yield (
            ("kafka", "bootstrap_servers"),
            "is required as soon as kafka.intake lists topics: name the brokers, as host:port",
        )
    if kafka.wake_group == kafka.intake_group:
        yield ("kafka", "wake_group"), f"'{kafka.wake_group}' is the intake's group: each needs its own"
    yield from _names(settings)
    yield from _bindings(settings)
    yield from _loops(settings)
    yield from _key_ids(settings)


def _names(settings: Settings) -> Iterator[Found]:
    names = settings.kafka.names
    first: dict[str, str] = {}
    for key in _OWN:
        topic = getattr(names, key)
        if (other := first.setdefault(topic, key)) != key:
            yield (
                ("kafka", "names", key),
                f"'{topic}' is kafka.names.{other} already: each topic needs its own name",
            )


def _bindings(settings: Settings) -> Iterator[Found]:
    names = settings.kafka.names
    own = {getattr(names, key): key for key in _OWN}
    seen: set[str] = set()
    for position, binding in enumerate(settings.kafka.intake):
        where = ("kafka", "intake", position, "topic")
        if binding.topic == names.submit:
            yield where, f"'{binding.topic}' is kafka.names.submit, which all owners share: bind another topic"
        elif binding.topic in own:
            yield where, f"'{binding.topic}' is kafka.names.{own[binding.topic]}: nothing is taken in from there"
        elif binding.topic in seen:
            yield where, f"'{binding.topic}' is bound twice: a topic has one owner"
        seen.add(binding.topic)


def _loops(settings: Settings) -> Iterator[Found]:
    names = settings.kafka.names
    taken = dict.fromkeys(settings.kafka.intake_topics, "submissions are read from it")
    taken |= {names.jobs: "it is kafka.names.jobs", names.dlq: "it is kafka.names.dlq"}
    for where, topic in _results(settings):
        if topic in taken:
            yield where, f"results can't go to '{topic}': {taken[topic]}"


def _results(settings: Settings) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Places of the settings, with the results topics that stand there."""
    for position, binding in enumerate(settings.kafka.intake):
        if binding.results_topic is not None:
            yield ("kafka", "intake", position, "results_topic"), binding.results_topic
    for position, owner in enumerate(settings.owners):
        if owner.results_topic is not None:
            yield ("owners", position, "results_topic"), owner.results_topic
        for number, topic in enumerate(owner.reply_topics):
            yield ("owners", position, "reply_topics", number), topic


def _key_ids(settings: Settings) -> Iterator[Found]:
    taken: dict[str, str] = {}
    for position, owner in enumerate(settings.owners):
        for number, key in enumerate(owner.public_keys):
            if key.id in taken:
                where = ("owners", position, "public_keys", number, "id")
                yield where, f"'{key.id}' is the id of a key of the owner '{taken[key.id]}' already"
            taken.setdefault(key.id, owner.name)
