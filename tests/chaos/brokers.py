"""The brokers of a run: started, stopped, killed, frozen; and what the settings of the processes say of them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import asyncpg

from tests.chaos.kafka_readers import TOPICS, Offsets, ends
from tests.chaos.record_requests import BOUND, BOUND_RESULTS, KEY_ID, MAX_RECORD_BYTES, OWNER, PUBLIC_KEY, REPLIES
from tests.chaos.schedule import Fault, What
from tests.support.kafka import KafkaCluster

SESSION_SECONDS: Final = 6
"""A worker that is killed holds its partitions for so long: the shortest that the settings allow."""

_HIGH_WATER: Final = 40
"""So few runnable jobs that intake pauses now and then."""
_PARTITIONS: Final = 6
_THERE_SECONDS: Final = 60.0
_HOW: Final = {What.KILL: signal.SIGKILL, What.RESTART: signal.SIGTERM}


@dataclass
class Brokers:
    """One broker or three. `restarts` and `stops` count what befell them; `since`: where a run's records begin."""

    kafka: KafkaCluster
    since: Offsets = field(default_factory=dict)
    restarts: int = 0
    stops: int = 0

    async def until_there(self) -> None:
        """Returns when every topic is there: whoever has Kafka in its settings makes those that are missing."""
        until = time.monotonic() + _THERE_SECONDS
        async with self.kafka.admin() as admin:
            while missing := set(TOPICS) - set(await admin.list_topics()):
                assert time.monotonic() < until, f"nobody made the topics {sorted(missing)}"
                await asyncio.sleep(0.2)

    async def begin(self) -> None:
        """A run begins; nothing of those before it counts."""
        self.since = await ends(self.kafka)
        self.restarts = self.stops = 0

    async def befall(self, fault: Fault) -> None:
        """One fault, until the broker answers again. Never two at a time."""
        number = int(fault.who.rpartition("-")[2])
        if fault.what is What.STOP:
            self.stops += 1
            self.kafka.signal(number, signal.SIGSTOP)
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                self.kafka.signal(number, signal.SIGCONT)
            return
        self.restarts += 1
        # Shielded, because a thread that starts a broker can't be called back.
        await asyncio.shield(asyncio.to_thread(self.kafka.stop, number, _HOW[fault.what]))
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            await asyncio.shield(asyncio.to_thread(self.kafka.start, number))


@asynccontextmanager
async def running_brokers(count: int) -> AsyncIterator[Brokers]:
    """So many brokers, 1 or 3, that answer."""
    with TemporaryDirectory(prefix="eurouter-chaos-kafka-") as folder:
        kafka = await asyncio.to_thread(KafkaCluster, Path(folder), count)
        try:
            await asyncio.to_thread(kafka.start)
            yield Brokers(kafka)
        finally:
            await asyncio.to_thread(kafka.close)


def settings_for(brokers: Brokers) -> dict[str, Any]:
    """The sections of the settings that Kafka needs."""
    return {
        "kafka": {
            "bootstrap_servers": brokers.kafka.bootstrap,
            "topics": "create",
            "partitions": _PARTITIONS,
            "intake": [{"topic": BOUND, "owner": OWNER, "results_topic": BOUND_RESULTS}],
            "max_record_bytes": MAX_RECORD_BYTES,
            "high_water": _HIGH_WATER,
            "session_seconds": SESSION_SECONDS,
        },
        "owners": [
            {"name": OWNER, "public_keys": [{"id": KEY_ID, "key": PUBLIC_KEY}], "reply_topics": [REPLIES]},
        ],
    }


async def outbox_rows(database: str) -> int:
    """How many rows wait to be published."""
    connection = await asyncpg.connect(database, timeout=5)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM outbox"))
    finally:
        await connection.close()
