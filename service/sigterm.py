"""What SIGTERM does to a command that has no event loop yet, or none at all. Imports nothing that takes time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

TERMINATED: Final = 128 + signal.SIGTERM
"""The exit code of a command that SIGTERM ended: not 0, which would say that it is done."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """In the block SIGTERM raises SystemExit, until an event loop handles it.

    The kernel gives the first process of a container no signal that it does not handle.
    """
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread may say what a signal does.
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
