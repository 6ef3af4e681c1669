"""Reads the dead letters' topic, from its end backwards or at given places. Joins no group, commits nothing.

Every call has a consumer of its own: operators ask seldom, and nothing stays open in between. What a record there
means is not known here.
"""
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from adapters.kafka.client import KafkaClientError
from adapters.kafka.fetched_records import read_all_records
from service.domain.consuming import ConsumerError, Record
from service.domain.dead_letters import LetterPage, LetterPlace

_FETCH_WAIT_MS: Final = 50
_POLL_MS: Final = 200
_AT_ONCE: Final = 500
_NEAR: Final = 50
"""Places that are no farther apart are read in one go."""

_Span: TypeAlias = tuple[int, int]
"""From the first offset to before the second."""


@dataclass(slots=True)
class _Tail:
    """The newest records of a partition that begins at `begin`: all from `oldest` on, oldest first."""

    begin: int
    oldest: int
    share: int
    most_bytes: int
    records: deque[Record] = field(default_factory=deque)
    _bytes: int = 0

    @property
    def more(self) -> bool:
        """Whether there is something older."""
        return self.oldest > self.begin

    def widen(self) -> _Span:
        """Goes farther back; what to read then."""
        end, self.oldest = self.oldest, max(self.begin, self.oldest - self.share)
        self.share *= 2
        return self.oldest, end

    def add(self, record: Record) -> None:
        """The next newer one. What is too much to hold is forgotten, the oldest first."""
        self.records.append(record)
        self._bytes += _size(record)
        while self._bytes > self.most_bytes and len(self.records) > 1:
            self._bytes -= _size(self.records.popleft())
            self.oldest = self.records[0].offset

    @property
    def before(self) -> int | None:
        """What to read on before; None: there is nothing older."""
        if self.records:
            return self.records[-1].offset + 1
        return self.oldest if self.more else None


class KafkaDeadLetters:
    """A DeadLetterTopic on Kafka. Use it in one event loop.

    `client` gives the arguments by which every client of aiokafka's connects, and may raise KafkaClientError. A
    call takes `seconds` at most, and `close_seconds` to disconnect; a page has at most about `most_bytes`, and
    fewer records where it has to.
    """

    def __init__(
        self,
        client: Callable[[], Mapping[str, Any]],
        topic: str,
        *,
        seconds: float = 15.0,
        close_seconds: float = 2.0,
        most_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        # Below this level it logs what it reads.
        log = logging.getLogger("aiokafka")
        log.setLevel(max(log.level, logging.WARNING))
        self._client = client
        self._topic = topic
        self._seconds = seconds
        self._close_seconds = close_seconds
        self._most_bytes = most_bytes

    async def newest(self, before: Mapping[int, int] | None, most: int) -> LetterPage:
        """Up to `most` records, those before these offsets; of all partitions together the newest first.

        Fewer where one partition has more to tell than was read of it: what comes next is not known then.

        Raises:
            ConsumerError: Kafka can't be reached or refuses, or has no such topic.
        """
        async with self._open() as consumer:
            tails = self._tails(await self._bounds(consumer), before, most)
            while spans := {
                number: [tail.widen()] for number, tail in tails.items() if not tail.records and tail.more
            }:
                await self._read(consumer, spans, lambda record: tails[record.partition].add(record))
        records = _merged(tails.values(), most)
        left = {number: tail.before for number, tail in tails.items()}
        return LetterPage(records, {number: offset for number, offset in left.items() if offset is not None})

    async def at(self, places: Sequence[LetterPlace]) -> Sequence[Record | None]:
        """The records at these places; None where there is none (any more).

        Raises:
            ConsumerError: as for `newest`.
        """
        found: dict[LetterPlace, Record | None] = dict.fromkeys(places)

        def take(record: Record) -> None:
            if (record.partition, record.offset) in found:
                found[record.partition, record.offset] = record

        async with self._open() as consumer:
            spans: dict[int, list[_Span]] = {}
            bounds = await self._bounds(consumer)
            for number, offset in sorted(found):
                begin, end = bounds.get(number, (0, 0))
                if begin <= offset < end:
                    _append(spans.setdefault(number, []), offset)
            await self._read(consumer, spans, take)
        return [found[place] for place in places]

    def _tails(self, bounds: Mapping[int, _Span], before: Mapping[int, int] | None, most: int) -> dict[int, _Tail]:
        """Where to begin in each partition that has something: in one that has more, farther from its end."""
        spans = {
            number: (begin, end if before is None else min(end, before.get(number, 0)))
            for number, (begin, end) in bounds.items()
        }
        spans = {number: (begin, end) for number, (begin, end) in spans.items() if begin < end}
        total = sum(end - begin for begin, end in spans.values())
        return {
            # Half as many again: the partitions' records do not come as evenly as all that.
            number: _Tail(begin, end, min(most, most * (end - begin) * 3 // (total * 2) + 4), self._share(spans))
            for number, (begin, end) in spans.items()
        }

    def _share(self, spans: Mapping[int, _Span]) -> int:
        return self._most_bytes // max(1, len(spans))

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = self._consumer()
        try:
            async with asyncio.timeout(self._seconds):
                await consumer.start()
                read_all_records(consumer)
                yield consumer
        except TimeoutError:
            raise ConsumerError(f"Kafka: no answer within {self._seconds:g} s") from None
        except (KafkaError, OSError) as error:
            raise ConsumerError(f"Kafka: {type(error).__name__}") from None
        finally:
            await self._close(consumer)

    def _consumer(self) -> AIOKafkaConsumer:
        try:
            arguments = self._client()
        except KafkaClientError as error:
            raise ConsumerError(f"Kafka: {error}") from None
        return AIOKafkaConsumer(
            **arguments,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )

    async def _close(self, consumer: AIOKafkaConsumer) -> None:
        # A task of its own: with brokers down it may end as if it were cancelled.
        stopping = asyncio.ensure_future(consumer.stop())
        stopping.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({stopping}, timeout=self._close_seconds)
        stopping.cancel()

    async def _bounds(self, consumer: AIOKafkaConsumer) -> dict[int, _Span]:
        """The first offset of each partition, and the one after its last record."""
        # All topics: asked for by its name, one that is not there might be made by that.
        cluster = await consumer._client.fetch_all_metadata()
        numbers = cluster.partitions_for_topic(self._topic)
        if not numbers:
            raise ConsumerError(f"Kafka: there is no topic {self._topic}, or this user may not see it")
        # Who leads them has to be known, or the next call waits until it is looked up.
        await consumer._client.set_topics([self._topic])
        partitions = [TopicPartition(self._topic, number) for number in sorted(numbers)]
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        return {one.partition: (begins[one], ends[one]) for one in partitions}

    async def _read(
        self, consumer: AIOKafkaConsumer, spans: Mapping[int, list[_Span]], take: Callable[[Record], None]
    ) -> None:
        """Hands over the records of these spans, in order within a partition. There may be holes in them."""
        left = {TopicPartition(self._topic, number): deque(wanted) for number, wanted in spans.items()}
        if not left:
            return
        consumer.assign(list(left))
        for partition, wanted in left.items():
            consumer.seek(partition, wanted[0][0])
        while left:
            batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_AT_ONCE)
            for partition, batch in batches.items():
                begin, end = left[partition][0] if partition in left else (0, 0)
                for one in batch:
                    if begin <= one.offset < end:
                        take(one)
            for partition, wanted in list(left.items()):
                if await consumer.position(partition) < wanted[0][1]:
                    continue
                wanted.popleft()
                if wanted:
                    consumer.seek(partition, wanted[0][0])
                else:
                    consumer.pause(partition)
                    del left[partition]
            # Others want the event loop, too.
            await asyncio.sleep(0)


def _merged(tails: Iterable[_Tail], most: int) -> list[Record]:
    """Takes the newest records out of the tails, as far as their order is known."""
    waiting = [(-tail.records[-1].timestamp_ms, place, tail) for place, tail in enumerate(tails) if tail.records]
    heapify(waiting)
    merged: list[Record] = []
    while waiting and len(merged) < most:
        _, place, tail = heappop(waiting)
        merged.append(tail.records.pop())
        if tail.records:
            heappush(waiting, (-tail.records[-1].timestamp_ms, place, tail))
        elif tail.more:
            break
    return merged


def _append(spans: list[_Span], offset: int) -> None:
    """One more place to read, after all that are there."""
    if spans and offset - spans[-1][1] <= _NEAR:
        spans[-1] = (spans[-1][0], offset + 1)
    else:
        spans.append((offset, offset + 1))


def _size(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
