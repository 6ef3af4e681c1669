"""A streamed call that its caller leaves, however often it is told to: its upstream call and its place end too."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from adapters.health import OutcomeHealth
from service.api.opened import Opened
from service.coalesce import Coalescer
from service.domain.errors import Reason, ServiceError
from service.domain.events import Start, TextDelta
from service.domain.failure import Failure, FailureKind
from service.domain.preferences import Policy
from service.domain.routing import Needs, WantedModel
from service.domain.selection import Selection
from service.router import Router
from tests.support.catalogs import endpoint, model
from tests.support.upstreams import HELLO, FakeClock, FakeUpstream, Hang, RecordingTelemetry, Script, context

A = replace(endpoint("a"), concurrency=1)
NOTHING_YET = Script(([Start("id", "m")], Hang()))
OUTPUT = Script(([Start("id", "m"), TextDelta("a")], Hang()))
NOT_EVEN_HEADERS = Script((), opening=(Hang(),))
FAILED = Script(([Start("id", "m")], Failure(FailureKind.CUT, "cut")))


class World:
    """One call to an endpoint that bears one, and a client that never takes the headers."""

    def __init__(self, script: Script) -> None:
        clock = FakeClock()
        self.upstream = FakeUpstream(clock, {A.id: script})
        self.router = Router(
            self.upstream, OutcomeHealth(clock=clock), RecordingTelemetry(), clock=clock, sleep=clock.sleep
        )
        selection = Selection((WantedModel(model("vendor/model", A)),), Policy())
        run = self.router.open(HELLO, Needs(), selection, context())
        self.opened = Opened(run, Coalescer(run, lambda: 0.0), 15.0)

    async def call(self) -> None:
        try:
            await self.opened.start()
            await asyncio.Event().wait()
        finally:
            await self.opened.aclose()

    def left_behind(self) -> tuple[int, str | None]:
        """Upstream calls that are open, and what stands in the way of the next call."""
        return self.upstream.open_streams, self.router.capacity.busy(A)


@pytest.mark.parametrize("cancels", [1, 2, 3])
@pytest.mark.parametrize(
    "script", [NOT_EVEN_HEADERS, NOTHING_YET, OUTPUT], ids=["not_even_headers", "nothing_yet", "output"]
)
async def test_a_call_that_is_cancelled_again_while_it_leaves_leaves_nothing_behind(
    script: Script, cancels: int
) -> None:
    world = World(script)
    call = asyncio.create_task(world.call())
    await asyncio.sleep(0.01)
    assert world.left_behind()[1] is not None
    for _ in range(cancels):
        call.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.sleep(0)
    assert world.left_behind() == (0, None)


async def test_a_failure_that_start_told_is_not_reported_again_by_the_loop() -> None:
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, said: reported.append(said["message"]))
    world = World(FAILED)
    with pytest.raises(ServiceError) as caught:
        await world.opened.start()
    assert caught.value.reason is Reason.PROVIDER_BROKEN_ANSWER
    await world.opened.aclose()
    await asyncio.sleep(0)
    assert (world.left_behind(), reported) == ((0, None), [])
