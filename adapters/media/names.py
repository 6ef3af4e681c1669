"""Looks names up on threads of its own: slow name servers of strangers hold up nobody else who asks for names."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from adapters.threads import in_thread

from .places import Places

Ask: TypeAlias = Callable[[str, int], Sequence[Any]]

_THREADS: Final = 16


@dataclass(slots=True)
class Asker:
    """For whom a name is looked up. `waits`: as many look-ups as there may be are under way; it has not begun."""

    owner: str
    waits: bool = False


# aiohttp's resolver is told a host and a port: who asks goes beside that.
asker: Final[ContextVar[Asker | None]] = ContextVar("asker", default=None)


class LookUps:
    """Resolves names as this machine does, `threads` at a time, the others wait. Belongs to one event loop.

    A look-up can't be ended from outside: one that nobody waits for any more holds its thread until it is over.
    So the owner that `asker` names has at most a quarter of them.
    """

    def __init__(self, threads: int = _THREADS, ask: Ask | None = None) -> None:
        self._places = Places(threads)
        self._ask = ask or _ask

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name.

        Raises:
            OSError: there are none.
        """
        asking = asker.get() or Asker("")
        # It stays so when time is over meanwhile.
        asking.waits = True
        give_back = await self._places.take(asking.owner)
        asking.waits = False
        looking = asyncio.ensure_future(in_thread(lambda: self._ask(host, port), "media-names"))
        looking.add_done_callback(lambda _: give_back())
        found = await asyncio.shield(looking)
        return [str(entry[4][0]) for entry in found]


def _ask(host: str, port: int) -> Sequence[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
