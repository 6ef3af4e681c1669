"""A member of a consumer group on Kafka, by aiokafka.

What aiokafka can't do is put right from outside, so it reaches into it in many places: reading on past what can't
be read (`fetched_records.py`), beginning where the group left off (`consumer_places.py`), topics that are missing
or made anew (`consumer_metadata.py`), commits of partitions that were another's in the meantime, pauses that last,
and an end in time (`aclose`).
"""
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import CommitFailedError, ConsumerStoppedError, IllegalStateError, KafkaError

from adapters.kafka.consumer_metadata import TopicsWatch, look_ahead, positions_behind
from adapters.kafka.consumer_places import SURE_SECONDS, StartingPlaces
from adapters.kafka.decompression import BATCH_BYTES
from adapters.kafka.fetched_records import read_all_records
from service.domain.consuming import ConsumerError, Place, Record

_LOOK_SECONDS: Final = 5.0
_SETTLING_SECONDS: Final = 1.0
"""How much longer than asked a poll may take while the group settles who reads what."""


class KafkaConsumer:
    """A Consumer on Kafka. Use it in one event loop.

    `client` are the arguments by which every client of aiokafka's connects. A group that has committed nothing
    of a partition begins at its first record, or with `from_latest` at the next to come, once that is certain.
    `session_seconds` of silence make a member's partitions others'. `start_seconds`, `commit_seconds` and
    `close_seconds` bound what their names say; `metadata_seconds` is how soon, at the latest, a topic is found
    that came or was made anew, `sure_seconds` how long it must be said that nothing is committed until it counts.
    `partition_bytes` and `fetch_bytes` are fetched at once, of one partition and in all; a larger record comes
    alone. No more than `fetch_bytes`, and what a last record has above, is taken out at once; a batch that holds
    more than `batch_bytes` once it is decompressed can't be read.
    """

    def __init__(
        self,
        client: Mapping[str, Any],
        group: str,
        topics: Sequence[str],
        *,
        from_latest: bool = False,
        session_seconds: float = 45.0,
        start_seconds: float = 15.0,
        commit_seconds: float = 5.0,
        close_seconds: float = 5.0,
        metadata_seconds: float = 30.0,
        sure_seconds: float = SURE_SECONDS,
        partition_bytes: int = 1024 * 1024,
        fetch_bytes: int = 16 * 1024 * 1024,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        logging.getLogger("aiokafka").setLevel(logging.WARNING)  # below, it logs what it reads
        self._topics = list(topics)
        self._arguments = {
            **client,
            "group_id": group,
            "enable_auto_commit": False,
            # Where a partition begins is not for aiokafka to say.
            "auto_offset_reset": "none",
            # What a producer broke off is nobody's job.
            "isolation_level": "read_committed",
            "check_crcs": True,
            # With a second one every member would join twice.
            "partition_assignment_strategy": (RoundRobinPartitionAssignor,),
            "session_timeout_ms": int(session_seconds * 1000),
            "heartbeat_interval_ms": int(min(3.0, session_seconds / 3) * 1000),
            "rebalance_timeout_ms": 60_000,
            "max_poll_interval_ms": 600_000,
            # A broker that stands still is left for the others before the session ends.
            "request_timeout_ms": int(min(20.0, session_seconds / 2) * 1000),
            "metadata_max_age_ms": int(metadata_seconds * 1000),
            # A partition that was read to the end of what came waits so long for those that have nothing new.
            "fetch_max_wait_ms": 200,
            "max_partition_fetch_bytes": partition_bytes,
            "fetch_max_bytes": fetch_bytes,
        }
        self._from_latest = from_latest
        self._start_seconds = start_seconds
        self._commit_seconds = commit_seconds
        self._close_seconds = close_seconds
        self._sure_seconds = sure_seconds
        self._bounds = {"batch_bytes": batch_bytes, "poll_bytes": fetch_bytes}
        self._consumer: Any = None
        self._places: StartingPlaces | None = None
        self._paused = False
        self._fetching: asyncio.Task[None] | None = None
        self._ready: dict[Place, list[Record]] = {}
        # Of each partition, what was polled since it is ours: the first offset and the one after the last.
        self._polled: dict[Place, tuple[int, int]] = {}
        self._look_at = 0.0

    async def start(self) -> None:
        """Connects and joins the group.

        Returns before the group has settled where that takes longer than `start_seconds`: another member may have
        to be waited for.

        Raises:
            ConsumerError: no broker answers in time, it lets nobody in, or not into this group.
        """
        try:
            self._consumer = consumer = AIOKafkaConsumer(**self._arguments)
            TopicsWatch(consumer._client, self._void_topic)
            async with asyncio.timeout(self._start_seconds):
                await consumer.start()
                self._places = places = StartingPlaces(
                    consumer, from_latest=self._from_latest, sure_seconds=self._sure_seconds
                )
                read_all_records(consumer, places.out_of_range, **self._bounds)
                consumer.subscribe(self._topics, listener=_Listener(self))
                await consumer._subscription.wait_for_assignment()
        except TimeoutError:
            if consumer._coordinator is None or consumer._coordinator.coordinator_id is None:
                raise ConsumerError(f"Kafka: no answer within {self._start_seconds:g} s") from None
        except (KafkaError, OSError) as error:
            raise _said(error) from None

    async def poll(self, most: int, seconds: float) -> Sequence[Record]:
        """The next records; none after `seconds` without any, or a second more while the group settles."""
        if self._paused or not self._ready:
            await self._fetch(most, seconds)
        if self._paused and (now := time.monotonic()) >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            await look_ahead(self._started())
        return () if self._paused else self._take(most)

    async def commit(self, following: Mapping[Place, int]) -> None:
        """Stores offsets of partitions that are still ours, for which they were polled since they are ours.

        What is left out was or will be read by whoever has them now: from the last offset that is stored.

        Raises:
            ConsumerError: within `commit_seconds` no broker said that they are stored.
        """
        consumer = self._started()
        valid = {TopicPartition(*place): offset for place, offset in self._ours(following)}
        # Without a generation it would commit like one that is in no group.
        if not valid or consumer._coordinator.generation < 0:
            return
        try:
            async with asyncio.timeout(self._commit_seconds):
                await consumer.commit(valid)
                if self._places is not None:
                    self._places.group_has_places = True
        except (CommitFailedError, IllegalStateError):
            # The group has moved on without us: everything will be dealt out again.
            self._void()
        except TimeoutError:
            raise ConsumerError(f"Kafka: no commit within {self._commit_seconds:g} s") from None
        except (KafkaError, OSError) as error:
            raise _said(error) from None

    def rewind(self, following: Mapping[Place, int]) -> None:
        """Reads on from these offsets, where the partitions are still ours and they were polled."""
        for place, offset in self._ours(following):
            partition = TopicPartition(*place)
            if partition in self._started().assignment():
                self._ready.pop(place, None)
                self._polled[place] = (self._polled[place][0], offset)
                self._started().seek(partition, offset)

    def pause(self, paused: bool) -> None:
        """Reads nothing more, or reads on: also after the group has dealt out the partitions anew."""
        self._paused = paused
        if self._consumer is not None:
            self._apply_pause()

    def lag(self) -> Mapping[Place, int]:
        """As of each partition's last fetch, or a few seconds old while paused."""
        if self._consumer is None or self._places is None:
            return {}
        known = {**self._places.behind(), **positions_behind(self._consumer)}
        return {place: behind + len(self._ready.get(place, ())) for place, behind in known.items()}

    async def aclose(self) -> None:
        """Leaves the group so that the others need not wait, and breaks off what does not end in time."""
        consumer, self._consumer = self._consumer, None
        fetching, self._fetching = self._fetching, None
        self._void()
        if consumer is None:
            return
        stopping = asyncio.create_task(consumer.stop())
        tasks = {stopping} | ({fetching} if fetching else set())
        try:
            if fetching:
                fetching.cancel()
            # With brokers down it never ends, or ends by a CancelledError that is not ours.
            await asyncio.wait({stopping}, timeout=self._close_seconds)
        finally:
            tasks |= _break_off(consumer, self._places)
            for task in tasks:
                task.cancel()
        await asyncio.wait(tasks, timeout=1.0)
        try:
            async with asyncio.timeout(1.0):
                await consumer._client.close()
        except (TimeoutError, KafkaError, OSError):
            # The connections are gone all the same.
            return
        finally:
            for task in tasks:
                if task.done() and not task.cancelled():
                    # Asked for, or the loop complains that nobody did.
                    task.exception()

    async def _fetch(self, most: int, seconds: float) -> None:
        """Waits for records, or until the time is over.

        aiokafka waits for the group to settle as long as that takes, and no longer notices that it is not polled
        once such a call was cancelled: it goes on in the background then, for the next poll.

        Raises:
            ConsumerError: there won't be any.
        """
        if self._started()._fetcher._fetch_task.done():
            raise ConsumerError("Kafka: fetching ended")
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_into_ready(most, seconds))
        fetching = self._fetching
        await asyncio.wait({fetching}, timeout=seconds + _SETTLING_SECONDS)
        if not fetching.done():
            return
        self._fetching = None
        error = ConsumerStoppedError() if fetching.cancelled() else fetching.exception()
        if isinstance(error, KafkaError | OSError | ConsumerStoppedError):
            raise _said(error) from None
        if error is not None:
            raise error

    async def _fetch_into_ready(self, most: int, seconds: float) -> None:
        if self._places is not None:
            self._places.check()
        fetched = await self._started().getmany(timeout_ms=int(seconds * 1000), max_records=most)
        for partition, records in fetched.items():
            self._ready.setdefault((partition.topic, partition.partition), []).extend(records)

    def _take(self, most: int) -> Sequence[Record]:
        """So many of what is ready; from here on it is polled."""
        taken: list[Record] = []
        for place in list(self._ready):
            records = self._ready.pop(place)
            room = most - len(taken)
            if len(records) > room:
                self._ready[place] = records[room:]
                records = records[:room]
            if records:
                first, _ = self._polled.get(place, (records[0].offset, 0))
                self._polled[place] = (first, records[-1].offset + 1)
                taken += records
            if len(taken) == most:
                break
        return taken

    def _ours(self, following: Mapping[Place, int]) -> Iterable[tuple[Place, int]]:
        """Those within what was polled since the partition is ours."""
        for place, offset in following.items():
            first, end = self._polled.get(place, (0, -1))
            if first <= offset <= end:
                yield place, offset

    def _void(self) -> None:
        self._ready.clear()
        self._polled.clear()

    def _void_topic(self, topic: str, there: bool) -> None:
        """What was read of a topic that went, or was made anew, says nothing about the one that is there next."""
        for places in (self._ready, self._polled):
            for place in [place for place in places if place[0] == topic]:
                del places[place]
        if there and self._places is not None:
            self._places.made_anew(topic)

    def _apply_pause(self) -> None:
        partitions = self._started().assignment()
        (self._consumer.pause if self._paused else self._consumer.resume)(*partitions)

    def _started(self) -> Any:
        if self._consumer is None:
            raise ConsumerError("Kafka: not started, or closed")
        return self._consumer


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is Any to mypy
    """Told when the group deals out the partitions anew: all are taken first, even those that come back."""

    def __init__(self, owner: KafkaConsumer) -> None:
        self._owner = owner

    def on_partitions_revoked(self, _: Iterable[Any]) -> None:
        self._owner._void()

    def on_partitions_assigned(self, _: Iterable[Any]) -> None:
        self._owner._void()
        self._owner._look_at = 0.0
        # While it closes there is nothing left to pause.
        if self._owner._consumer is not None:
            self._owner._apply_pause()


def _said(error: BaseException) -> ConsumerError:
    # Its text may name what it failed on.
    return ConsumerError(f"Kafka: {type(error).__name__}")


def _break_off(consumer: Any, places: StartingPlaces | None) -> set[asyncio.Task[Any]]:
    """Closes what can be closed at once; the tasks that are left to be cancelled."""
    consumer._closed = True
    coordinator, fetcher, client = consumer._coordinator, consumer._fetcher, consumer._client
    tasks = {client._sync_task, places and places.task}
    if coordinator is not None:
        tasks |= {coordinator._coordination_task, coordinator._heartbeat_task, coordinator._commit_refresh_task}
    if fetcher is not None:
        tasks |= {fetcher._fetch_task, *fetcher._pending_tasks}
    for connection in list(client._conns.values()):
        if connection._writer is not None:
            connection._writer.transport.abort()
    return {task for task in tasks if task is not None and not task.done()}
