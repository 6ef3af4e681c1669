"""Where a member of a group begins to read the partitions that it was dealt: at the places that the group stored.

aiokafka takes an answer that is an error (of a broker that no longer, or not yet, coordinates the group) for one
that nothing is stored, and then reads whole topics once more. Here an error is no answer, and that nothing is
stored is believed only once it was said again and again; what has its place is read in the meantime.
"""
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.consumer.fetcher import OffsetResetStrategy
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    KafkaError,
    NoError,
    NotCoordinatorForGroupError,
    for_code,
)
from aiokafka.protocol.commit import OffsetFetchRequest

from service.domain.consuming import Place

_SECONDS_BETWEEN: Final = 0.5
_ANSWERS_NEW: Final = 2
_ANSWERS: Final = 3
SURE_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 2.0
_SILENT_SECONDS: Final = 15.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Missing:
    """A partition of which the group has nothing stored, as was said so many times since then.

    `first` and `end` are its first offset and the one after its last, as of the first time.
    """

    since: float
    answers: int = 0
    first: int = -1
    end: int = -1

    def believed(self, now: float, sure: float, group_is_new: bool) -> bool:
        if self.first < 0:
            return False
        if group_is_new and self.first == self.end:
            return self.answers >= _ANSWERS_NEW
        return self.answers >= _ANSWERS and now - self.since >= sure


@dataclass(frozen=True, slots=True)
class _Placed:
    """What the fetcher sees of an assignment: it holds up all partitions for one that has no place."""

    assignment: Any
    tps: Collection[Any]

    def state_value(self, partition: Any) -> Any:
        return self.assignment.state_value(partition)


class StartingPlaces:
    """Finds the places of what a started consumer of aiokafka's is dealt, in the background.

    With `from_latest` a partition of which nothing is stored begins after the last record that it had when that
    was said first; else at its first record.
    """

    def __init__(self, consumer: Any, *, from_latest: bool, sure_seconds: float = SURE_SECONDS) -> None:
        self._sure_seconds = sure_seconds
        self.group_has_places = False
        """Whether anything is known to be stored."""
        self.task: asyncio.Task[None] | None = None
        """Finds the places; ends as soon as each partition has one."""
        self._fetcher = consumer._fetcher
        self._coordinator = consumer._coordinator
        self._subscription = consumer._subscription
        self._strategy = OffsetResetStrategy.LATEST if from_latest else OffsetResetStrategy.EARLIEST
        self._assignment: Any = None
        self._missing: dict[Any, _Missing] = {}
        self._failure: Exception | None = None
        self._actions = self._fetcher._get_actions_per_node
        self._fetcher._get_actions_per_node = self._actions_of_placed

    def check(self) -> None:
        """Raises why there won't be any records, if so.

        Raises:
            KafkaError: the places can't be had.
        """
        if self._failure is not None:
            raise self._failure

    def behind(self) -> dict[Place, int]:
        """How many records there are to read of partitions that have no place yet, as far as that is known."""
        latest = self._strategy == OffsetResetStrategy.LATEST
        return {
            (partition.topic, partition.partition): 0 if latest else one.end - one.first
            for partition, one in self._missing.items()
            if one.first >= 0
        }

    def out_of_range(self, partition: Any, offset: int) -> None:
        """Goes on with what is there, or comes next, in a partition that has nothing at its place any more."""
        latest = self._strategy == OffsetResetStrategy.LATEST
        _log.warning(
            "Kafka: partition %s:%d has nothing at offset %d: it is read on from %s",
            *(partition.topic, partition.partition, offset),
            "what comes next" if latest else "the first record that is there",
        )
        state = self._assignment.state_value(partition)
        if state is not None:
            state.await_reset(self._strategy)

    def made_anew(self, topic: str) -> None:
        """Reads all of a topic that was deleted and is there again."""
        assignment = self._subscription.subscription and self._subscription.subscription.assignment
        for partition in assignment.tps if assignment else ():
            if partition.topic == topic:
                assignment.state_value(partition).await_reset(OffsetResetStrategy.EARLIEST)
                self._fetcher._records.pop(partition, None)

    def _actions_of_placed(self, assignment: Any) -> Any:
        """Stands in for a method of the fetcher's, which is asked before each round of fetches."""
        # With a connection that breaks, what waits for it may end as if it had been cancelled.
        if assignment is not self._assignment or (self.task is not None and self.task.cancelled()):
            if self.task is not None:
                self.task.cancel()
            self._assignment = assignment
            self._missing = {}
            self._failure = None
            self.task = asyncio.create_task(self._find(assignment))
        placed = [
            partition for partition in assignment.tps if not _is_without_place(assignment.state_value(partition))
        ]
        return self._actions(_Placed(assignment, placed))

    async def _find(self, assignment: Any) -> None:
        told_at = time.monotonic() + _SILENT_SECONDS
        try:
            while assignment.active and (places := _without_place(assignment)):
                self._take(assignment, await self._stored(places))
                await self._look()
                self._begin_missing(assignment)
                silent = [one for one in _without_place(assignment) if one not in self._missing]
                if silent and time.monotonic() > told_at:
                    told_at = math.inf
                    _log.warning("Kafka: where to read %d partitions is not said; still asking", len(silent))
                if _without_place(assignment):
                    await asyncio.sleep(_SECONDS_BETWEEN)
        except Exception as error:  # noqa: BLE001 - who waits for records has to know
            self._failure = error

    async def _stored(self, partitions: Sequence[Any]) -> dict[Any, int]:
        """What the group has stored, negative for nothing, of those of which it was said.

        Raises:
            KafkaError: it won't be said.
        """
        by_topic: dict[str, list[int]] = defaultdict(list)
        for partition in partitions:
            by_topic[partition.topic].append(partition.partition)
        request = OffsetFetchRequest(self._coordinator.group_id, list(by_topic.items()))
        try:
            answer = await self._coordinator._send_req(request)
        except KafkaError as error:
            if not error.retriable:
                raise
            return {}
        if not self._answers(getattr(answer, "error_code", 0)):
            return {}
        said = {
            (topic, number): offset
            for topic, numbers in answer.topics
            for number, offset, _, code in numbers
            if self._answers(code)
        }
        return {partition: said[partition] for partition in partitions if partition in said}

    def _answers(self, code: int) -> bool:
        """Whether it is no error.

        Raises:
            KafkaError: it is one that asking again does not mend.
        """
        error = for_code(code)
        if error is NoError:
            return True
        if not error.retriable:
            raise error()
        if error in (NotCoordinatorForGroupError, GroupCoordinatorNotAvailableError):
            # Another one will be looked for.
            self._coordinator.coordinator_dead()
        return False

    def _take(self, assignment: Any, stored: dict[Any, int]) -> None:
        now = time.monotonic()
        for partition, offset in stored.items():
            if offset < 0:
                self._missing.setdefault(partition, _Missing(now)).answers += 1
                continue
            self.group_has_places = True
            self._missing.pop(partition, None)
            self._begin(assignment, partition, offset)

    async def _look(self) -> None:
        """Learns of the partitions that are missing where they begin and end."""

        async def look(partition: Any, one: _Missing) -> None:
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    firsts, ends = await asyncio.gather(
                        self._fetcher.beginning_offsets([partition], None),
                        self._fetcher.end_offsets([partition], None),
                    )
            except (TimeoutError, KafkaError):
                return
            one.first, one.end = firsts.get(partition, -1), ends.get(partition, -1)

        await asyncio.gather(*(look(*item) for item in self._missing.items() if item[1].first < 0))

    def _begin_missing(self, assignment: Any) -> None:
        now = time.monotonic()
        for partition, one in list(self._missing.items()):
            if not one.believed(now, self._sure_seconds, group_is_new=not self.group_has_places):
                continue
            del self._missing[partition]
            if self._strategy == OffsetResetStrategy.LATEST:
                self._begin(assignment, partition, one.end)
            elif self._begin(assignment, partition, one.first) and one.first < one.end:
                _log.warning(
                    "Kafka: partition %s:%d has no committed offset: it is read from its beginning",
                    *(partition.topic, partition.partition),
                )

    def _begin(self, assignment: Any, partition: Any, offset: int) -> bool:
        """Whether it had no place yet: while others were asked, it may have got one."""
        state = assignment.state_value(partition)
        if not _is_without_place(state):
            return False
        state.seek(offset)
        # So that the fetcher sees it.
        self._fetcher._notify(self._fetcher._wait_consume_future)
        return True


def _is_without_place(state: Any) -> bool:
    return not (state.has_valid_position or state.awaiting_reset)


def _without_place(assignment: Any) -> list[Any]:
    return [partition for partition in assignment.tps if _is_without_place(assignment.state_value(partition))]
