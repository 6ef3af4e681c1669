"""Followers of background responses: what was, then what comes, then the end; from any replica.

The event log in the database is the only truth. A reader looks there for as long as somebody follows a response;
all its followers in this process share it. Hints shorten its waits and are never needed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.job_store import EventPage, JobStore, LoggedEvent
from service.domain.jobs import TERMINAL
from service.domain.signals import Signals
from service.domain.stored import StoreError

_PAGE: Final = 256
_KEPT: Final = 1024
"""Events that a reader keeps for its followers; who is further behind reads for itself."""


@dataclass(frozen=True, slots=True)
class FollowTimes:
    """Seconds. A look without a hint comes after `poll`, and later and later while nothing is found: up to `slow`,
    or `hinted` where hints of every process come and only lost ones need it. `patience`: for which a database may
    be away before followers are told.
    """

    poll: float = 0.05
    slow: float = 0.5
    hinted: float = 1.0
    patience: float = 30.0


class GoneError(Exception):
    """The response is not there any more."""


class _Reader:
    """Reads one response's log while it has followers. `hears`: whether hints of every process arrive here."""

    def __init__(
        self,
        jobs: JobStore,
        owner: str,
        response_id: str,
        after: int,
        *,
        hears: Callable[[], bool],
        times: FollowTimes,
    ) -> None:
        self._jobs = jobs
        self._hears = hears
        self.times = times
        self._owner = owner
        self._id = response_id
        self._recent: deque[LoggedEvent] = deque(maxlen=_KEPT)
        self._next = after + 1
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self.followers = 0
        self.over = False
        self.failure: Exception | None = None
        self.task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """There may be something new."""
        self._wake.set()

    def reach_back(self, position: int) -> None:
        """A follower wants events from `position` on. As long as nothing was read, the log may end before `_next`,
        which a caller chose."""
        if position < self._next and not self._recent:
            self._next = position
            self.wake()

    def since(self, position: int) -> Sequence[LoggedEvent] | None:
        """Events from `position` on that are kept here; None when the first of them is not."""
        if position >= self._next:
            return ()
        if not self._recent or position < self._recent[0].sequence:
            return None
        return [event for event in self._recent if event.sequence >= position]

    async def wait(self) -> None:
        """Returns when something is new, or the reader ended."""
        await self._news.wait()

    async def _run(self) -> None:
        away_since: float | None = None
        delay, woken = self.times.poll, False
        loop = asyncio.get_running_loop()
        try:
            while not self.over:
                # Before the read: a hint that comes during it means what the read may not have seen.
                self._wake.clear()
                asked = self._next
                try:
                    page = await self._jobs.events(self._owner, self._id, asked - 1, _PAGE)
                    away_since = None
                except StoreError as error:
                    away_since = loop.time() if away_since is None else away_since
                    if loop.time() - away_since > self.times.patience:
                        self.failure = error
                        return
                    await asyncio.sleep(self.times.slow)
                    continue
                if self._next < asked:
                    continue
                delay = self._next_delay(delay, woken=woken, found=bool(page.events))
                if not self._take(page):
                    woken = await self._pause(delay)
        except Exception as error:  # noqa: BLE001  whatever it is: followers must not take it for the end
            self.failure = error
        finally:
            self.over = True
            self._tell()

    def _take(self, page: EventPage) -> bool:
        """Keeps a page; whether to look again at once."""
        if page.events:
            self._recent.extend(page.events)
            self._next = page.events[-1].sequence + 1
            self._tell()
        if page.state is None:
            self.failure = GoneError()
            self.over = True
        elif page.state in TERMINAL and len(page.events) < _PAGE:
            self.over = True
        return len(page.events) == _PAGE

    def _next_delay(self, delay: float, *, woken: bool, found: bool) -> float:
        """How long to wait for a hint before the next look; long only where a hint came for what was found."""
        times, hears = self.times, self._hears()
        if found:
            return times.hinted if hears and woken else times.poll
        return min(delay * 1.5, times.hinted if hears else times.slow)

    async def _pause(self, seconds: float) -> bool:
        """Waits for a hint; whether one came."""
        if self.over:
            return False
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class Follower:
    """One follower: `next` until it is empty, and `aclose` in any case. Not safe for concurrent use."""

    def __init__(self, reader: _Reader, jobs: JobStore, owner: str, response_id: str, after: int) -> None:
        self._reader = reader
        self._jobs = jobs
        self._owner = owner
        self._id = response_id
        self._position = after + 1
        self._closed = False
        reader.followers += 1

    async def next(self) -> Sequence[LoggedEvent]:
        """The next events, in order and without gaps; empty at the end.

        Raises:
            StoreError: the database was away for too long.
            GoneError: the response was deleted.
        """
        reader = self._reader
        while True:
            events = reader.since(self._position)
            if events is None:
                events = await self._read()
            if events:
                self._position = events[-1].sequence + 1
                return events
            if reader.over:
                if reader.failure is not None:
                    raise reader.failure
                return ()
            await reader.wait()

    async def _read(self) -> Sequence[LoggedEvent]:
        """What the reader keeps no more; while the database is away, with the reader's patience."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._reader.times.patience
        while True:
            try:
                return (await self._jobs.events(self._owner, self._id, self._position - 1, _PAGE)).events
            except StoreError:
                if loop.time() >= due:
                    raise
            await asyncio.sleep(self._reader.times.slow)

    def aclose(self) -> None:
        """Leaves. The last one takes the reader along."""
        if not self._closed:
            self._closed = True
            self._reader.followers -= 1
            if not self._reader.followers:
                self._reader.task.cancel()


class Followers:
    """All followers of one process. `signals` wake them; without any they look by themselves."""

    def __init__(
        self, jobs: JobStore, signals: Signals | None = None, *, times: FollowTimes = FollowTimes()
    ) -> None:
        self._jobs = jobs
        self._times = times
        self._readers: dict[str, dict[str, _Reader]] = {}
        self._hears: Callable[[], bool] = lambda: signals is not None and signals.hears
        if signals is not None:
            signals.listen(on_news=self.wake, on_missed=self.wake_all)

    def follow(self, owner: str, response_id: str, after: int) -> Follower:
        """Follows a response from the event after number `after` on (-1: from the beginning)."""
        readers = self._readers.setdefault(response_id, {})
        reader = readers.get(owner)
        if reader is None or reader.over or not reader.followers:
            reader = _Reader(self._jobs, owner, response_id, after, hears=self._hears, times=self._times)
            readers[owner] = reader
            reader.task.add_done_callback(self._forget(owner, response_id, reader))
        else:
            reader.reach_back(after + 1)
        return Follower(reader, self._jobs, owner, response_id, after)

    def wake(self, response_id: str) -> None:
        """Something happened to this response; a hint."""
        if readers := self._readers.get(response_id):
            for reader in readers.values():
                reader.wake()

    def wake_all(self) -> None:
        """Something may have happened to any response."""
        for readers in self._readers.values():
            for reader in readers.values():
                reader.wake()

    def _forget(self, owner: str, response_id: str, reader: _Reader) -> Callable[[object], None]:
        def forget(_task: object) -> None:
            readers = self._readers.get(response_id, {})
            if readers.get(owner) is reader:
                del readers[owner]
                if not readers:
                    del self._readers[response_id]

        return forget
