"""`python -m tests.upgrades.release_check`: whether the files of this tree agree on which release they are."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.parts import ROOT

_NAMED: Final = (
    re.compile(r"^[^#\n]*\bimage: eurouter:(\S+)", re.MULTILINE),
    re.compile(r"name: eurouter, newTag: ([^\s}]+)"),
    re.compile(r"app\.kubernetes\.io/version: (\S+)"),
    re.compile(r"^ARG VERSION=(\S+)", re.MULTILINE),
)
_JOB: Final = re.compile(r"^  name: eurouter-migrate-(\S+)$", re.MULTILINE)


def version_of(root: Path = ROOT) -> str:
    """What pyproject.toml says."""
    return _version(root / "pyproject.toml")


def problems(root: Path = ROOT) -> Iterator[str]:
    """What keeps this tree from being released, one sentence each."""
    version = version_of(root)
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"pyproject.toml: the version is {version}, which is none of a release"
    if (stubs := _version(root / "protos" / "pyproject.toml")) != version:
        yield f"protos/pyproject.toml has {stubs}, not {version}"
    if f"\n## [{version}]" not in (root / "CHANGELOG.md").read_text():
        yield f"CHANGELOG.md has no section [{version}]"
    yield from _deployed(root, version)
    if not (root / "tests" / "upgrades" / "fixtures" / version).is_dir():
        yield f"tests/upgrades/fixtures/{version} is missing: make release-files"
    if not (root / "protos" / "baseline.binpb").exists():
        yield "protos/baseline.binpb is missing: make release-files"


def _deployed(root: Path, version: str) -> Iterator[str]:
    jobs = 0
    files = [*(root / "deploy").rglob("*.yaml"), root / "deploy" / "Dockerfile"]
    for path in sorted(files):
        text, name = path.read_text(), path.relative_to(root)
        named = {found for pattern in _NAMED for found in pattern.findall(text)}
        for other in sorted(named - {version}):
            yield f"{name} has {other}, not {version}"
        for found in _JOB.findall(text) if "kind: Job\n" in text else ():
            jobs += 1
            if found != version.replace(".", "-"):
                yield f"{name}: the Job is eurouter-migrate-{found}; that of an earlier version can't be changed"
    if not jobs:
        yield "deploy has no Job that migrates"


def _version(path: Path) -> str:
    return str(tomllib.loads(path.read_text())["project"]["version"])


def main() -> int:
    """Says what is wrong, or that nothing is."""
    found = list(problems())
    for problem in found:
        print(f"==> {problem}")
    if not found:
        print(f"==> everything here is {version_of()}: git tag v{version_of()}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
