"""`python -m tests.upgrades.make 0.1.0`: keep what this release stores and sends, for all later ones to read.

Run it when everything else of a release is done. Once the release has its tag nothing of it is made anew. It needs
a private PostgreSQL.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

NOW = 1_790_000_000.0
"""2026-09-21T14:13:20Z: when all of it happens."""


def main() -> int:
    """Makes the folder of one version."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrades.make")
    parser.add_argument("version", help="as pyproject.toml has it, such as 0.1.0")
    options = parser.parse_args()
    with pytest.MonkeyPatch.context() as patch:
        # Before anything of ours is imported: defaults of parameters keep the clock.
        patch.setattr(time, "time", lambda: NOW)
        from adapters import logs
        from tests.upgrades import making, releases

        logs.configure("console", "error")
        folder = releases.FIXTURES / options.version
        if folder.exists() and releases.is_tagged(options.version):
            print(f"==> {options.version} is released: its fixtures never change")
            return 1
        with tempfile.TemporaryDirectory(prefix="eurouter-fixtures-") as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            making.make(made, Path(scratch), patch)
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(made, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"==> {len(list(folder.rglob('*.*')))} files, {size / 1000:.0f} kB in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
