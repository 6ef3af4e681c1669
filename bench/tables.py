"""Markdown tables, verdicts, and what figures are told by. Knows no measurement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and what became of it; `met` None: not measured."""

    what: str
    target: str
    measured: str
    met: bool | None

    @property
    def mark(self) -> str:
        """A word for the table."""
        return {True: "met", False: "MISSED", None: "not measured"}[self.met]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with its columns aligned."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines
    )


def quantile(values: Sequence[float], q: float) -> float:
    """The value below which a share `q` of the values lies, nearest rank; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


def pooled(rounds: Iterable[Sequence[float]]) -> list[float]:
    """The values of all rounds."""
    return [value for values in rounds for value in values]


def milliseconds(seconds: float) -> str:
    """For people."""
    return f"{seconds * 1000:.1f} ms"
