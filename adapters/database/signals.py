"""Hints within one process: all there is on SQLite, and the base of what PostgreSQL carries to others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from service.domain.signals import Report

MANY: Final = 1000
"""More responses than this at once are not named: whoever follows any looks."""


def quiet(_event: str, _values: Mapping[str, object]) -> None:
    """A report that nobody reads."""


@dataclass(slots=True)
class Hints:
    """Hints that wait to be told, each once. `everything`: too many ids to name, or nobody knows which."""

    work: bool = False
    everything: bool = False
    ids: set[str] = field(default_factory=set)
    outbox: bool = False

    def __bool__(self) -> bool:
        return self.work or self.everything or self.outbox or bool(self.ids)

    def add(self, ids: Iterable[str]) -> None:
        """More news."""
        if self.everything:
            return
        self.ids.update(ids)
        if len(self.ids) > MANY:
            self.everything = True
            self.ids.clear()

    def take(self, *, work: bool = True) -> Hints:
        """All that waits, which waits no more. When `work` is False the hint of work stays, and the one of the
        outbox, too, unless there are others for it to go with.
        """
        outbox = self.outbox and (work or self.everything or bool(self.ids))
        taken = Hints(self.work and work, self.everything, self.ids, outbox)
        self.work, self.outbox = self.work and not work, self.outbox and not outbox
        self.everything, self.ids = False, set()
        return taken


class LocalSignals:
    """Signals to this process's own listeners, at the loop's next turn; what comes until then is told as one."""

    def __init__(self) -> None:
        self._on_work: list[Callable[[], None]] = []
        self._on_outbox: list[Callable[[], None]] = []
        self._on_news: list[Callable[[str], None]] = []
        self._on_missed: list[Callable[[], None]] = []
        self._here = Hints()
        self._due = False

    @property
    def hears(self) -> bool:
        """Nobody else's hints arrive: another process with the same file is not heard."""
        return False

    def work(self) -> None:
        """As the port."""
        self._here.work = True
        self._soon()

    def news(self, response_ids: Iterable[str]) -> None:
        """As the port."""
        self._here.add(response_ids)
        self._soon()

    def outbox(self) -> None:
        """As the port."""
        self._here.outbox = True
        self._soon()

    def listen(
        self,
        *,
        on_work: Callable[[], None] | None = None,
        on_outbox: Callable[[], None] | None = None,
        on_news: Callable[[str], None] | None = None,
        on_missed: Callable[[], None] | None = None,
    ) -> None:
        """As the port."""
        self._on_work += [on_work] if on_work else []
        self._on_outbox += [on_outbox] if on_outbox else []
        self._on_news += [on_news] if on_news else []
        self._on_missed += [on_missed] if on_missed else []

    async def run(self, report: Report = quiet) -> None:  # noqa: ARG002 - there is nothing that could fail
        """Waits to be cancelled."""
        await asyncio.Event().wait()

    def missed(self) -> None:
        """Everybody here looks once, at work, the outbox and everything that is followed."""
        self._here.work = self._here.outbox = self._here.everything = True
        self._soon()

    def hear(self, hints: Hints) -> None:
        """Hints from elsewhere."""
        self._here.work = self._here.work or hints.work
        self._here.outbox = self._here.outbox or hints.outbox
        self._here.everything = self._here.everything or hints.everything
        self._here.add(hints.ids)
        self._soon()

    def _soon(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._due = False
        hints = self._here.take()
        if hints.work:
            for told in self._on_work:
                told()
        if hints.outbox:
            for told in self._on_outbox:
                told()
        if hints.everything:
            for told in self._on_missed:
                told()
            return
        for heard in self._on_news:
            for response_id in hints.ids:
                heard(response_id)
