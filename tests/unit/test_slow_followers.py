"""Followers that are behind what their reader keeps: they read for themselves, with the same patience."""

from __future__ import annotations

import asyncio

import pytest

from service.api.responses.follow import Follower, Followers, FollowTimes
from service.domain.stored import StoreError
from tests.unit.test_signals import Log


async def behind(log: Log, times: FollowTimes) -> Follower:
    """A follower from the beginning, beside one that is ahead: the reader keeps only what that one wants."""
    followers = Followers(log, times=times)
    ahead = followers.follow("a", "resp_1", 1)
    assert [event.sequence for event in await ahead.next()] == [2]
    return followers.follow("a", "resp_1", -1)


async def test_a_database_that_is_away_for_a_moment_is_waited_for() -> None:
    log = Log()
    log.write(b"0", b"1", b"2")
    follower = await behind(log, FollowTimes(poll=1000.0, slow=0.01, patience=10.0))
    log.down = True
    following = asyncio.create_task(follower.next())
    await asyncio.sleep(0.03)
    assert not following.done()
    log.down = False
    assert [event.body for event in await following] == [b"0", b"1", b"2"]
    follower.aclose()


async def test_one_that_stays_away_is_told() -> None:
    log = Log()
    log.write(b"0", b"1", b"2")
    follower = await behind(log, FollowTimes(poll=1000.0, slow=0.01, patience=0.03))
    log.down = True
    with pytest.raises(StoreError):
        await follower.next()
    follower.aclose()
