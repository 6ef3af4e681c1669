"""What must hold of a run's topics, by what they hold and what the doors say. Pure functions, as in `checker`.

Delivery is at least once: repeats (a result's id and version, a dead letter's coordinates) count once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from tests.chaos.history import History, Json
from tests.chaos.kafka_history import Headers, KafkaHistory, Letter, Place, Published, Sent
from tests.chaos.record_requests import JOB, RESULTS

Found: TypeAlias = Iterator[tuple[str, str]]
T = TypeVar("T")

_SIGNATURE: Final = "eurouter-signature"
_OURS: Final = "eurouter-dlq-"


def unaccounted(history: History) -> set[str]:
    """Jobs without a result (of a deleted one: a tombstone), and records that became neither job nor letter."""
    kafka = _kafka(history)
    values, gone = _split(kafka.published)
    lettered = {letter.original for letter in kafka.letters}
    waiting = {job for job in history.jobs() if job not in (gone if job in history.deleted else values)}
    for sent in kafka.sent:
        over = sent.job in (gone if sent.job in history.deleted else values)
        if sent.place not in lettered and (sent.expected != JOB or not over):
            waiting.add(_spelt(sent.place))
    return waiting


def every_record_is_a_job_or_a_dead_letter(history: History) -> Found:
    """Each record of an intake topic becomes what it must, and never both, over all its repeats."""
    kafka = _kafka(history)
    values, gone = _split(kafka.published)
    letters = _by(kafka.letters, lambda letter: letter.original)
    places = {sent.place for sent in kafka.sent}
    for sent in kafka.sent:
        reasons = {letter.reason for letter in letters.get(sent.place, ())}
        whose = f"{sent.name} at {_spelt(sent.place)}"
        if sent.expected != JOB:
            if reasons != {sent.expected}:
                yield (
                    whose,
                    f"must be a dead letter ({sent.expected}), and is one for {sorted(reasons) or 'nothing'}",
                )
        elif reasons:
            yield whose, f"is right, and a dead letter: {sorted(reasons)}"
        elif sent.job not in values and sent.job not in gone:
            yield whose, f"is lost: nothing was published of {sent.job}"
    taken = {sent.job for sent in kafka.sent if sent.expected == JOB}
    for sent in kafka.sent:
        if sent.expected != JOB and sent.job not in taken and (sent.job in values or sent.job in gone):
            yield sent.name, f"is a job, {sent.job}, and must be a dead letter ({sent.expected})"
    for place in letters.keys() - places:
        yield _spelt(place), "there is a dead letter of a record that nobody sent"


def every_job_has_one_result(history: History) -> Found:
    """Whatever door it came by: one result, or of a deleted one a tombstone, and before it a result at most."""
    kafka = _kafka(history)
    values, gone = _split(kafka.published)
    jobs = set(history.jobs())
    for job in jobs:
        deleted = job in history.deleted
        if len(values[job]) > 1 or (not deleted and not values[job]):
            yield job, f"has results of versions {sorted(values[job]) or 'none'}"
        if len(gone[job]) != deleted:
            yield job, f"has tombstones of versions {sorted(gone[job]) or 'none'}, and {_deleted(deleted)}"
    for job in (values.keys() | gone.keys()) - jobs:
        if values[job] or gone[job]:
            yield job, "was published, and nobody heard of it"


def nothing_follows_a_tombstone(history: History) -> Found:
    """All of a job stands in one partition; a result that comes after its tombstone would stay for ever."""
    for job, records in _by(_kafka(history).published, lambda record: record.job).items():
        lanes = {record.place[:2] for record in records}
        if len(lanes) > 1:
            yield job, f"is published in {sorted(lanes)}"
        tombstones = [at for at, record in enumerate(records) if record.value is None]
        if tombstones and any(record.value is not None for record in records[tombstones[0] :]):
            yield job, "has a result after its tombstone"


def repeats_are_the_same(history: History) -> Found:
    """Whoever drops one of two records with the same id and version, or coordinates, loses nothing."""
    kafka = _kafka(history)
    for (job, version), records in _by(kafka.published, lambda record: (record.job, record.version)).items():
        if any((one.value, _kept(one)) != (records[0].value, _kept(records[0])) for one in records[1:]):
            yield job, f"was published differently under version {version}"
    for place, letters in _by(kafka.letters, lambda letter: letter.original).items():
        alike = {(letter.reason, letter.key, letter.value, _of_record(letter)) for letter in letters}
        if len(alike) > 1:
            yield _spelt(place), "has dead letters that are not the same"


def the_last_state_is_the_databases(history: History) -> Found:
    """What a compacted topic is left with is what the doors show."""
    chats = {sent.job for sent in _kafka(history).sent if sent.expected == JOB and sent.chat}
    for job, records in _by(_kafka(history).published, lambda record: record.job).items():
        last = records[-1]
        for ending in history.endings.get(job, []):
            shown = ending.response
            if last.value is None or shown is None:
                if last.value is not None or shown is not None:
                    there = "not there" if shown is None else "there"
                    yield job, f"is {there} at {ending.replica}, and its last record is {_kind(last)}"
                continue
            if last.header("eurouter-status") != shown["status"]:
                yield job, f"is {shown['status']}, and published as {last.header('eurouter-status')}"
            elif (wrong := _difference(last.value, shown, chat=job in chats)) is not None:
                yield job, f"is published otherwise than {ending.replica} shows it: {wrong}"


def results_say_what_they_answer(history: History) -> Found:
    """Topic, correlation id, coordinates and form of a result are its record's; of other doors' jobs, none."""
    records = _by([sent for sent in _kafka(history).sent if sent.expected == JOB], lambda sent: sent.job)
    for published in _kafka(history).published:
        of = records.get(published.job, [])
        topics = {sent.results for sent in of} or {RESULTS}
        if published.place[0] not in topics:
            yield published.job, f"is published in {published.place[0]}, not in {' or '.join(sorted(topics))}"
        if published.value is None:
            continue
        told = (_source(published), published.header("correlation-id"), published.header("content-type"))
        if of and not any(told == _wanted(sent, published.value) for sent in of):
            yield published.job, f"answers {told}, not {' or '.join(str(_wanted(s, published.value)) for s in of)}"
        if not of and (told[0] is not None or told[1] is not None):
            yield published.job, f"came by another door and answers {told}"


def dead_letters_are_as_submitted(history: History) -> Found:
    """Key, value and headers, but for the signature and what says why."""
    records = {sent.place: sent for sent in _kafka(history).sent}
    for letter in _kafka(history).letters:
        sent = records.get(letter.original)
        if sent is None:
            continue
        headers = _of_record(letter)
        submitted = tuple(one for one in sent.headers if one[0] != _SIGNATURE)
        if (letter.key, letter.value, headers) != (sent.key, sent.value, submitted):
            yield sent.name, f"came with {sent.key}, {submitted}, and its dead letter has {letter.key}, {headers}"


def the_outbox_is_empty(history: History) -> Found:
    """Once brokers are back everything goes out."""
    if _kafka(history).unsettled:
        yield "the outbox", f"holds {_kafka(history).unsettled} rows in the end"


KAFKA_RULES: Final[Sequence[Callable[[History], Found]]] = (
    every_record_is_a_job_or_a_dead_letter,
    every_job_has_one_result,
    nothing_follows_a_tombstone,
    repeats_are_the_same,
    the_last_state_is_the_databases,
    results_say_what_they_answer,
    dead_letters_are_as_submitted,
    the_outbox_is_empty,
)


def _kafka(history: History) -> KafkaHistory:
    assert history.kafka is not None, "there was no Kafka"
    return history.kafka


def _split(records: Sequence[Published]) -> tuple[defaultdict[str, set[str]], defaultdict[str, set[str]]]:
    """Versions of results and of tombstones, by job."""
    values: defaultdict[str, set[str]] = defaultdict(set)
    gone: defaultdict[str, set[str]] = defaultdict(set)
    for record in records:
        (gone if record.value is None else values)[record.job].add(record.version)
    return values, gone


def _by(records: Sequence[T], key: Callable[[T], Any]) -> Mapping[Any, list[T]]:
    found: defaultdict[Any, list[T]] = defaultdict(list)
    for record in records:
        found[key(record)].append(record)
    return found


def _difference(value: Json, shown: Json, *, chat: bool) -> str | None:
    if not chat or value.get("object") == "response":
        return None if value == shown else f"{value} is not {shown}"
    said = "".join(str(choice["message"]["content"]) for choice in value.get("choices", ()))
    text = "".join(
        part["text"]
        for item in shown["output"]
        for part in item.get("content", ())
        if part["type"] == "output_text"
    )
    wanted = ("chat.completion", f"chatcmpl-{str(shown['id'])[5:]}", text)
    got = (value.get("object"), value.get("id"), said)
    return None if got == wanted else f"{got} is not {wanted}"


def _source(published: Published) -> tuple[str | None, ...] | None:
    found = tuple(published.header(f"eurouter-source-{part}") for part in ("topic", "partition", "offset", "key"))
    return None if found == (None,) * len(found) else found


def _wanted(sent: Sent, value: Json) -> tuple[tuple[str | None, ...], str, str]:
    topic, partition, offset = sent.place
    message = "ChatCompletion" if value.get("object") == "chat.completion" else "Response"
    content = f"application/protobuf; proto=eurouter.v1.{message}" if sent.protobuf else "application/json"
    return (topic, str(partition), str(offset), sent.key), sent.correlation, content


def _kept(record: Published) -> Headers:
    # A trace is lost with a relay that had to leave; nothing is told by it.
    return [header for header in record.headers if header[0] not in ("traceparent", "tracestate")]


def _of_record(letter: Letter) -> tuple[tuple[str, str], ...]:
    return tuple(header for header in letter.headers if not header[0].startswith(_OURS))


def _kind(record: Published) -> str:
    return "a tombstone" if record.value is None else "a result"


def _deleted(deleted: bool) -> str:
    return "was deleted" if deleted else "was not deleted"


def _spelt(place: Place) -> str:
    return ":".join(map(str, place))
