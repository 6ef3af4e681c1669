"""A database made ready by the first who needs it."""

import asyncio

import pytest

from adapters.database.readiness import Readiness, Recently
from service.domain.stored import StoreError


async def test_all_who_wait_share_one_run() -> None:
    runs = []

    async def prepare() -> None:
        runs.append(1)
        await asyncio.sleep(0.05)

    readiness = Readiness("x", prepare)
    await asyncio.gather(*(readiness.ensure(1.0) for _ in range(20)))
    await readiness.ensure(1.0)
    assert (len(runs), readiness.done) == (1, True)


async def test_after_a_failure_everybody_fails_for_a_second_without_a_run() -> None:
    runs = []

    async def prepare() -> None:
        runs.append(1)
        raise StoreError("down")

    readiness = Readiness("x", prepare)
    for _ in range(3):
        with pytest.raises(StoreError, match="down"):
            await readiness.ensure(1.0)
    assert len(runs) == 1
    await asyncio.sleep(1.05)
    with pytest.raises(StoreError, match="down"):
        await readiness.ensure(1.0)
    assert len(runs) == 2


async def test_who_leaves_or_gives_up_does_not_end_the_run() -> None:
    finished = []

    async def prepare() -> None:
        await asyncio.sleep(0.2)
        finished.append(1)

    readiness = Readiness("x", prepare)
    leaving = asyncio.ensure_future(readiness.ensure(None))
    await asyncio.sleep(0.01)
    leaving.cancel()
    with pytest.raises(StoreError, match="still being made ready"):
        await readiness.ensure(0.05)
    await readiness.ensure(1.0)
    assert finished == [1]


async def test_closing_tells_those_who_wait() -> None:
    readiness = Readiness("x", lambda: asyncio.sleep(10))
    waiting = asyncio.ensure_future(readiness.ensure(None))
    await asyncio.sleep(0.01)
    await readiness.aclose()
    with pytest.raises(StoreError, match="closed"):
        await waiting


def test_a_failure_is_forgotten_after_its_second() -> None:
    now = [0.0]
    recently = Recently(lambda: now[0])
    recently.check()
    error = recently.failed(StoreError("down"))
    with pytest.raises(StoreError, match="down") as caught:
        recently.check()
    assert caught.value is not error
    now[0] = 1.0
    recently.check()
