"""The reasons of reasons.yaml: which difference each covers, and what none covers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.differential.asked import Compared
from tests.differential.compare import Difference

FILE: Final = Path(__file__).with_name("reasons.yaml")
MEANINGS: Final = ("same", "kept", "choice")


@dataclass(frozen=True, slots=True)
class Reason:
    """One entry. `how` is empty and `cases` are none where any will do."""

    dialects: tuple[str, ...]
    places: tuple[str, ...]
    how: str
    cases: tuple[str, ...]
    means: str
    why: str

    def covers(self, dialect: str, case: str, found: Difference) -> bool:
        """Whether this is the reason of that difference."""
        return (
            dialect in self.dialects
            and self.how in ("", found.how)
            and (not self.cases or case in self.cases)
            and any(_matches(place, found.path) for place in self.places)
        )


@dataclass(frozen=True, slots=True)
class Explained:
    """Differences by reason, `(compared, difference)` each; what is left of either."""

    by_reason: tuple[tuple[Reason, tuple[tuple[Compared, Difference], ...]], ...]
    unexplained: tuple[tuple[Compared, Difference], ...]

    @property
    def idle(self) -> tuple[Reason, ...]:
        """Reasons that cover nothing."""
        return tuple(reason for reason, covered in self.by_reason if not covered)


def reasons() -> tuple[Reason, ...]:
    """The file's entries. Raises KeyError and TypeError for one that lacks something or has a key too many."""
    entries: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    made = tuple(
        Reason(
            dialects=tuple(entry.pop("dialects")),
            places=tuple(entry.pop("places")),
            how=entry.pop("how", ""),
            cases=tuple(entry.pop("cases", ())),
            **entry,
        )
        for entry in entries
    )
    assert all(reason.means in MEANINGS for reason in made)
    return made


def explain(compared: Iterable[Compared], known: Sequence[Reason]) -> Explained:
    """Each difference under the first reason that covers it."""
    covered: list[list[tuple[Compared, Difference]]] = [[] for _ in known]
    rest: list[tuple[Compared, Difference]] = []
    for each in compared:
        for found in each.found:
            hits = (
                at for at, reason in enumerate(known) if reason.covers(each.asked.dialect, each.asked.case, found)
            )
            at = next(hits, None)
            (rest if at is None else covered[at]).append((each, found))
    return Explained(tuple(zip(known, map(tuple, covered), strict=True)), tuple(rest))


def _matches(pattern: str, path: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), path) is not None
