"""Runs llmprobe against a running service and reads its report. It never uploads: it is not asked to."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.conformance.prepare import PROGRAM

SURFACES: Final = {"chat": 41, "responses": 37}
"""The surfaces that this service has, with the number of checks that the pinned version makes."""

# Its own default is to ask for reasoning in every check; then one of its schemas meets a name that isn't OpenAI's
# (docs/conformance.md says which). The checks that are about reasoning ask for it themselves.
_ARGUMENTS: Final = (
    "--full",
    "--no-bench",
    "--reasoning",
    "default",
    "--no-save",
    "--no-color",
    "--timeout",
    "300",
)
_UPLOADS: Final = ("LLMPROBE_UPLOAD_URL", "LLMPROBE_UPLOAD_TOKEN")


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its outcome (pass, fail, unsupported, inconclusive, unreachable, skipped) and the reason."""

    id: str
    name: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found at one target, by surface."""

    target: str
    surfaces: dict[str, list[Check]]

    def counts(self, surface: str) -> Counter[str]:
        """How many checks ended how."""
        return Counter(check.outcome for check in self.surfaces[surface])

    def problems(self, known: Collection[str]) -> list[str]:
        """The checks that did not pass, other than `known` ones, and wrong numbers of checks."""
        found = []
        for surface, expected in SURFACES.items():
            checks = self.surfaces[surface]
            if len(checks) != expected:
                found.append(f"{self.target}: {len(checks)} checks of {surface} instead of {expected}")
            found += [
                f"{self.target}: {check.id}: {check.outcome}: {check.reason}"
                for check in checks
                if check.outcome != "pass" and check.id not in known
            ]
        return found


async def probe(target: str, url: str, model: str, folder: Path) -> Probed:
    """Probes `model` at `url` (with its /v1); the whole report and what was printed stay in `folder`.

    Raises:
        RuntimeError: it ended without a report.
    """
    report, printed = folder / "report.json", folder / "printed.txt"
    variables = {name: value for name, value in os.environ.items() if name not in _UPLOADS}
    with printed.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *("node", str(PROGRAM), url, "--model", model, *_ARGUMENTS, "--save", str(report)),
            cwd=folder,
            env={**variables, "HOME": str(folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if not report.exists():
        raise RuntimeError(f"llmprobe ended without a report:\n{printed.read_text()[-2000:]}")
    return read_report(target, json.loads(report.read_text()))


def read_report(target: str, report: dict[str, Any]) -> Probed:
    """The checks of our surfaces in a saved report."""
    results = report["conformance"]["results"]
    return Probed(
        target,
        {surface: [_check(result) for result in results if result["surface"] == surface] for surface in SURFACES},
    )


def _check(result: dict[str, Any]) -> Check:
    failures = [f"{each['label']}: {each['message']}" for each in result["failures"] if each["severity"] == "MUST"]
    return Check(result["id"], result["name"], result["outcome"], result.get("reason") or "; ".join(failures))
