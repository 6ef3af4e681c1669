"""What a run with Kafka does beside what every run does: records are sent, and in the end topics are read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import asyncpg

from tests.chaos.brokers import Brokers, outbox_rows
from tests.chaos.callers import Callers
from tests.chaos.history import History
from tests.chaos.kafka_door import KafkaDoor
from tests.chaos.kafka_history import KafkaHistory
from tests.chaos.kafka_readers import read_topics
from tests.chaos.kafka_rules import unaccounted
from tests.chaos.record_callers import RecordCallers
from tests.chaos.record_requests import RecordRequest

PUBLISH_SECONDS: Final = 90.0
"""In which all must be published once every job is over and every broker is back."""

_LOST: Final = 25.0
"""Seconds without anything new after which what is missing is lost: longer than any lease or session."""

_LOOK: Final = 1.0
_QUIET: Final = 2.0
"""Seconds after the last row is gone in which what should not come can come."""


class KafkaRun:
    """Of one run. `database` is where the outbox is."""

    def __init__(self, brokers: Brokers, database: str, callers: Callers, history: History) -> None:
        self._brokers = brokers
        self._database = database
        self._history = history
        self._kafka = history.kafka = KafkaHistory()
        self._door = KafkaDoor(brokers.kafka)
        self._callers = RecordCallers(self._door, callers, history)

    async def play(self, asked: RecordRequest) -> None:
        """One record with all that becomes of it."""
        await self._callers.play(asked)

    async def read(self) -> None:
        """What the topics hold now. From here on nothing more is sent."""
        await self._door.aclose()
        self._kafka.unknown = self._door.unknown
        await read_topics(self._brokers.kafka, self._brokers.since, self._history)

    async def settle(self) -> None:
        """Returns when all is published, or the time for it is over: what is missing then the checker finds."""
        began = changed = time.monotonic()
        known = -1
        while (rows := await self._rows()) or unaccounted(self._history):
            now = time.monotonic()
            if (held := self._held()) != known or rows:
                known, changed = held, now
            if now > began + PUBLISH_SECONDS or now > changed + _LOST:
                break
            await asyncio.sleep(_LOOK)
            await read_topics(self._brokers.kafka, self._brokers.since, self._history)
        await asyncio.sleep(_QUIET)
        await self.read()
        self._kafka.unsettled = await self._rows()

    async def aclose(self) -> None:
        """Idempotent."""
        await self._door.aclose()

    def counts(self) -> Mapping[str, int]:
        """As the last line of the run names them."""
        values = {(one.job, one.version) for one in self._kafka.published if one.value is not None}
        gone = {(one.job, one.version) for one in self._kafka.published if one.value is None}
        letters = {letter.original for letter in self._kafka.letters}
        repeats = len(self._kafka.published) + len(self._kafka.letters) - len(values) - len(gone) - len(letters)
        return {
            "records": len(self._kafka.sent),
            "sends of unknown outcome": self._kafka.unknown,
            "results": len(values),
            "dead letters": len(letters),
            "tombstones": len(gone),
            "repeats": repeats,
            "broker restarts": self._brokers.restarts,
            "broker stops": self._brokers.stops,
        }

    def _held(self) -> int:
        """How many records the topics hold."""
        return len(self._kafka.sent) + len(self._kafka.published) + len(self._kafka.letters)

    async def _rows(self) -> int:
        try:
            return await outbox_rows(self._database)
        except (OSError, asyncpg.PostgresError):
            return 1
