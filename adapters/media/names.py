"""Looks names up on threads of its own: slow name servers of strangers hold up nobody else who asks for names."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from adapters.threads import in_thread

Ask: TypeAlias = Callable[[str, int], Sequence[Any]]

_THREADS: Final = 16


class LookUps:
    """Resolves names as this machine does, `threads` at a time, the others wait. Belongs to one event loop.

    A look-up can't be ended from outside: one that nobody waits for any more holds its thread until it is over.
    """

    def __init__(self, threads: int = _THREADS, ask: Ask | None = None) -> None:
        self._free = asyncio.Semaphore(threads)
        self._ask = ask or _ask

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a name.

        Raises:
            OSError: there are none.
        """
        await self._free.acquire()
        looking = asyncio.ensure_future(in_thread(lambda: self._ask(host, port), "media-names"))
        looking.add_done_callback(lambda _: self._free.release())
        found = await asyncio.shield(looking)
        return [str(entry[4][0]) for entry in found]


def _ask(host: str, port: int) -> Sequence[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
