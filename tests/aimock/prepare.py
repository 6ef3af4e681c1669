"""Fetch aimock, pinned, into a folder of the cache: `make test` calls it first, with the network.

It never fails: the tests name what could not be had.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.clients.prepare import CACHE
from tests.support.npm import fetch

PACKAGE: Final = "@copilotkit/aimock"
VERSION: Final = "1.43.0"
INTEGRITY: Final = (
    "sha512-V8D8cjSMtAR4rHaD2ulp3DR/ZguXQjDNOqwKDNvjb/OJL/KR1I0SDf5xpRCd+TYKjhmf9fM8Xpg3QBKPmV9Kmw=="
)
FOLDER: Final = CACHE.parent / f"aimock-{VERSION}"
PROGRAM: Final = FOLDER / "node_modules" / PACKAGE / "dist" / "cli.js"


def is_ready() -> bool:
    """Whether it was fetched."""
    return (FOLDER / ".ready").exists()


def prepare(folder: Path = FOLDER) -> str | None:
    """Fetches it when it isn't there; None, or a sentence about what is missing."""
    return fetch(PACKAGE, VERSION, INTEGRITY, folder)


if __name__ == "__main__":
    if (problem := prepare()) is not None:
        sys.stderr.write(f"==> no {PACKAGE} {VERSION}: {problem}\n")
