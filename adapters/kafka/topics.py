"""The topics as the contract has them: looked at when the service starts, made where they may be, never changed.

What is written to them, and in what form, is not known here.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from adapters.kafka.diagnosis import why_unreachable
from service.domain.signals import Report

# ruff: noqa: SLF001  # describe_topics would make the topics that it asks for, where brokers make them unasked

Mode = Literal["create", "check", "off"]

DIFFERS: Final = "kafka_topic_differs"

_DAY: Final = 24 * 3600 * 1000
SUBMISSIONS: Final = {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY)}
JOBS: Final = {"cleanup.policy": "delete", "retention.ms": str(_DAY)}
RESULTS: Final = {
    "cleanup.policy": "compact,delete",
    "retention.ms": str(30 * _DAY),
    "max.compaction.lag.ms": str(_DAY),
}
DEAD_LETTERS: Final = {"cleanup.policy": "delete", "retention.ms": str(14 * _DAY)}

_REPLICAS: Final = 3
_MIN_INSYNC: Final = ("min.insync.replicas", "2")
_CLOSE_SECONDS: Final = 2.0


class TopicsError(Exception):
    """The cluster could not be asked, or not in time. The text holds no credentials."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be. `replication` None: three replicas, or as many as there are brokers."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)
    replication: int | None = None

    def on(self, brokers: int) -> TopicSpec:
        """The same, decided for a cluster of so many brokers."""
        replication = self.replication or min(_REPLICAS, max(brokers, 1))
        insync = dict((_MIN_INSYNC,)) if replication >= _REPLICAS else {}
        return TopicSpec(self.name, self.partitions, {**self.config, **insync}, replication)

    @property
    def command(self) -> str:
        """What makes it, with Kafka's own tool."""
        words = ["kafka-topics.sh", "--create", "--topic", self.name, "--partitions", str(self.partitions)]
        if self.replication is not None:
            words += ["--replication-factor", str(self.replication)]
        for key, value in self.config.items():
            words += ["--config", f"{key}={value}"]
        return shlex.join(words)


def wanted_topics(
    submissions: Iterable[str],
    jobs: str,
    results: Iterable[str],
    dlq: str,
    *,
    partitions: int,
    replication: int | None = None,
) -> tuple[TopicSpec, ...]:
    """All topics that the service uses: those of intake, of wake-ups, of results, of dead letters."""
    configs = {
        **dict.fromkeys(submissions, SUBMISSIONS),
        jobs: JOBS,
        **dict.fromkeys(results, RESULTS),
        dlq: DEAD_LETTERS,
    }
    return tuple(TopicSpec(name, partitions, config, replication) for name, config in configs.items())


async def settle_topics(
    client: Mapping[str, Any],
    wanted: Sequence[TopicSpec],
    mode: Mode,
    report: Report,
    *,
    seconds: float = 20.0,
) -> list[str]:
    """Makes what is missing, if the mode is create, and says what is not as it should be, a sentence each.

    `client` are the arguments by which every client of aiokafka's connects. Nothing that exists is changed. What
    may not be described or made is one of the sentences; each is reported too. It takes `seconds` at most, and
    some more to find out why nobody answers.

    Raises:
        TopicsError: nobody answers, or not in time; try again later.
    """
    if mode == "off" or not wanted:
        return []
    admin = AIOKafkaAdminClient(**client, request_timeout_ms=int(seconds * 1000))
    try:
        async with asyncio.timeout(seconds):
            await admin.start()
            known = admin._client.cluster
            if known.brokers() and known.controller is not None:
                return await _settle(admin, wanted, report, create=mode == "create")
            problem = "the cluster has no brokers or no controller now"
    except TimeoutError:
        problem = f"the topics could not be looked at within {seconds:g} s"
    except (KafkaError, OSError) as error:
        problem = f"the topics could not be looked at: {type(error).__name__}"
    finally:
        await _close(admin)
    why = await why_unreachable(client)
    raise TopicsError(f"Kafka: {problem}{f' ({why})' if why else ''}")


async def _close(admin: AIOKafkaAdminClient) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await admin.close()
    except (TimeoutError, KafkaError, OSError):
        return  # nothing of it is needed any more


async def _settle(
    admin: AIOKafkaAdminClient, wanted: Sequence[TopicSpec], report: Report, *, create: bool
) -> list[str]:
    cluster = await _Cluster.of(admin, [spec.name for spec in wanted])
    specs = [spec.on(cluster.brokers) for spec in wanted]
    missing = [spec for spec in specs if cluster.error(spec.name) is UnknownTopicOrPartitionError]
    problems: list[tuple[str, str]] = []
    if create and missing:
        problems += await _create(admin, missing, report)
    else:
        problems += [(spec.name, _missing(spec)) for spec in missing]
    there = []
    for spec, before in zip(specs, wanted, strict=True):
        error = cluster.error(spec.name)
        if error is None:
            there.append((spec, before))
        elif error is not UnknownTopicOrPartitionError:
            problems.append((spec.name, _unseen(spec.name, error, "Describe")))
    settings = await _settings(admin, [spec for spec, _ in there])
    for spec, before in there:
        problems += [(spec.name, problem) for problem in _shape(spec, before, cluster)]
        problems += [(spec.name, problem) for problem in _differing(spec, settings[spec.name])]
    for topic, problem in problems:
        report(DIFFERS, {"topic": topic, "problem": problem})
    return [problem for _, problem in problems]


@dataclass(frozen=True, slots=True)
class _Cluster:
    """What a cluster says of itself: how many brokers live, and the topics that were asked for."""

    brokers: int
    topics: Mapping[str, Mapping[str, Any]]

    @classmethod
    async def of(cls, admin: AIOKafkaAdminClient, topics: list[str]) -> _Cluster:
        request = MetadataRequest(topics, allow_auto_topic_creation=False)
        answer = (await admin._send_request(request)).to_object()
        return cls(len(answer["brokers"]), {topic["topic"]: topic for topic in answer["topics"]})

    def error(self, topic: str) -> type[KafkaError] | None:
        """Why it can't be seen; None: it is there."""
        code = self.topics[topic]["error_code"]
        return for_code(code) if code else None

    def partitions(self, topic: str) -> int:
        return len(self.topics[topic]["partitions"])

    def replication(self, topic: str) -> int:
        """Of the partition that has the fewest."""
        return min((len(one["replicas"]) for one in self.topics[topic]["partitions"]), default=0)


async def _create(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], report: Report) -> list[tuple[str, str]]:
    new = [NewTopic(spec.name, spec.partitions, spec.replication, topic_configs=spec.config) for spec in specs]
    answer = await admin.create_topics(new)
    by_name = {spec.name: spec for spec in specs}
    problems = []
    for topic, code, *message in answer.topic_errors:
        spec, error = by_name[topic], for_code(code)
        if not code:
            report(
                "kafka_topic_created",
                {"topic": topic, "partitions": spec.partitions, "replication": spec.replication},
            )
        elif error in (TopicAuthorizationFailedError, ClusterAuthorizationFailedError):
            problems.append(
                (topic, f"the topic '{topic}' may not be made by us: grant Create, or {_by_hand(spec)}")
            )
        elif error is not TopicAlreadyExistsError:
            why = f"{error.__name__}: {message[0]}" if message and message[0] else error.__name__
            problems.append((topic, f"the topic '{topic}' could not be made ({why}): {_by_hand(spec)}"))
    return problems


async def _settings(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]
) -> dict[str, Mapping[str, str | None] | str]:
    """The settings of topics by their names; in place of those that can't be read a sentence that says why."""
    if not specs:
        return {}
    asked = [ConfigResource(ConfigResourceType.TOPIC, spec.name, dict.fromkeys(spec.config, "")) for spec in specs]
    found: dict[str, Mapping[str, str | None] | str] = {}
    for answer in await admin.describe_configs(asked):
        for code, _, _, topic, entries in answer.resources:
            if code:
                found[topic] = _unseen(topic, for_code(code), "DescribeConfigs")
            else:
                found[topic] = {name: value for name, value, *_ in entries}
    return found


def _shape(spec: TopicSpec, before: TopicSpec, cluster: _Cluster) -> Iterator[str]:
    """What is wrong with the numbers of partitions and replicas; `before` it was decided what is wanted."""
    partitions, replication = cluster.partitions(spec.name), cluster.replication(spec.name)
    if partitions != spec.partitions:
        yield _other(spec.name, "partitions", str(partitions), str(spec.partitions))
    # A broker that is down is not counted: more replicas than we would have chosen now are no mistake.
    if spec.replication is not None and (
        replication < spec.replication or before.replication not in (None, replication)
    ):
        yield _other(spec.name, "replication factor", str(replication), str(spec.replication))


def _differing(spec: TopicSpec, settings: Mapping[str, str | None] | str) -> Iterator[str]:
    if isinstance(settings, str):
        yield settings
        return
    for name, wanted in spec.config.items():
        found = settings.get(name)
        # A policy is a list in any order.
        if found is None or sorted(found.split(",")) != sorted(wanted.split(",")):
            yield _other(spec.name, name, found or "not set", wanted)


def _other(topic: str, setting: str, found: str, wanted: str) -> str:
    return f"the topic '{topic}' has another {setting} than it should have: found {found}, wanted {wanted}"


def _missing(spec: TopicSpec) -> str:
    return (
        f"there is no topic '{spec.name}': {_by_hand(spec)}, or let the service make it by the setting "
        "kafka.topics: create"
    )


def _by_hand(spec: TopicSpec) -> str:
    return f"make it by `{spec.command}`"


def _unseen(topic: str, error: type[KafkaError], right: str) -> str:
    if error is TopicAuthorizationFailedError:
        return f"the topic '{topic}' can't be checked: we may not see it, grant {right} on it"
    return f"the topic '{topic}' can't be checked: {error.__name__}"
