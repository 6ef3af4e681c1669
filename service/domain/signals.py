"""Hints between those who write jobs and those who wait for them. They shorten waits; nothing depends on them.

Whoever waits looks by itself now and then: a hint may be lost, come twice, or mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

Report: TypeAlias = Callable[[str, Mapping[str, object]], None]
"""Called with an event's name and its values; must not block."""


class Signals(Protocol):
    """Hints to everybody who listens, in this process and, where the database can, in others.

    Use it in one event loop.
    """

    @property
    def hears(self) -> bool:
        """Whether hints of other processes arrive here: waits may be long then."""
        ...

    def work(self) -> None:
        """There may be something to claim. Returns at once, never raises; call it as often as you like."""
        ...

    def news(self, response_ids: Iterable[str]) -> None:
        """Events of these responses were written, or their state moved. As `work`."""
        ...

    def outbox(self) -> None:
        """There may be something to publish. As `work`."""
        ...

    def listen(
        self,
        *,
        on_work: Callable[[], None] | None = None,
        on_outbox: Callable[[], None] | None = None,
        on_news: Callable[[str], None] | None = None,
        on_missed: Callable[[], None] | None = None,
    ) -> None:
        """Has these called from now on, in the event loop, after any others that were registered.

        `on_work`: there may be something to claim; `on_outbox`: to publish. `on_news`: of the response with this
        id. `on_missed`: hints were lost, or too many to name: look at everything once. They must not block or
        raise.
        """
        ...

    async def run(self, report: Report = ...) -> None:
        """Carries hints between processes until cancelled; without it they stay in this one.

        Whatever fails is tried again; `report` is told once that it fails and once that it works again.
        """
        ...
