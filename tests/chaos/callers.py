"""The callers of a run: they ask, follow, come back elsewhere, ask again, cancel, and note what they saw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, Final, TypeAlias

from tests.chaos.doors import Away, Door, Refused
from tests.chaos.history import TERMINAL_EVENTS, TERMINAL_STATUS, Follow, History, Json, Segment, Submission, Told
from tests.chaos.schedule import Follower, Request

Events: TypeAlias = AsyncGenerator[Json, None]

_PATIENCE: Final = 0.25
_CONFLICT: Final = frozenset({"422", "ALREADY_EXISTS"})


class Callers:
    """`doors`: all ways in, by kind. What they see goes into `history`.

    `away`: tries that got no answer, or not all of it.
    """

    def __init__(self, doors: Mapping[str, Sequence[Door]], history: History, seed: int) -> None:
        self._doors = doors
        self._history = history
        self._random = Random(f"callers {seed}")
        self.cancels = 0
        self.disconnects = 0
        self.away = 0

    async def play(self, request: Request) -> None:
        """One request with all that becomes of it; returns when nobody waits for anything any more.

        Where an answer got lost, and no key lets one ask for it again, another request takes its place.
        """
        while not await self._play(request):
            request = replace(request, name=f"{request.name}-again", gives_up=None)
            await asyncio.sleep(_PATIENCE)

    async def _play(self, request: Request) -> bool:
        """Plays it; False: it has no answer."""
        submission = Submission(request.name, request.prompt, request.key, request.streamed)
        self._history.submissions.append(submission)
        async with asyncio.TaskGroup() as tasks:
            for delay in request.repeats:
                tasks.create_task(later(delay, partial(self._ask, request, submission)))
            if request.other is not None:
                tasks.create_task(later(request.other, partial(self._misuse, request, submission)))
            job = await self._ask(request, submission, tasks)
            if not job:
                return job is not None
            for follower in request.followers:
                tasks.create_task(later(follower.after, partial(self.come, job, follower)))
            if request.cancel is not None:
                tasks.create_task(later(request.cancel, partial(self.cancel, job)))
        return True

    async def cancel(self, job: str) -> None:
        """Cancels it, and notes what it was told."""
        self.cancels += 1
        while True:
            try:
                answer = await self.any_door().cancel(job)
            except Away:
                self.away += 1
                await asyncio.sleep(_PATIENCE)
            except Refused as error:
                self._complain(job, f"can't be cancelled: {error}")
                return
            else:
                self._tell(job, str(answer["status"]), "cancel")
                return

    async def _ask(
        self, request: Request, submission: Submission, tasks: asyncio.TaskGroup | None = None
    ) -> str | None:
        """The id, "" when it is refused; None when the answer got lost, and no key lets one ask again for it.

        Who asks for a stream leaves at its first event, or goes on to follow it among `tasks`.
        """
        patience = request.gives_up
        while True:
            door = self.any_door()
            try:
                async with asyncio.timeout(patience):
                    if request.streamed:
                        job = await self._opened(door, door.create_stream(_body(request), request.key), tasks)
                    else:
                        job = str((await door.create(_body(request), request.key))["id"])
            except (Away, TimeoutError) as error:
                self.away += isinstance(error, Away)
                patience = None
                if request.key is None:
                    return None
                await asyncio.sleep(_PATIENCE)
            except Refused as error:
                self._complain(submission.name, f"is refused: {error}")
                return ""
            else:
                submission.ids.append(job)
                return job

    async def _opened(self, door: Door, events: Events, tasks: asyncio.TaskGroup | None) -> str:
        """The id in the first event of a stream."""
        try:
            first = await anext(events, None)
        except BaseException:
            await events.aclose()
            raise
        if first is None:
            raise Away(f"{door.name}: a stream without an event")
        job = str(first["response"]["id"])
        if tasks is None or self._random.random() < 0.4:
            await events.aclose()
            self._history.follows.append(Follow(job, [Segment(door.name, -1, [first], over=False)], left=True))
            self.disconnects += 1
        else:
            tasks.create_task(self._watch(door, events, Follow(job), first))
        return job

    async def _misuse(self, request: Request, submission: Submission) -> None:
        """Another request under the same key, which must not be accepted once the first one was."""
        if not submission.ids:
            return
        while True:
            door = self.any_door()
            try:
                answer = await door.create({**_body(request), "input": f"not {request.prompt}"}, request.key)
            except Away:
                await asyncio.sleep(_PATIENCE)
            except Refused as error:
                if error.status not in _CONFLICT:
                    self._complain(submission.name, f"another request under its key: {error}")
                return
            else:
                self._complain(submission.name, f"another request under its key became {answer['id']}")
                return

    async def _watch(self, door: Door, events: Events, follow: Follow, first: Json) -> None:
        """Goes on where a stream that was asked for with its response has begun, and elsewhere when it breaks."""
        self._history.follows.append(follow)
        if not await self._read(follow, door, -1, events, None, [first]):
            self.disconnects += 1
            await self._follow(follow, iter(()), leaves=False)

    async def come(self, job: str, follower: Follower) -> None:
        """Follows a response as this follower does, to the end or to where it leaves."""
        follow = Follow(job)
        self._history.follows.append(follow)
        await self._follow(follow, iter(follower.goes), leaves=follower.leaves, kind=follower.door)

    async def _follow(self, follow: Follow, goes: Iterator[int], *, leaves: bool, kind: str | None = None) -> None:
        """Follows to the end, or to where it leaves. `goes`: after how many events it goes elsewhere."""
        most = next(goes, None)
        while True:
            door = self.any_door(kind)
            after, count = follow.last, len(follow.segments)
            if await self._read(follow, door, after, door.follow(follow.job, after), most):
                return
            if len(follow.segments) > count:
                self.disconnects += 1
                following = next(goes, None)
                if leaves and most is not None and following is None:
                    follow.left = True
                    return
                most = following
            await asyncio.sleep(_PATIENCE)

    async def _read(
        self, follow: Follow, door: Door, after: int, events: Events, most: int | None, seen: Sequence[Json] = ()
    ) -> bool:
        """Reads one connection, `most` events of it at most; whether there is nothing more to come.

        A connection that shows nothing is not noted.
        """
        shown, over = list(seen), False
        try:
            async with aclosing(events):
                async for event in events:
                    shown.append(event)
                    if event["type"] in TERMINAL_EVENTS:
                        self._tell(follow.job, str(event["response"]["status"]), "read")
                    if len(shown) == most:
                        break
                else:
                    over = True
        except Away:
            self.away += 1
        except Refused as error:
            self._complain(follow.job, f"a follower after {after} is refused: {error}")
            over = True
        if shown or over:
            follow.segments.append(Segment(door.name, after, shown, over))
        return over or (bool(shown) and shown[-1]["type"] in TERMINAL_EVENTS)

    def _complain(self, whose: str, what: str) -> None:
        self._history.complaints.append((whose, what))

    def _tell(self, job: str, status: str, how: str) -> None:
        if status in TERMINAL_STATUS:
            self._history.told.append(Told(job, time.monotonic(), status, how))

    def any_door(self, kind: str | None = None) -> Door:
        """One of the doors, of this kind if one is named."""
        return self._random.choice(self._doors[kind or self._random.choice(("http", "grpc"))])


def _body(request: Request) -> Json:
    return {"model": f"chaos/{request.model}", "input": request.prompt, "background": True}


async def later(seconds: float, act: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Does it after so many seconds."""
    await asyncio.sleep(seconds)
    await act()
