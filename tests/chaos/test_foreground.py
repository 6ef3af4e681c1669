"""What is told of callers who waited in vain."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.chaos.entrance import Entrance
from tests.chaos.foreground import Foreground
from tests.chaos.history import History


async def test_a_call_that_fails_is_told_by_its_own_number_though_later_ones_were_made_meanwhile() -> None:
    history, second_called = History(), asyncio.Event()

    async def first(_text: str) -> str:
        await second_called.wait()
        foreground.stop()
        raise TimeoutError

    async def second(text: str) -> str:
        second_called.set()
        return text

    async with aiohttp.ClientSession() as session:
        foreground = Foreground("127.0.0.1:1", Entrance(session, ()), history, seed=1)
        async with foreground._session, foreground._channel:
            await asyncio.gather(foreground._repeat(first), foreground._repeat(second))
    assert history.unanswered == [("foreground-first-1", "TimeoutError()")]
