"""Fetch llmprobe, pinned, into a folder of the cache: `make conformance` calls it first, with the network.

Standard library only. POSIX only, as make is.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.clients.prepare import CACHE

PACKAGE = "llmprobe"
VERSION = "0.6.12"
INTEGRITY = "sha512-j0EJ9AIF0/IeA2ulu9WEWlsExXHyijtMVopJJudqojFaIQwZGVtixAfelxeLfJDLMVfr4OWie1EfdI8T9ubKEw=="
FOLDER = CACHE.parent / f"{PACKAGE}-{VERSION}"
PROGRAM = FOLDER / "node_modules" / PACKAGE / "bin" / "dist" / "llmprobe.mjs"


def prepare(folder: Path = FOLDER) -> str | None:
    """Installs it when it isn't there; None, or a sentence about what is missing."""
    if missing := [tool for tool in ("node", "npm") if shutil.which(tool) is None]:
        return f"install Node.js 20 or newer with npm (not found: {', '.join(missing)})"
    if (folder / ".ready").exists():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"{PACKAGE}@{VERSION}"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        return f"npm could not fetch it: {(ran.stderr.strip() or ran.stdout.strip())[-500:]}"
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    if lock["packages"][f"node_modules/{PACKAGE}"]["integrity"] != INTEGRITY:
        return "what npm fetched is not the package that was pinned: its integrity differs"
    (folder / ".ready").touch()
    return None


def main() -> int:
    """Exit code 0 when it is there."""
    problem = prepare()
    if problem is not None:
        sys.stderr.write(f"==> no {PACKAGE} {VERSION}: {problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
