"""Tokens that expire: who waits for a renewal, who doesn't, and what a failed one does."""

from __future__ import annotations

import asyncio

import pytest

from adapters.providers.identity.held import Grant, Held, LateError, TokenError
from adapters.threads import in_thread


class Giver:
    """Gives numbered tokens that live for 100 s and are to be renewed after 80; `says` makes it refuse."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0
        self.says = ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> Grant[str]:
        self.asked += 1
        await self.gate.wait()
        if self.says:
            raise TokenError(self.says)
        return Grant(f"token-{self.asked}", self.now + 80, self.now + 100)

    def held(self, limit: float = 5.0) -> Held[str]:
        return Held(self.fetch, clock=lambda: self.now, limit=limit)


def soon() -> float:
    return asyncio.get_running_loop().time() + 5


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_all_who_wait_share_one_renewal() -> None:
    giver = Giver()
    giver.gate.clear()
    held = giver.held()
    waiting = [asyncio.ensure_future(held.get(soon())) for _ in range(20)]
    await settled()
    giver.gate.set()
    assert await asyncio.gather(*waiting) == ["token-1"] * 20
    assert giver.asked == 1


async def test_a_valid_token_is_given_at_once_while_it_is_renewed_beside() -> None:
    giver = Giver()
    held = giver.held()
    await held.get(soon())
    giver.now += 81
    giver.gate.clear()
    assert [held.now(), held.now(), await held.get(soon())] == ["token-1"] * 3
    await settled()
    assert giver.asked == 2
    giver.gate.set()
    await settled()
    assert held.now() == "token-2"


async def test_the_old_token_is_used_as_long_as_it_is_valid_when_a_renewal_fails() -> None:
    giver = Giver()
    held = giver.held()
    await held.get(soon())
    giver.now, giver.says = giver.now + 81, "refused"
    assert held.now() == "token-1"
    await settled()
    giver.now += 5
    assert held.now() == "token-1"
    await settled()
    assert giver.asked == 2, "a failed renewal is tried again ten seconds later, not with every call"
    giver.now += 6
    assert held.now() == "token-1"
    await settled()
    assert giver.asked == 3
    giver.now += 20
    assert held.now() is None
    with pytest.raises(TokenError, match="refused"):
        await held.get(soon())


async def test_a_failure_is_told_to_all_and_for_a_second_nobody_asks_again() -> None:
    giver = Giver()
    giver.says = "refused"
    held = giver.held()
    results = await asyncio.gather(*(held.get(soon()) for _ in range(5)), return_exceptions=True)
    assert [str(each) for each in results] == ["refused"] * 5
    with pytest.raises(TokenError):
        await held.get(soon())
    assert giver.asked == 1
    giver.now, giver.says = giver.now + 1.5, ""
    assert await held.get(soon()) == "token-2"


async def test_who_leaves_or_is_late_ends_the_renewal_for_nobody_else() -> None:
    giver = Giver()
    giver.gate.clear()
    held = giver.held()
    leaves = asyncio.ensure_future(held.get(soon()))
    stays = asyncio.ensure_future(held.get(soon()))
    await settled()
    leaves.cancel()
    with pytest.raises(LateError):
        await held.get(asyncio.get_running_loop().time() + 0.01)
    giver.gate.set()
    assert await stays == "token-1"
    assert giver.asked == 1


async def test_whoever_never_answers_is_given_up_after_the_limit() -> None:
    giver = Giver()
    giver.gate.clear()
    held = giver.held(limit=0.02)
    with pytest.raises(TokenError, match=r"did not answer within 0\.02 s"):
        await held.get(soon())


async def test_a_token_that_had_expired_when_it_came_is_a_failure_and_no_endless_loop() -> None:
    async def fetch() -> Grant[str]:
        return Grant("old", 0.0, 1.0)

    with pytest.raises(TokenError, match="clock"):
        await Held(fetch).get(soon())


async def test_an_unforeseen_error_of_a_library_is_told_by_its_name_alone() -> None:
    async def fetch() -> Grant[str]:
        raise RuntimeError("client_secret=s3cr3t")

    with pytest.raises(TokenError, match=r"could not be had \(RuntimeError\)"):
        await Held(fetch).get(soon())


async def test_closing_ends_a_renewal_that_is_under_way() -> None:
    giver = Giver()
    giver.gate.clear()
    held = giver.held()
    waiting = asyncio.ensure_future(held.get(soon()))
    await settled()
    waiting.cancel()
    await held.aclose()
    assert len(asyncio.all_tasks()) <= 2


async def test_who_still_waits_when_it_is_closed_is_told_so_and_nothing_is_asked_again() -> None:
    giver = Giver()
    giver.gate.clear()
    held = giver.held()
    waiting = asyncio.ensure_future(held.get(soon()))
    await settled()
    await held.aclose()
    with pytest.raises(TokenError, match="nobody gives any now"):
        await waiting
    with pytest.raises(TokenError):
        await held.get(soon())
    assert giver.asked == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_refused_token_is_forgotten_unless_it_is_new() -> None:
    giver = Giver()
    held = giver.held()
    assert held.forget() is False
    await held.get(soon())
    giver.now += 9
    assert (held.forget(), held.now()) == (False, "token-1")
    giver.now += 2
    assert (held.forget(), held.now(), held.forget()) == (True, None, False)
    assert await held.get(soon()) == "token-2"
    assert held.forget() is False, "the refusals of calls that were under way are of the one before"


async def test_work_in_a_thread_gives_its_result_or_its_exception() -> None:
    assert await in_thread(lambda: 7, "seven") == 7
    with pytest.raises(ValueError, match="seven"):
        await in_thread(lambda: int("seven"), "seven")
