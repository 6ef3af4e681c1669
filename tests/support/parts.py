"""Parts that a machine may lack: tests that need one say so here, and the run's last line names what was missed.

On a person's machine a missing part skips its tests; where CI is set it fails them.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
"""Recorded exchanges and specifications, a folder beside the checkout."""

_MARK = "part missing: "


def in_ci() -> bool:
    """Whether a missing part is a failure."""
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def require(part: str, available: bool, how: str) -> None:
    """Go on when the part is there; else skip the test (in CI: fail it). `how` says what to install or do."""
    if available:
        return
    if in_ci():
        pytest.fail(f"{_MARK}{part}: {how} (in CI that is a failure)", pytrace=False)
    pytest.skip(f"{_MARK}{part}: {how}")


def model_python() -> Path:
    """The Python that has the local model's packages; whether it exists is for the caller to ask."""
    return Path(os.environ.get("EUROUTER_MODEL_PYTHON") or ROOT / ".venv-model" / "bin" / "python")


def last_line(skip_reasons: Iterable[str], failures: Iterable[str] = ()) -> str:
    """One line that names what did not run, each once, from the texts of skipped and of failed tests."""
    reasons = {reason.removeprefix("Skipped: ").removeprefix(_MARK) for reason in skip_reasons}
    lines = (line for text in failures for line in text.splitlines())
    reasons |= {line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)}
    if not reasons:
        return "All parts ran."
    return "NOT RUN on this machine: " + "; ".join(sorted(reasons))
