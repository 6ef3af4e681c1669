"""A service on a real Kafka as teams see it: records are submitted, and what comes out is read.

    async with kafka_world(folder, kafka, "prefix") as world:
        sent = await world.submit(asked(text="hi"))
        result = await world.result(sent)

Topics and groups begin with the prefix. Workers in processes of their own: `worker_child(world.settings_file)`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition

from adapters.providers.simulator import Script
from service.edge.kafka import names
from tests.support.kafka_clients import Kafka
from tests.support.kafka_reader import Reader, Sent, Told
from tests.support.responses_door import ResponsesDoor, asked, responses_door
from tests.support.running import CatalogOf, Rows, two_dialects

PARTITIONS: Final = 3
_LARGEST: Final = 8 * 1024 * 1024

Headers = Mapping[str, str | bytes]


@dataclass
class KafkaWorld:
    """A running service and what it reads and writes. The default script of its provider echoes."""

    kafka: Kafka
    prefix: str
    door: ResponsesDoor
    producer: AIOKafkaProducer
    reader: Reader
    sections: Rows
    sent: list[Sent] = field(default_factory=list)

    def name(self, name: str) -> str:
        """The full name of a topic or group of this world."""
        return f"{self.prefix}.{name}"

    @property
    def settings_file(self) -> Path:
        """What workers begin with."""
        return self.door.up.upstreams.settings_file

    @property
    def url(self) -> str:
        """The database's."""
        return self.door.up.service.watcher.current.database.url or ""

    async def configure(self, **kafka: Any) -> None:
        """Changes settings of the section kafka and waits until they hold."""
        self.sections = {**self.sections, "kafka": {**self.sections["kafka"], **kafka}}
        self.door.up.upstreams.write_settings(self.sections)
        watcher = self.door.up.service.watcher
        # A file that has just been written is read at the second look.
        assert not watcher.poll()
        assert watcher.poll()

    async def submit(
        self,
        value: object,
        headers: Headers | Sequence[tuple[str, bytes]] = (),
        *,
        topic: str = "requests",
        key: bytes | None = None,
        partition: int | None = None,
    ) -> Sent:
        """Sends a record and waits until the broker has it; a value that is no bytes is written as JSON."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        future = await self.producer.send(self.name(topic), body, key, partition, headers=_pairs(headers))
        made = await future
        sent = Sent(made.topic, made.partition, made.offset)
        self.sent.append(sent)
        return sent

    def results(self, which: Sent | str) -> list[Told]:
        """The results so far of a record, or of the response with this id, tombstones among them, no repeats."""
        found = {}
        for told in self.reader.records:
            if told.topic in (self.name("jobs"), self.name("dlq")) or told.key is None:
                continue
            if which == (told.id if isinstance(which, str) else told.source):
                found[told.id, told.version] = told
        return list(found.values())

    def letters(self, sent: Sent) -> list[Told]:
        """The dead letters of a record, no repeats."""
        found = {told.headers[names.DLQ_REASON]: told for told in self._letters() if told.original == sent}
        return list(found.values())

    async def result(self, which: Sent | str, seconds: float = 20.0) -> Told:
        """The one result of a record or response; a failed test when the record is a dead letter."""

        def over() -> bool:
            return bool(self.results(which) or (isinstance(which, Sent) and self.letters(which)))

        await self.reader.until(over, f"the result of {which}", seconds)
        assert isinstance(which, str) or not self.letters(which), self.letters(which)
        (found,) = self.results(which)
        return found

    async def letter(self, sent: Sent, seconds: float = 20.0) -> Told:
        """The one dead letter of a record."""
        await self.reader.until(lambda: bool(self.letters(sent)), f"the letter of {sent}", seconds)
        (found,) = self.letters(sent)
        return found

    async def settled(self, seconds: float = 30.0) -> None:
        """Waits until every record that was submitted so far has come to something, and checks that to one thing.

        One result or one dead letter; repeats (same id and version, or same record) count once.
        """
        sent = set(self.sent)

        def left() -> set[Sent]:
            return sent - self._ended().keys()

        try:
            await self.reader.until(lambda: not left(), "every record comes to something", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; left: {sorted(left(), key=str)[:20]} of {len(sent)}") from None
        ended = self._ended()
        twice = {one: found for one in sent if len(found := ended[one]) != 1}
        assert not twice, twice

    def _ended(self) -> dict[Sent, set[tuple[str, int] | str]]:
        ended: dict[Sent, set[tuple[str, int] | str]] = {}
        for told in self._letters():
            ended.setdefault(told.original, set()).add(told.headers[names.DLQ_REASON].decode())
        for told in self.reader.records:
            if told.source is not None:
                ended.setdefault(told.source, set()).add((told.id, told.version))
        return ended

    def _letters(self) -> list[Told]:
        return self.reader.of(self.name("dlq"))

    async def lag(self, topic: str = "requests") -> int:
        """How many records of a topic come after those that intake has committed."""
        consumer = self.kafka.consumer(group=self.name("intake"))
        await consumer.start()
        try:
            partitions = [TopicPartition(self.name(topic), number) for number in range(PARTITIONS)]
            ends = await consumer.end_offsets(partitions)
            return sum([ends[one] - (await consumer.committed(one) or 0) for one in partitions])
        finally:
            await consumer.stop()

    async def members(self) -> int:
        """How many take part in intake, when the group has settled; 0 while it settles."""
        async with self.kafka.admin() as admin:
            (answer,) = await admin.describe_consumer_groups([self.name("intake")])
        ((_, _, state, _, _, members, *_),) = answer.groups
        return len(members) if state == "Stable" else 0

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 20.0) -> None:
        """Waits for something that has to be asked for."""
        try:
            async with asyncio.timeout(seconds):
                while not await condition():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s: {what}") from None


def _pairs(headers: Headers | Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(name, text if isinstance(text, bytes) else text.encode()) for name, text in pairs]


def kafka_section(kafka: Kafka, prefix: str, **changes: Any) -> Rows:
    """Settings by which a service lives in a broker of many: `requests` is bound to the owner `local`."""
    own = {"submit": "submit", "jobs": "jobs", "results": "results", "dlq": "dlq"}
    return {
        "bootstrap_servers": kafka.bootstrap,
        "topics": "off",
        "names": {key: f"{prefix}.{name}" for key, name in own.items()},
        "partitions": PARTITIONS,
        "intake": [{"topic": f"{prefix}.requests", "owner": "local"}],
        "intake_group": f"{prefix}.intake",
        "wake_group": f"{prefix}.wake",
        "session_seconds": 6,
        **changes,
    }


@asynccontextmanager
async def kafka_world(
    folder: Path,
    kafka: Kafka,
    prefix: str,
    settings: Mapping[str, Any] | None = None,
    catalog: CatalogOf = two_dialects,
    env: Mapping[str, str] | None = None,
    *,
    also: Sequence[str] = (),
    config: Mapping[str, str] | None = None,
    partitions: int = PARTITIONS,
) -> AsyncIterator[KafkaWorld]:
    """A service whose topics are there, with a reader of what comes out.

    `settings` may change keys of the section kafka; `also` are more topics to make and to read, `config` is the
    results topic's. All is removed in the end.
    """
    given = dict(settings or {})
    section = kafka_section(kafka, prefix, **given.pop("kafka", {}))
    sections = {"jobs": {"lease_seconds": 3}, "log": {"format": "json"}, **given, "kafka": section}
    read = [f"{prefix}.{name}" for name in ("results", "dlq", "jobs", *also)]
    async with AsyncExitStack() as stack:
        topics = [f"{prefix}.submit", f"{prefix}.requests", *read]
        stack.push_async_callback(kafka.delete, *topics)
        for topic in topics:
            await kafka.create(topic, partitions, config if topic == f"{prefix}.results" else None)
        reader = Reader(kafka)
        stack.push_async_callback(reader.stop)
        await reader.start(read, partitions)
        producer = kafka.producer(max_request_size=_LARGEST)
        await producer.start()
        stack.push_async_callback(producer.stop)
        door = await stack.enter_async_context(responses_door(folder, sections, catalog, env))
        door.up.alpha.script(Script(echo=True))
        yield KafkaWorld(kafka, prefix, door, producer, reader, sections)


__all__ = [
    "KafkaWorld",
    "Reader",
    "Sent",
    "Told",
    "asked",
    "kafka_section",
    "kafka_world",
]
