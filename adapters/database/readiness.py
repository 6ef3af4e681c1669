"""A database made ready once, by the first who needs it, for all who wait; and no crowd before a closed door."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from service.domain.stored import StoreError

RETRY_SECONDS: Final = 1.0
"""After a failure everybody fails at once for so long."""


class Recently:
    """Remembers a failure for a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._error: StoreError | None = None
        self._until = 0.0

    def failed(self, error: StoreError) -> StoreError:
        """From now on `check` raises it, too."""
        self._error, self._until = error, self._clock() + RETRY_SECONDS
        return error

    def check(self) -> None:
        """Raises the same again while the failure is fresh.

        Raises:
            StoreError: what failed.
        """
        if self._error is None:
            return
        if self._clock() < self._until:
            # A new one: the same object raised by many tasks would gather all their tracebacks.
            raise type(self._error)(*self._error.args)
        self._error = None


class Readiness:
    """Runs `prepare` until it succeeded once; one run at a time, and whoever waits may leave without ending it."""

    def __init__(self, name: str, prepare: Callable[[], Awaitable[None]]) -> None:
        self.done = False
        self._name = name
        self._prepare = prepare
        self._task: asyncio.Task[StoreError | None] | None = None
        self._recently = Recently()

    async def ensure(self, seconds: float | None) -> None:
        """Returns once it is ready; waits at most so many seconds (None: as long as it takes).

        Raises:
            StoreError: it can't be made ready, or not in time.
        """
        if self.done:
            return
        if self._task is None:
            self._recently.check()
            self._task = asyncio.ensure_future(self._run())
        try:
            async with asyncio.timeout(seconds):
                error = await asyncio.shield(self._task)
        except TimeoutError:
            raise StoreError(f"{self._name}: it is still being made ready; try again") from None
        if error is not None:
            raise type(error)(*error.args)

    async def aclose(self) -> None:
        """Ends a run that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> StoreError | None:
        try:
            await self._prepare()
        except StoreError as error:
            return self._recently.failed(error)
        except asyncio.CancelledError:
            # Only `aclose` does this; those who wait were not cancelled.
            return StoreError(f"{self._name}: it is closed")
        else:
            self.done = True
            return None
        finally:
            self._task = None
