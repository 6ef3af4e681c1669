"""Fetch one pinned package from npm into a folder of the cache. Standard library only. POSIX only, as make is."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path


def fetch(package: str, version: str, integrity: str, folder: Path) -> str | None:
    """Installs it when it isn't there; None, or a sentence about what is missing.

    `integrity` as npm's lock has it.
    """
    if missing := [tool for tool in ("node", "npm") if shutil.which(tool) is None]:
        return f"install Node.js 20 or newer with npm (not found: {', '.join(missing)})"
    if (folder / ".ready").exists():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"{package}@{version}"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        return f"npm could not fetch it: {(ran.stderr.strip() or ran.stdout.strip())[-500:]}"
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    if lock["packages"][f"node_modules/{package}"]["integrity"] != integrity:
        return "what npm fetched is not the package that was pinned: its integrity differs"
    (folder / ".ready").touch()
    return None
