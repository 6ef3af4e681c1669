"""Rules of the repository that no tool knows: small rooms, nothing of the machine that it was written on."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.parts import ROOT, require

MODULE_LINES = 330
FUNCTION_LINES = 55

LONG_FUNCTIONS: dict[str, str] = {}
"""`path:function` of each function that may be longer, with the reason."""


def modules() -> list[Path]:
    """Every hand-written module of the three packages."""
    found = [path for package in ("service", "adapters", "workers") for path in (ROOT / package).rglob("*.py")]
    return sorted(path for path in found if "_pb2" not in path.name)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def long_functions() -> Iterator[tuple[str, int]]:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno
                if lines > FUNCTION_LINES:
                    yield f"{name(path)}:{node.name}", lines


@pytest.fixture(scope="module")
def repository_files() -> list[Path]:
    """Every file that is in the repository or would be after `git add`."""
    git = shutil.which("git")
    require("check of the repository's files", bool(git) and (ROOT / ".git").exists(), "run it in a git clone")
    listed = subprocess.run(
        [str(git), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [path for entry in listed.split("\0") if entry and (path := ROOT / entry).is_file()]


def registries() -> set[str]:
    """The hosts that this machine's pip, npm and Go are told to use, other than this machine."""
    addresses = [
        os.environ.get(key, "") for key in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "GOPROXY")
    ]
    commands = (
        (sys.executable, "-m", "pip", "config", "get", "global.index-url"),
        ("npm", "config", "get", "registry"),
        ("go", "env", "GOPROXY"),
    )
    addresses += [
        subprocess.run(command, capture_output=True, text=True, check=False).stdout
        for command in commands
        if shutil.which(command[0])
    ]
    hosts = {host for text in addresses for host in re.findall(r"https?://(?:[^/@\s]*@)?([^/:\s,|]+)", text)}
    return hosts - {"localhost", "127.0.0.1"}


def mentions(files: list[Path], pattern: re.Pattern[bytes]) -> list[str]:
    """`file:line` of every place that matches."""
    return [
        f"{name(path)}:{number}"
        for path in files
        for number, line in enumerate(path.read_bytes().splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_module_is_too_long_to_be_about_one_thing() -> None:
    long = {name(path): lines for path in modules() if (lines := path.read_bytes().count(b"\n")) > MODULE_LINES}
    assert not long


def test_no_function_is_too_long_unless_a_reason_is_listed() -> None:
    assert not {found: lines for found, lines in long_functions() if found not in LONG_FUNCTIONS}


def test_every_listed_long_function_is_still_long() -> None:
    assert set(LONG_FUNCTIONS) <= {found for found, _ in long_functions()}


def test_no_file_names_a_path_of_the_machine_it_was_written_on(repository_files: list[Path]) -> None:
    # Spelt in pieces, so that this file holds none of them.
    folders = b"|".join(b"/" + folder + b"/" for folder in (b"work", b"farm", b"tmp/bash_jobs"))
    assert not mentions(repository_files, re.compile(folders))


def test_no_file_names_a_package_registry(repository_files: list[Path]) -> None:
    hosts = registries()
    if hosts:
        assert not mentions(
            repository_files, re.compile(b"|".join(re.escape(host.encode()) for host in sorted(hosts)))
        )


def test_lock_files_pin_hashes_and_no_addresses() -> None:
    locks = sorted(ROOT.glob("requirements*.txt"))
    assert len(locks) == 6
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        pins = re.findall(r"^\S+==", text, flags=re.MULTILINE)
        assert pins
        assert len(re.findall(r"^\S+==[^\n]*\\\n {4}--hash=sha256:", text, flags=re.MULTILINE)) == len(pins), (
            lock.name
        )
        assert not re.search(r"https?://|index-url ", text.replace("--no-emit-index-url", "")), lock.name


def test_the_service_and_its_stubs_have_one_version_and_the_same_runtimes() -> None:
    service = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stubs = tomllib.loads((ROOT / "protos" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert stubs["version"] == service["version"]
    assert stubs["requires-python"] == service["requires-python"]
    assert set(stubs["dependencies"]) <= set(service["dependencies"])


def test_ci_runs_the_readmes_test_command() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "exec make test"
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_make_without_a_target_explains_every_target() -> None:
    require("check of the Makefile", shutil.which("make") is not None, "install make")
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "run", "smoke", "test", "check", "lint", "types", "protos", "golden", "bench"):
        assert re.search(rf"^  {target} ", shown, flags=re.MULTILINE), target
