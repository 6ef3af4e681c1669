"""A team's side of Kafka, a process of its own: submits records, writes wake-ups, notes when results come.

A command is a JSON line whose `do` names a method of Client, with its arguments; the answer a JSON line, with an
`error` where it could not.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import asyncpg
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from bench.kafka.broker import PARTITIONS
from bench.kafka.sizes import JSON
from bench.traffic import VENDOR, response_json, response_request
from service.edge.kafka import names
from tests.support.kafka_clients import Kafka

_SECONDS: Final = 60.0
_FETCH_MS: Final = 20
"""A consumer that waited for longer at the broker would be what is measured."""

_SMALL: Final = "How do I get from Utrecht to Milano on a Sunday in May without a night train?"
_RELEASE: Final = "UPDATE jobs SET not_before = now() WHERE id = $1"


class NotReadError(Exception):
    """What should have come did not, or was something else."""


def small_record(form: str, model: str) -> bytes:
    """A request of some 150 bytes."""
    if form == JSON:
        return orjson.dumps({"model": f"{VENDOR}/{model}", "input": _SMALL, "max_output_tokens": 512})
    request = response_request(model, store=True)
    request.ClearField("instructions")
    return request.SerializeToString()


def record_of(form: str, model: str) -> bytes:
    """The request that the load generator sends over gRPC."""
    if form == JSON:
        return response_json(model, stream=False, store=True, background=True)
    return response_request(model, store=True, background=True).SerializeToString()


class Client:
    """One client; its methods are the commands."""

    def __init__(self) -> None:
        self._kafka = Kafka("")
        self._producer: AIOKafkaProducer | None = None
        self._reader: asyncio.Task[None] | None = None
        self._results: dict[str, tuple[float, str, bytes]] = {}
        self._came = asyncio.Event()
        self._number = 0

    async def connect(self, bootstrap: str) -> None:
        """First of all."""
        self._kafka = Kafka(bootstrap)
        self._producer = self._kafka.producer(client_id="bench")
        await self._producer.start()

    async def read(self, topic: str) -> None:
        """Reads the results in a topic from now on."""
        consumer = self._kafka.consumer(fetch_max_wait_ms=_FETCH_MS)
        await consumer.start()
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        for partition in partitions:
            await consumer.position(partition)
        self._reader = asyncio.create_task(self._read(consumer))

    async def submit(
        self,
        topic: str,
        form: str,
        model: str,
        count: int = 0,
        rate: float = 0.0,
        seconds: float = 0.0,
        *,
        small: bool = False,
        run_at: str = "",
    ) -> int:
        """Sends so many records at once, or as they arrive by chance at a rate; how many the broker has."""
        assert self._producer is not None
        value = small_record(form, model) if small else record_of(form, model)
        kind = "application/json" if form == JSON else "application/protobuf"
        headers = [(names.CONTENT_TYPE, kind.encode())]
        if run_at:
            headers.append((names.RUN_AT, run_at.encode()))
        sent = []
        for wait in _waits(count, rate, seconds):
            if wait is not None:
                await asyncio.sleep(max(0.0, wait - time.perf_counter()))
            self._number += 1
            own = [*headers, (names.IDEMPOTENCY_KEY, b"bench-%d" % self._number)]
            sent.append(await self._producer.send(topic, value, headers=own))
        await asyncio.gather(*sent)
        return len(sent)

    async def results(self, count: int, *, values: bool = False) -> dict[str, Any]:
        """When each of so many came (Unix seconds), by response, and forgets them; with `values` these instead, in
        hexadecimal digits.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                while len(self._results) < count:
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise NotReadError(f"{len(self._results)} results of {count} in {_SECONDS:.0f} s") from None
        found, self._results = self._results, {}
        if len(found) != count or any(status != "completed" for _, status, _ in found.values()):
            others = {status for _, status, _ in found.values()} - {"completed"}
            raise NotReadError(f"{len(found)} results where {count} were due; not completed: {others or 'none'}")
        return {key: value.hex() if values else at for key, (at, _, value) in found.items()}

    async def wake(
        self, url: str, topic: str, ids: Sequence[str], pace: float, *, tell: bool = True
    ) -> dict[str, float]:
        """Lets jobs that wait for their time begin now, one by one, and writes their wake-ups; when that began.

        Nobody else is told. Without `tell` there is no wake-up either.
        """
        assert self._producer is not None
        chance = random.Random(len(ids))
        connection = await asyncpg.connect(url)
        begun = {}
        try:
            for each in ids:
                await connection.execute(_RELEASE, each)
                begun[each] = time.time()
                if tell:
                    await self._producer.send_and_wait(topic, each.encode(), each.encode())
                await asyncio.sleep(pace * chance.uniform(0.85, 1.15))
        finally:
            await connection.close()
        return begun

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            batches = await consumer.getmany(timeout_ms=100)
            now = time.time()
            for records in batches.values():
                for record in records:
                    status = dict(record.headers)[names.STATUS].decode()
                    self._results.setdefault((record.key or b"").decode(), (now, status, record.value or b""))
            if batches:
                self._came.set()


def _waits(count: int, rate: float, seconds: float) -> Sequence[float | None]:
    """When each record is due (perf_counter); None: at once."""
    if not rate:
        return [None] * count
    chance = random.Random(rate)
    begun, after, found = time.perf_counter(), 0.0, []
    while (after := after + chance.expovariate(rate)) < seconds:
        found.append(begun + after)
    return found


async def _main() -> None:
    client = Client()
    commands: Mapping[str, Callable[..., Any]] = {
        name: getattr(client, name) for name in ("connect", "read", "submit", "results", "wake")
    }
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        command = orjson.loads(line)
        try:
            answer: Any = {"answer": await commands[command.pop("do")](**command)}
        except (KafkaError, OSError, asyncpg.PostgresError, NotReadError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_main())
