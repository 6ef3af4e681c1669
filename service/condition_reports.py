"""What the parts of a process find out about themselves, in the sentences of its conditions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from service.conditions import Conditions, Part
from service.domain.stored import StoreError
from service.storage import sentence

LOOK_SECONDS: Final = 10.0
"""How often secrets and files are looked at while the process runs."""


class ConditionReports:
    """Tells `conditions` what the database, the two watched files, and secrets are like."""

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._failing: dict[str, str] = {}

    def at_start(self) -> None:
        """What was read to build the process was good."""
        for part in (Part.SETTINGS, Part.CATALOG, Part.SECRETS, Part.RESTART):
            self._conditions.tell(part)

    def database(self, by: str, error: StoreError | None) -> None:
        """What came of a use of the database by one of its users.

        It is good once nobody's last use failed: one that is there to be read only is not, whoever reads it.
        """
        if error is None:
            self._failing.pop(by, None)
        else:
            self._failing[by] = sentence(error)
        self._conditions.tell(Part.DATABASE, *list(self._failing.values())[:1])

    def settings(self, problems: Sequence[str]) -> None:
        """What is wrong with the settings' file as it is now."""
        self._edit(Part.SETTINGS, problems)

    def catalog(self, problems: Sequence[str]) -> None:
        """What is wrong with the catalogue's file as it is now."""
        self._edit(Part.CATALOG, problems)

    async def watch(
        self,
        problems: Callable[[], Iterable[str]],
        changed: Callable[[], Iterable[str]] = tuple,
        *,
        every: float = LOOK_SECONDS,
    ) -> None:
        """Tells again and again which secrets and files are missing and which were `changed` too late, until
        cancelled; it reads in a thread."""
        while True:
            await asyncio.sleep(every)
            self._conditions.tell(Part.SECRETS, *await asyncio.to_thread(lambda: tuple(problems())))
            self._conditions.tell(Part.RESTART, *await asyncio.to_thread(lambda: tuple(changed())))
            self._conditions.remind()

    def _edit(self, part: Part, problems: Sequence[str]) -> None:
        self._conditions.tell(part, *(f"{problem}; what was read before stays in force" for problem in problems))
