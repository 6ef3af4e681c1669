"""What a builder gets to see of the repository: the files that an ignore file lets through.

The rules are those of .dockerignore (https://docs.docker.com/build/concepts/context/#dockerignore-files): patterns
from the context's root, `*` within one name, `**` over folders, `!` takes back, the last match counts, and what is
said of a folder holds for what is in it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePosixPath

from tests.support.parts import ROOT, require


def is_ignored(path: str, patterns: Iterable[str]) -> bool:
    """Whether a file (relative, with slashes) stays outside; `patterns` are the lines of the ignore file."""
    here = PurePosixPath(path)
    names = [path, *(str(parent) for parent in here.parents if parent.name)]
    ignored = False
    for line in patterns:
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        takes_back = pattern.startswith("!")
        if ignored == takes_back and any(_regex(pattern.removeprefix("!")).fullmatch(name) for name in names):
            ignored = not takes_back
    return ignored


def in_context(files: Iterable[str], ignore_file: str) -> set[str]:
    """Those of the files that a builder sees."""
    patterns = ignore_file.splitlines()
    return {path for path in files if not is_ignored(path, patterns)}


def files_of_the_repository() -> set[str]:
    """What git has or would have after `git add`, and that is there. Skips the test where there is no git."""
    git = shutil.which("git")
    require("check of the image's files", bool(git) and (ROOT / ".git").exists(), "run it in a git clone")
    return set(listed_files(str(git), ROOT))


def listed_files(git: str, root: Path) -> list[str]:
    """The files of a clone that git does not ignore, relative to it."""
    command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return [path for path in listed.split("\0") if path and (root / path).is_file()]


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.strip("/"))
    meaning = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts))
