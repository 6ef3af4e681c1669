"""How many calls are taken at a time, and how large their requests may be together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from service.domain.errors import Reason, ServiceError
from service.edge.admission import Admission, AdmissionLimits

KIB = 1024


class Nobody:
    """Counts nothing."""

    def request_offered(self, door: str, method: str, *, asks: bool) -> None: ...

    def request_started(self) -> None: ...

    def request_finished(self, door: str, method: str, outcome: str, seconds: float) -> None: ...

    def request_refused(self, door: str, method: str, outcome: str) -> None: ...


class World:
    """An admission and calls in tasks of their own."""

    def __init__(self, calls: int = 100, request_bytes: int = 100 * KIB) -> None:
        self.admission = Admission(Nobody(), lambda: 0.0, lambda: AdmissionLimits(calls, request_bytes))

    @asynccontextmanager
    async def call(self, announced: int, *read: int) -> AsyncIterator[None]:
        """A call under way; `read` are sizes that are found when its body is read."""
        began, over = asyncio.Event(), asyncio.Event()

        async def run() -> None:
            started = None
            try:
                started = self.admission.enter(announced)
                for size in read:
                    self.admission.weigh(size)
                began.set()
                await over.wait()
            finally:
                self.admission.leave("http", "m", "ok", started)

        task = asyncio.create_task(run())
        waiting = asyncio.create_task(began.wait())
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        try:
            if not task.done():
                yield
        finally:
            over.set()
            await task

    async def refuses(self, announced: int, *read: int) -> bool:
        before = (self.admission.in_flight, self.admission.request_bytes)
        try:
            async with self.call(announced, *read):
                pass
        except ServiceError as error:
            assert (error.reason, error.may_retry) == (Reason.OVERLOADED, True)
            assert (self.admission.in_flight, self.admission.request_bytes) == before
            return True
        except RuntimeError as error:
            # The context manager gave nothing, since the call was over: its own error is the cause.
            raise AssertionError("a refused call must raise") from error
        return False


async def test_a_call_takes_one_place_and_gives_it_back() -> None:
    world = World(calls=1)
    async with world.call(0):
        assert await world.refuses(0)
    assert not await world.refuses(0)


@pytest.mark.parametrize(
    ("announced", "read", "refused"),
    [
        (40 * KIB, (), False),
        (41 * KIB, (), True),
        (0, (41 * KIB,), True),
        (30 * KIB, (40 * KIB,), False),
        (30 * KIB, (41 * KIB,), True),
        (40 * KIB, (10 * KIB,), False),
        (16 * KIB, (), False),
    ],
)
async def test_a_request_must_fit_beside_those_under_way(
    announced: int, read: tuple[int, ...], refused: bool
) -> None:
    world = World()
    async with world.call(60 * KIB):
        assert await world.refuses(announced, *read) == refused
    assert world.admission.request_bytes == 0


async def test_a_small_request_is_taken_beside_any_number_of_large_ones() -> None:
    world = World()
    async with world.call(0, 500 * KIB):
        assert await world.refuses(16 * KIB + 1)
        assert not await world.refuses(16 * KIB)


async def test_a_request_that_is_alone_is_taken_whatever_its_size() -> None:
    world = World()
    assert not await world.refuses(500 * KIB)
    assert not await world.refuses(10, 500 * KIB)


async def test_a_closed_door_says_that_it_is_closed_however_full_it_is() -> None:
    world = World(calls=1)
    async with world.call(0):
        world.admission.close()
        with pytest.raises(ServiceError) as caught:
            world.admission.enter()
    assert caught.value.reason is Reason.SHUTTING_DOWN
