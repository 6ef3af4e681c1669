"""The wake-up loop: a wake per poll, commits now and then, old hints, and a broker that fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.support.fake_consumer import FakeGroup, RecordingConsumingTelemetry, records
from tests.support.virtual_time import run
from workers.intake_ports import WakeUpTelemetry
from workers.intake_settings import WakeUpSettings
from workers.wakeups import WakeUpLoop

JOBS = ("jobs", 0)
EPOCH = 1_700_000_000.0


class Bench:
    """A loop with a group of its own. Use it within `run`."""

    def __init__(self, **changed: Any) -> None:
        self.time = asyncio.get_running_loop().time
        self.group = FakeGroup({JOBS: []})
        self.telemetry = RecordingConsumingTelemetry()
        self.woken: list[float] = []
        settings = replace(WakeUpSettings(), **changed)
        telemetry: WakeUpTelemetry = self.telemetry
        self.loop = WakeUpLoop(
            self.group.make,
            lambda: self.woken.append(self.time()),
            telemetry,
            settings=lambda: settings,
            clock=self.time,
            now=lambda: EPOCH + self.time(),
        )
        self.running = asyncio.create_task(self.loop.run())

    def hint(self, count: int = 1, age: float = 0.0) -> None:
        log = self.group.logs[JOBS]
        written = records(JOBS, count, first=len(log), timestamp_ms=int((EPOCH + self.time() - age) * 1000))
        self.group.accepted.update(written)
        log += written

    async def leave(self) -> None:
        await self.loop.leave()
        await self.running
        assert not self.group.violations
        assert all(consumer.closed for consumer in self.group.consumers)


def test_many_hints_of_one_poll_wake_once() -> None:
    async def main() -> None:
        bench = Bench()
        await asyncio.sleep(3)
        assert not bench.woken
        bench.hint(400)
        await asyncio.sleep(3)
        assert len(bench.woken) == 1
        bench.hint()
        await asyncio.sleep(3)
        assert len(bench.woken) == 2
        assert bench.telemetry.of("hints") == [(400, 0), (1, 0)]
        await bench.leave()

    run(main())


def test_hints_that_are_too_old_wake_nobody_and_are_read_past() -> None:
    async def main() -> None:
        bench = Bench(batch=100)
        bench.hint(1000, age=31)
        await asyncio.sleep(3)
        assert not bench.woken
        assert bench.telemetry.of("hints") == [(0, 100)] * 10
        bench.hint(1, age=31)
        bench.hint(1, age=29)
        await asyncio.sleep(3)
        assert len(bench.woken) == 1
        await bench.leave()
        assert bench.group.committed == {JOBS: 1002}

    run(main())


def test_a_hint_without_a_time_or_from_the_future_wakes() -> None:
    async def main() -> None:
        bench = Bench()
        for timestamp_ms in (-1, int(EPOCH * 2000)):
            bench.group.logs[JOBS] += (new := records(JOBS, 1, len(bench.group.logs[JOBS]), timestamp_ms))
            bench.group.accepted.update(new)
            await asyncio.sleep(3)
        assert len(bench.woken) == 2
        await bench.leave()

    run(main())


def test_places_are_committed_every_few_seconds_and_at_the_end() -> None:
    async def main() -> None:
        bench = Bench(commit=5.0)
        for _ in range(1000):
            bench.hint()
            await asyncio.sleep(0.1)
        assert 15 <= bench.group.commit_calls <= 20
        calls = bench.group.commit_calls
        await asyncio.sleep(60)
        assert bench.group.commit_calls == calls + 1
        for _ in range(2):
            bench.hint()
            await asyncio.sleep(1)
        assert bench.group.committed == {JOBS: 1001}
        await bench.leave()
        assert bench.group.committed == {JOBS: 1002}

    run(main())


@pytest.mark.parametrize("fate", ["error", "crash", "cancelled", "hang", "deaf", "slow"])
@pytest.mark.parametrize("where", ["starts", "polls", "commits"])
def test_whatever_the_broker_does_hints_wake_again_after_it(where: str, fate: str) -> None:
    async def main() -> None:
        bench = Bench(commit=0.0)
        getattr(bench.group, where).append(fate)
        bench.hint()
        await asyncio.sleep(75)
        bench.hint()
        await asyncio.sleep(1)
        assert bench.woken[-1] > 70
        assert bench.loop.problem() is None
        assert len(bench.telemetry.of("gave_up")) == (fate != "slow")
        assert bench.loop.lag == {JOBS: 0}
        await bench.leave()
        assert bench.loop.problem() == "draining"

    run(main())


def test_it_is_said_when_the_broker_is_away_and_leaving_takes_no_time_then() -> None:
    async def main() -> None:
        bench = Bench()
        bench.group.starts.extend(["error"] * 100)
        await asyncio.sleep(30)
        assert bench.loop.problem() == "the broker was not reached yet, or is away"
        began = bench.time()
        await bench.leave()
        assert bench.time() == began

    run(main())


def test_cancelled_it_leaves_the_group() -> None:
    async def main() -> None:
        bench = Bench()
        bench.hint()
        await asyncio.sleep(1)
        bench.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bench.running
        assert bench.group.consumers[0].closed
        assert not bench.group.committed

    run(main())
