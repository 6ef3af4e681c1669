"""A worker with a fake upstream and a store in memory, on clocks that tests can move."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from eurouter.v1 import responses_pb2 as pb

from service.api.responses.history import status_name
from service.api.responses.prepare import Preparer
from service.domain.calls import CallContext, Principal
from service.domain.failure import FailureKind
from service.domain.job_store import JobStore, NewJob
from service.domain.stored import NewResponse, ResponseStore
from service.domain.tracing import Tracer
from service.router import Router, RouterSettings
from service.wire import parse
from tests.support.catalogs import catalog, endpoint, model
from tests.support.fake_jobs import FakeJobs, RecordingWorkerTelemetry
from tests.support.upstreams import FakeClock, FakeUpstream, FixedHealth, RecordingTelemetry, Script, says
from workers.flush import Flusher, FlushLimits
from workers.leases import Leases, LeaseTimes
from workers.runner import JobRunner
from workers.worker import Worker, WorkerSettings

ALPHA: Final = "alpha/vendor/model"
QUICK: Final = WorkerSettings(concurrency=100, owner_cap=100, poll=0.05, gather=0.001, refill=0.01, drain=0.2)


class MovableClock(FakeClock):
    """The machine's time, plus what a test adds by `forward`."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def __call__(self) -> float:
        return time.monotonic() + self.now

    async def sleep(self, seconds: float) -> None:
        """Takes its time."""
        await asyncio.sleep(seconds)


class CalmHealth(FixedHealth):
    """Learns nothing, so that endpoints never rest."""

    def succeeded(self, endpoint_id: str, ttft: float | None, tokens: int, seconds: float) -> None:
        """As the port."""

    def failed(self, endpoint_id: str, kind: FailureKind, retry_after: float | None, now: float) -> None:
        """As the port."""


class World:
    """`boot` is the clock of leases, `clock` the store's."""

    def __init__(
        self,
        script: Script | Sequence[Script] | None = None,
        *,
        store: JobStore | None = None,
        responses: ResponseStore | None = None,
        settings: WorkerSettings = QUICK,
        times: LeaseTimes | None = None,
        limits: FlushLimits | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.clock = MovableClock()
        self.boot = MovableClock()
        self.fake = FakeJobs(self.clock)
        self.store: JobStore = store or self.fake
        self.upstream = FakeUpstream(MovableClock(), {ALPHA: script if script is not None else says("hi")})
        self.telemetry = RecordingWorkerTelemetry()
        self._limits = limits or FlushLimits()
        self._times = times or LeaseTimes(length=30.0, margin=3.0, compare=0.05)
        self._settings = settings
        self._tracer = tracer
        self._router = Router(
            self.upstream, CalmHealth(), RecordingTelemetry(), settings=lambda: RouterSettings(max_retry_wait=0.0)
        )
        self._number = 0
        self.preparer = Preparer(
            one_endpoint(), responses or self.fake, wall_clock=lambda: 1_700_000_000.0, new_id=self._new_id
        )

    def _new_id(self) -> str:
        self._number += 1
        return f"{self._number:036x}"

    def worker(self) -> Worker:
        """One more worker."""
        times = self._times
        leases = Leases(self.store, self.telemetry, times, clock=self.boot)
        flusher = Flusher(self.store, self.telemetry, self._limits)
        runner = JobRunner(
            self.preparer,
            self._router,
            flusher,
            self.telemetry,
            clock=time.monotonic,
            tracer=self._tracer,
        )
        settings = self._settings
        return Worker(
            "w",
            self.store,
            runner,
            leases,
            flusher,
            self.telemetry,
            clock=time.monotonic,
            settings=lambda: settings,
        )

    async def accept(self, *, request: Mapping[str, Any] | None = None, **options: Any) -> str:
        """Accepts a job as the API does; `options` are NewJob's. Its id."""
        body = {"model": "vendor/model", "input": "hello", "background": True, **(request or {})}
        asked = parse(pb.CreateResponseRequest, body)
        context = CallContext(Principal("local"), "r", time.monotonic() + 60)
        streaming = options.get("log_deltas", False)
        ready = await self.preparer.prepare(asked, context, streaming=streaming)
        writer = self.preparer.writer(ready, "vendor/model")
        events = [event.SerializeToString() for event in writer.accepted()]
        stored = pb.StoredResponseBody(response=writer.response, include=sorted(ready.call.include))
        new = NewResponse(
            id=ready.response_id,
            owner="local",
            previous_id=None,
            status=status_name(writer.response.status),
            response=stored.SerializeToString(),
            input=pb.StoredResponseInput(items=ready.items).SerializeToString(),
            retention=3600.0,
        )
        job = NewJob(new, "responses", asked.SerializeToString(), events, **options)
        await self.store.accept(job)
        return ready.response_id

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """A worker at work; it leaves at the end."""
        worker = self.worker()
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await task

    async def drained(self, outcomes: int) -> None:
        """Works until so many runs have ended."""
        async with self.working():
            await until(lambda: len(self.telemetry.outcomes) >= outcomes)


class _Fixed:
    def __init__(self) -> None:
        self._catalog = catalog(model("vendor/model", endpoint("alpha")))

    def current(self) -> Any:
        return self._catalog


def one_endpoint() -> _Fixed:
    """A catalogue with one endpoint."""
    return _Fixed()


async def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    """Waits for something to become true."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.002)
