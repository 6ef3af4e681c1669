"""Places that owners share: one that fills all it may leaves most of them to the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

_SHARE: Final = 4


class Places:
    """`count` places, of which one owner holds at most a quarter; who finds none waits, each owner's in turn.

    Belongs to one event loop.
    """

    def __init__(self, count: int) -> None:
        self._all = asyncio.Semaphore(count)
        self._share = max(1, count // _SHARE)
        # Of those who hold a place or wait for one, no longer: owners come and go.
        self._of_owners: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def take(self, owner: str) -> Callable[[], None]:
        """Waits for a place; what comes back gives it back, and is to be called once."""
        own = self._of_owners.get(owner)
        if own is None:
            own = self._of_owners[owner] = asyncio.Semaphore(self._share)
        await own.acquire()
        try:
            await self._all.acquire()
        except BaseException:
            own.release()
            raise

        def give_back() -> None:
            self._all.release()
            own.release()

        return give_back

    @asynccontextmanager
    async def held(self, owner: str) -> AsyncIterator[None]:
        """Waits for a place, and holds it."""
        give_back = await self.take(owner)
        try:
            yield
        finally:
            give_back()
