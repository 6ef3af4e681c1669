"""Fetch llmprobe, pinned, into a folder of the cache: `make conformance` calls it first, with the network."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.clients.prepare import CACHE
from tests.support.npm import fetch

PACKAGE = "llmprobe"
VERSION = "0.6.12"
INTEGRITY = "sha512-j0EJ9AIF0/IeA2ulu9WEWlsExXHyijtMVopJJudqojFaIQwZGVtixAfelxeLfJDLMVfr4OWie1EfdI8T9ubKEw=="
FOLDER = CACHE.parent / f"{PACKAGE}-{VERSION}"
PROGRAM = FOLDER / "node_modules" / PACKAGE / "bin" / "dist" / "llmprobe.mjs"


def prepare(folder: Path = FOLDER) -> str | None:
    """Installs it when it isn't there; None, or a sentence about what is missing."""
    return fetch(PACKAGE, VERSION, INTEGRITY, folder)


def main() -> int:
    """Exit code 0 when it is there."""
    problem = prepare()
    if problem is not None:
        sys.stderr.write(f"==> no {PACKAGE} {VERSION}: {problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
