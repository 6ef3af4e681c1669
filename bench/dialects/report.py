"""Figures of translation to tables and verdicts. Knows no process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

from bench.dialects.samples import BASE
from bench.tables import Verdict, table

LIMIT: Final = 1.5
"""How many times openai_chat's cost another dialect's may be."""

JUDGED: Final[Mapping[str, tuple[str, ...]]] = {
    "a call": ("build", "read"),
    "a long call": ("build, long", "read"),
    "a token, one a read": ("decode, one a read",),
    "a token, many a read": ("decode, many a read",),
}
"""What is judged, and the parts that it is the sum of."""

Figures = Mapping[str, Mapping[str, Sequence[float]]]


def tables(raw: Mapping[str, Any]) -> str:
    """CPU µs of every part by dialect, with the least and the most of the rounds."""
    figures: Figures = raw["figures"]
    parts = list(figures[BASE])
    rows = [(name, *(_cell(of[part]) for part in parts)) for name, of in figures.items()]
    return table(("CPU, µs", *parts), rows)


def verdicts(raw: Mapping[str, Any]) -> list[Verdict]:
    """Each dialect against openai_chat, translation alone; one line for what was not measured."""
    if not raw:
        return [Verdict(f"translation alone: times {BASE}", f"{LIMIT:.2f}", "", None)]
    figures: Figures = raw["figures"]
    return [
        _verdict(figures, name, what, parts) for name in figures if name != BASE for what, parts in JUDGED.items()
    ]


def _verdict(figures: Figures, name: str, what: str, parts: tuple[str, ...]) -> Verdict:
    own, base = (_sums(figures[which], parts) for which in (name, BASE))
    ratio = median(own) / median(base)
    by_round = [one / other for one, other in zip(own, base, strict=True)]
    told = f"{ratio:.2f} (by round {min(by_round):.2f} to {max(by_round):.2f})"
    return Verdict(f"translation of {what}, {name}: times {BASE}", f"{LIMIT:.2f}", told, ratio <= LIMIT)


def _sums(of: Mapping[str, Sequence[float]], parts: tuple[str, ...]) -> list[float]:
    return [sum(values) for values in zip(*(of[part] for part in parts), strict=True)]


def _cell(values: Sequence[float]) -> str:
    digits = 2 if median(values) < 10 else 0
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"
