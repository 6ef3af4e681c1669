"""What every long-running command does: an event loop, signals that stop it, and a word when it can't start."""

from __future__ import annotations

import asyncio
import errno
import gc
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

from adapters.database.url import DatabaseUrlError
from adapters.documents.read import DocumentError
from adapters.providers.secrets import SecretError

CANT_START: Final = 1
_YOUNG: Final = 10_000
"""How many more objects there must be than before until the collector looks for cycles among the new ones."""
_CANT_LISTEN: Final = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL})


class Stoppable(Protocol):
    """What runs until it is stopped, or fails."""

    @property
    def failed(self) -> bool:
        """Whether it ended by a fault of its own."""
        ...

    async def wait(self) -> None:
        """Returns when it failed."""
        ...

    async def stop(self) -> None:
        """Ends it in good order."""
        ...


class StartError(Exception):
    """Why a start failed, for whoever typed the command."""


@contextmanager
def starting(ports: Mapping[str, int]) -> Iterator[None]:
    """What may fail at a start, and only there, becomes a StartError.

    `ports` are those listened on, by the setting that names each.
    """
    try:
        yield
    except (OSError, DocumentError, RuntimeError, SecretError, DatabaseUrlError) as error:
        raise StartError(f"{error}{_which_setting(error, ports)}") from error


def run(main: Callable[[], Awaitable[int]]) -> int:
    """Runs `main` in an event loop of its own; its exit code, or that of a start that failed, which is told."""

    async def guarded() -> int:
        try:
            return await main()
        except StartError as error:
            say(f"can't start: {error}")
            return CANT_START

    if sys.platform == "win32":
        return asyncio.run(guarded())
    import uvloop

    return uvloop.run(guarded())


def stop_on_signals() -> asyncio.Event:
    """Set once SIGTERM or SIGINT came."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def run_until_stopped(process: Stoppable, stop: asyncio.Event) -> int:
    """Waits for `stop` or the process's own end, then drains it; the exit code."""
    waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(process.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for waiter in waits:
        waiter.cancel()
    await process.stop()
    return 1 if process.failed else 0


def freeze_what_stays() -> None:
    """Takes what start-up left behind out of the garbage collector's sight: modules, descriptors, tables.

    A full collection otherwise walks all of it, again and again, while calls wait.
    """
    gc.collect()
    gc.freeze()
    # Python's 700 are those of a few calls under way, which are looked at in vain, 1 % of the CPU of a call.
    gc.set_threshold(_YOUNG)


def say(text: str) -> None:
    """A line for whoever typed the command."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _which_setting(error: Exception, ports: Mapping[str, int]) -> str:
    """What to do when the error is that a port can't be listened on; "" for any other."""
    # gRPC's own error has no number, only our sentence.
    listening = isinstance(error, OSError) and (error.errno in _CANT_LISTEN or "can't listen" in str(error))
    for setting, port in ports.items() if listening else ():
        if port and re.search(rf"\b{port}\b", str(error)):
            how = f"end what listens there, or set {setting} (EUROUTER_{setting.upper().replace('.', '__')})"
            return f". It is the {setting.partition('.')[0]} listener: {how}"
    return ""
