"""Enough of PromQL's grammar to say which series an expression reads and by which labels. It judges nothing.

That an expression is valid is for promtool to say, which is not everywhere; what it reads is found without it.
https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"|(?P<range>\[[^\]]*\])"
    r"|(?P<number>(?<![\w:])\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?:ms|[smhdwy])?(?!\w))"
    r"|(?P<name>\$?[a-zA-Z_:][\w:]*)"
    r"|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^(){}<>=,@])"
    r"|(?P<space>\s+)"
)
_BY: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS: Final = _BY | {"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "start", "end"}


class PromqlError(ValueError):
    """The text is no expression that this module can read."""


@dataclass(frozen=True, slots=True)
class Selector:
    """One series selector: its metric, and what its labels must be, as written (operator and text)."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Read:
    """`grouped`: labels after by, on and the like."""

    selectors: tuple[Selector, ...]
    grouped: frozenset[str]


def read(expression: str) -> Read:
    """What an expression reads.

    Raises:
        PromqlError: a character that can't be, or a brace that does not close.
    """
    tokens = list(_tokens(expression))
    selectors: list[Selector] = []
    grouped: set[str] = set()
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        follows = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        at += 1
        if kind != "name":
            if text == "{":
                raise PromqlError(f"a selector without a metric: {expression}")
            continue
        if text.lower() in _BY:
            if follows == "(":
                end = _closing(tokens, at, ")")
                grouped |= {name for kind, name in tokens[at:end] if kind == "name"}
                at = end
        elif follows == "{":
            end = _closing(tokens, at, "}")
            selectors.append(Selector(text, tuple(_matchers(tokens[at + 1 : end]))))
            at = end + 1
        elif follows != "(" and text.lower() not in _WORDS and not _is_aggregation(tokens, at):
            selectors.append(Selector(text, ()))
    return Read(tuple(selectors), frozenset(grouped))


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(expression):
        found = _TOKEN.match(expression, at)
        if found is None or found.lastgroup is None:
            raise PromqlError(f"{expression[at : at + 20]!r} in {expression}")
        if found.lastgroup != "space":
            yield found.lastgroup, found[0]
        at = found.end()


def _closing(tokens: list[tuple[str, str]], at: int, sign: str) -> int:
    for place in range(at, len(tokens)):
        if tokens[place] == ("sign", sign):
            return place
    raise PromqlError(f"no {sign}")


def _is_aggregation(tokens: list[tuple[str, str]], at: int) -> bool:
    """Whether the name before `at` is one: `sum by (...) (...)`."""
    return at < len(tokens) and tokens[at][1] in ("by", "without")


def _matchers(tokens: list[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    parts = [token for token in tokens if token[1] != ","]
    if len(parts) % 3:
        raise PromqlError(f"matchers: {parts}")
    for at in range(0, len(parts), 3):
        (_, label), (_, operator), (kind, text) = parts[at : at + 3]
        if kind != "string":
            raise PromqlError(f"matchers: {parts}")
        yield label, operator, text[1:-1]
