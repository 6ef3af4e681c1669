"""What came of a run: what is wrong, the counts, and the provider's journal as records of its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.chaos.checker import Violation
from tests.chaos.cluster_settings import PROCESS_HEADER
from tests.chaos.history import FOREGROUND, Call, History

_LINE: Final = 600


@dataclass
class Outcome:
    """What came of a run. `counts` as the last line names them."""

    seed: int
    history: History
    violations: Sequence[Violation]
    counts: Mapping[str, int]
    folder: Path

    def last_line(self) -> str:
        """The run in one line."""
        counts = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        return f"seed {self.seed}: {counts}"

    def broke(self, rules: frozenset[str]) -> bool:
        """Whether one of these rules is broken."""
        return any(violation.rule in rules for violation in self.violations)

    def report(self, most: int = 40) -> str:
        """What is wrong, and where to look further."""
        more = len(self.violations) - most
        lines = [str(violation)[:_LINE] for violation in self.violations[:most]]
        lines += [f"and {more} more"] if more > 0 else []
        return "\n".join([*lines, f"==> the logs of all processes and history.json are in {self.folder}"])


def calls_of(journal: Sequence[Mapping[str, Any]]) -> list[Call]:
    """The calls of a journal that were made for background responses."""
    calls = []
    for entry in journal:
        if entry["body"]["messages"][-1]["content"].startswith(FOREGROUND):
            continue
        job, _, epoch = entry["headers"].get("x-request-id", "").partition(".")
        calls.append(
            Call(
                job=job,
                epoch=int(epoch),
                process=entry["headers"][PROCESS_HEADER],
                prompt=entry["body"]["messages"][-1]["content"],
                began=entry["began"],
                closed=entry["closed"],
                whole=entry["finished"] and entry["status"] == 200,
            )
        )
    return calls
