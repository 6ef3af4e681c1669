"""Fetch the version before this one into an environment of its own: `make chaos UPGRADE=1` calls it first.

It is the newest release tag before this commit, or the commit that the first release is compared with. Its files
come from git's history, its dependencies by pip, as its own lock file says; nothing is fetched twice. Standard
library only: it runs before anything else is known to work.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.clients.prepare import CACHE, is_ready, run, say, why_not

BEFORE_THE_FIRST_RELEASE: Final = "c6c406a"
OWN_CHOICE: Final = "EUROUTER_UPGRADE_FROM"
"""The variable that names another tag or commit to come from."""

_ROOT: Final = Path(__file__).resolve().parents[2]
_RELEASES: Final = CACHE.parent / "releases"
_KEPT: Final = 2


@dataclass(frozen=True, slots=True)
class Previous:
    """The version before: `name` as git has it; `folder` has its `tree` and `venv` once it is ready."""

    name: str
    commit: str
    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter whose `service` and `workers` are that version's."""
        return self.folder / "venv" / "bin" / "python"


@cache
def previous() -> Previous | None:
    """The version before this one; None where git does not know it, such as in an archive of the files."""
    name = os.environ.get(OWN_CHOICE) or _newest_tag() or BEFORE_THE_FIRST_RELEASE
    commit = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    return Previous(name, commit, _RELEASES / commit[:16]) if commit else None


def available() -> bool:
    """Whether it can be started."""
    found = previous()
    return found is not None and is_ready(found.folder)


def how() -> str:
    """What to do where `available` says no, in one line."""
    found = previous()
    if found is None:
        return f"get the whole history, with tags (git fetch --unshallow --tags), or name a commit in {OWN_CHOICE}"
    return why_not(found.folder)


def _newest_tag() -> str:
    """The release before the commit that is checked out: a release itself comes after the one before."""
    return _git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD^")


def _git(*arguments: str) -> str:
    """What git says; empty where it knows nothing or is not there."""
    try:
        said = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""


def _script(found: Previous) -> str:
    """The commands that fill the folder in which they run. The package is built as its image has it."""
    python = shlex.quote(sys.executable)
    install = "venv/bin/python -m pip install --quiet"
    return "\n".join(
        (
            f"mkdir tree && git -C {shlex.quote(str(_ROOT))} archive {found.commit} | tar -x -C tree",
            f"{python} -m venv venv",
            f"{install} --require-hashes -r tree/requirements.txt",
            f"{install} --no-deps ./tree",
        )
    )


def main() -> None:
    """Fetches what is not there yet, and says so; also what can't be had, which whoever needs it says again."""
    found = previous()
    if found is None:
        say(f"the version before this one is NOT here: {how()}")
        return
    if is_ready(found.folder):
        return
    say(f"making an environment of {found.name}, the version before (a minute the first time)")
    shutil.rmtree(found.folder, ignore_errors=True)
    found.folder.mkdir(parents=True)
    began = time.monotonic()
    variables = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    if not run(_script(found), found.folder, variables):
        say(f"{found.name} can't be had: {why_not(found.folder)}")
        return
    (found.folder / ".ready").touch()
    say(f"{found.name} is ready after {time.monotonic() - began:.0f} s")
    folders = [path for path in _RELEASES.iterdir() if path.is_dir()]
    older = sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)
    for path in older[_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    _RELEASES.mkdir(parents=True, exist_ok=True)
    with (_RELEASES / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        main()
