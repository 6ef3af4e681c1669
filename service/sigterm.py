"""SIGTERM where no event loop has it: before one begins, between two, or without any. Imports nothing slow."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
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


class Kept:
    """Whether SIGTERM or SIGINT `came`; `tell` says what is to be done when one does, or at once if one did."""

    def __init__(self) -> None:
        self.came = False
        self._act: Callable[[], object] = _nothing

    def tell(self, act: Callable[[], object] | None) -> None:
        """From now on `act` is called, on the main thread; None: nothing more is."""
        self._act = act or _nothing
        if self.came:
            self._act()

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """What `signal.signal` takes."""
        self.came = True
        self._act()


@contextmanager
def kept_signals() -> Iterator[Kept]:
    """For an event loop after which another follows: no signal is lost between them. Main thread only.

    Handlers of a loop's own end with it, and what they leave behind swallows a signal.
    """
    kept = Kept()
    before = {number: signal.signal(number, kept.handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield kept
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing() -> None:
    pass


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
