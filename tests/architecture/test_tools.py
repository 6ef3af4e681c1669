"""The linters and generators agree with the tree: what `make check` runs, for those who run only the tests."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.parts import ROOT, require

BIN = Path(sys.executable).parent
GENERATOR = ROOT / ".venv-protos" / "bin" / "python"


def run(*command: str | Path, folder: Path = ROOT) -> None:
    """Run a tool; fail with what it said."""
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        pytest.fail(f"{Path(command[0]).name} is not content:\n{ran.stdout}{ran.stderr}", pytrace=False)


def test_the_code_keeps_the_linters_rules() -> None:
    run(BIN / "ruff", "check", "--quiet")


def test_the_code_is_formatted() -> None:
    run(BIN / "ruff", "format", "--check", "--quiet")


@pytest.mark.timeout(400)
def test_the_types_hold() -> None:
    run(BIN / "mypy")


def test_the_layers_hold() -> None:
    run(BIN / "lint-imports", "--no-logo")


def test_the_protos_keep_the_linters_rules() -> None:
    run(BIN / "buf", "lint", folder=ROOT / "protos")


def test_the_protos_are_formatted() -> None:
    run(BIN / "buf", "format", "--diff", "--exit-code", folder=ROOT / "protos")


def test_the_protos_break_nothing_that_was_released() -> None:
    baseline = ROOT / "protos" / "baseline.binpb"
    if baseline.exists():
        run(BIN / "buf", "breaking", "--against", baseline.name, folder=baseline.parent)


def test_the_generated_code_is_what_the_protos_generate() -> None:
    require(
        "check of generated code", GENERATOR.exists(), "run the tests by `make test`, which sets up .venv-protos"
    )
    run(GENERATOR, "protos/generate.py", "--check")
