"""The pages for people: README.md, CONTRIBUTING.md, docs/. Their blocks, links and what they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.parts import ROOT

_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SPAN: Final = re.compile(r"`([^`\n]+)`")


def pages() -> list[Path]:
    """Every page."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def section(page: Path, heading: str) -> str:
    """What stands under `## heading`.

    Raises:
        LookupError: the page has no such heading.
    """
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    if found is None:
        raise LookupError(f"{page.name} has no section {heading!r}")
    return found[1]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks in that language."""
    return [body for name, body in _BLOCK.findall(text) if name == language]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> Iterator[str]:
    """What stands between backticks outside of blocks."""
    yield from _SPAN.findall(prose(page))


def links(page: Path) -> Iterator[str]:
    """Targets of links that lead to a place in this repository."""
    yield from (target for target in _LINK.findall(prose(page)) if "://" not in target)


def anchors(page: Path) -> set[str]:
    """The names that headings have in links."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
