"""The callers that submit by Kafka: they send, send again, follow, cancel and delete, and note what they saw."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final

from tests.chaos.callers import Callers, later
from tests.chaos.doors import Away, Refused
from tests.chaos.history import TERMINAL_STATUS, History, Json, Submission, Told
from tests.chaos.kafka_door import KafkaDoor
from tests.chaos.record_requests import NewRecord, RecordRequest, id_of_key, key_without, record_of

_PATIENCE: Final = 0.5
_WAITS: Final = 30.0
"""Seconds in which a response must be there, or over, for somebody to do something with it."""
_MISSING: Final = frozenset({"404", "NOT_FOUND"})


class RecordCallers:
    """`door` takes records; all else goes by the doors of `callers`. What they see goes into `history`."""

    def __init__(self, door: KafkaDoor, callers: Callers, history: History) -> None:
        self._door = door
        self._callers = callers
        self._history = history
        self.deletes = 0

    async def play(self, asked: RecordRequest) -> None:
        """One record with all that becomes of it; returns when nobody waits for anything any more."""
        record = record_of(asked, time.time())
        request = asked.request
        if asked.flaw is not None:
            await self._door.send(record)
            return
        # Whoever else sends it again asks for the same job: its identity is its key, or it is sent once.
        self._history.submissions.append(Submission(request.name, request.prompt, request.name, request.streamed))
        async with asyncio.TaskGroup() as tasks:
            for delay in request.repeats:
                tasks.create_task(later(delay, partial(self._door.send, record)))
            job = await self._sent(asked, record)
            if job is None:
                return
            if request.other is not None:
                other = record_of(asked, time.time(), other=True)
                tasks.create_task(later(request.other, partial(self._door.send, other)))
            waits = bool(request.followers) or request.cancel is not None or asked.delete is not None
            if waits and not await self._there(job):
                return
            for follower in request.followers:
                tasks.create_task(later(follower.after, partial(self._callers.come, job, follower)))
            if request.cancel is not None:
                tasks.create_task(later(request.cancel, partial(self._callers.cancel, job)))
            if asked.delete is not None:
                tasks.create_task(self._delete(job, asked.delete, when_over=asked.when_over))

    async def _sent(self, asked: RecordRequest, record: NewRecord) -> str | None:
        """The response's id once the record is stored; None: nobody knows, and it can't be sent again."""
        patience = asked.request.gives_up
        while True:
            stored = await self._door.send(record, patience)
            if stored is not None:
                place = (stored.topic, stored.partition, stored.offset)
                return asked.job or id_of_key(key_without(*place, stored.timestamp, record.value))
            if asked.request.key is None:
                return None
            patience = None

    async def _there(self, job: str, *, over: bool = False) -> bool:
        """Returns when the response is there, or `over`. False: it is not, and nobody waits any longer."""
        until = time.monotonic() + _WAITS
        while time.monotonic() < until:
            found = await self._seen(job)
            if found is not None and (not over or found["status"] in TERMINAL_STATUS):
                return True
            await asyncio.sleep(_PATIENCE)
        return False

    async def _seen(self, job: str) -> Json | None:
        try:
            return await self._callers.any_door().get(job)
        except Away:
            return None
        except Refused as error:
            if error.status not in _MISSING:
                self._history.complaints.append((job, f"can't be read: {error}"))
            return None

    async def _delete(self, job: str, delay: float, *, when_over: bool) -> None:
        """Deletes what was there, until somebody says that it is gone."""
        if when_over and not await self._there(job, over=True):
            return
        await asyncio.sleep(delay)
        self.deletes += 1
        while True:
            try:
                await self._callers.any_door().delete(job)
            except Away:
                await asyncio.sleep(_PATIENCE)
                continue
            except Refused as error:
                # The answer to an earlier try got lost.
                if error.status not in _MISSING:
                    self._history.complaints.append((job, f"can't be deleted: {error}"))
                    return
            self._history.deleted.add(job)
            self._history.told.append(Told(job, time.monotonic(), "deleted", "delete"))
            return
