"""The policy report, `make policy`: checkov over what the overlays render to and over the Dockerfile.

One set of policies is enough. checkov has the Kubernetes benchmarks' rules for pods, and rules for Dockerfiles, in
one program that pip installs, and asks nobody over the network. Each exception stands in deploy/policy.yaml with
its reason; a failure without one, and an exception that nothing needs any more, both end with exit code 1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import fill
from typing import Any, Final

import yaml

from tests.deploy.objects import OVERLAYS, text
from tests.support.parts import ROOT

CHECKOV: Final = ROOT / ".venv-policy" / "bin" / "checkov"
CONFIGURATION: Final = ROOT / "deploy" / "policy.yaml"
DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one thing: `target` is an overlay or `image`, `resource` the thing as checkov writes it."""

    target: str
    check: str
    name: str
    resource: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Excepted:
    """A check that may fail for what the patterns name, `TARGET/RESOURCE` with `*` for anything, and why."""

    check: str
    patterns: tuple[str, ...]
    reason: str

    def covers(self, finding: Finding, pattern: str) -> bool:
        """Whether a pattern of this exception is about this finding."""
        return finding.check == self.check and fnmatchcase(f"{finding.target}/{finding.resource}", pattern)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, and what of it an exception explains."""

    findings: tuple[Finding, ...]
    exceptions: tuple[Excepted, ...]

    def excepted(self, one: Excepted) -> list[Finding]:
        """The failures that this exception explains."""
        return [
            finding for finding in self._failed() if any(one.covers(finding, pattern) for pattern in one.patterns)
        ]

    def failures(self) -> list[Finding]:
        """The failures that no exception explains."""
        explained = {finding for one in self.exceptions for finding in self.excepted(one)}
        return [finding for finding in self._failed() if finding not in explained]

    def unneeded(self) -> list[str]:
        """`CHECK PATTERN` of every exception that explains nothing."""
        return [
            f"{one.check} {pattern}"
            for one in self.exceptions
            for pattern in one.patterns
            if not any(one.covers(finding, pattern) for finding in self._failed())
        ]

    def table(self) -> str:
        """The report as people read it."""
        failed, excepted = (
            self.failures(),
            Counter(
                finding.target for finding in {found for one in self.exceptions for found in self.excepted(one)}
            ),
        )
        lines = [f"{'checked':<10} {'passed':>7} {'failed':>7} {'excepted':>9}"]
        for target in dict.fromkeys(finding.target for finding in self.findings):
            passed = sum(finding.passed for finding in self.findings if finding.target == target)
            missed = sum(finding.target == target for finding in failed)
            lines.append(f"{target:<10} {passed:>7} {missed:>7} {excepted[target]:>9}")
        for one in self.exceptions:
            found = self.excepted(one)
            names = {finding.name for finding in found}
            lines += ["", f"excepted {len(found)} times: {one.check} {'; '.join(sorted(names))}"]
            lines += [f"    {finding.target}/{finding.resource}" for finding in found]
            lines.append(fill(one.reason, 110, initial_indent="    because: ", subsequent_indent="    "))
        lines += ["", *(f"FAILED {one.check} {one.name}: {one.target}/{one.resource}" for one in failed)]
        lines += [f"NOT NEEDED ANY MORE in {CONFIGURATION.name}: {one}" for one in self.unneeded()]
        return "\n".join(lines).rstrip()

    def _failed(self) -> list[Finding]:
        return [finding for finding in self.findings if not finding.passed]


def exceptions(document: str) -> tuple[Excepted, ...]:
    """The exceptions of the configuration's text.

    Raises:
        ValueError: one lacks a part or says it twice.
    """
    found = []
    for position, row in enumerate((yaml.safe_load(document) or {}).get("exceptions", [])):
        if set(row) != {"check", "of", "reason"} or not row["of"] or len(str(row["reason"]).split()) < 5:
            raise ValueError(f"exceptions[{position}]: it needs check, of (a list) and a reason in a sentence")
        found.append(Excepted(row["check"], tuple(row["of"]), " ".join(row["reason"].split())))
    twice = [check for check, count in Counter(one.check for one in found).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]}: it stands there twice; one row holds all patterns")
    return tuple(found)


def findings(target: str, output: str) -> list[Finding]:
    """What checkov's JSON says.

    Raises:
        ValueError: it could not read a file, or it checked nothing.
    """
    said = json.loads(output)
    reports: list[Mapping[str, Any]] = said if isinstance(said, list) else [said]
    found = {
        Finding(target, row["check_id"], row["check_name"], row["resource"].removeprefix("/"), passed)
        for report in reports
        for key, passed in (("passed_checks", True), ("failed_checks", False))
        for row in report.get("results", {}).get(key, [])
    }
    broken = [file for report in reports for file in report.get("results", {}).get("parsing_errors", [])]
    if broken or not found:
        raise ValueError(f"{target}: checkov read nothing of {broken or 'it'}")
    return sorted(found, key=lambda one: (one.check, one.resource))


def checked(target: str, framework: str, file: Path) -> list[Finding]:
    """Run checkov over one file.

    Raises:
        RuntimeError: it ended without a report.
        ValueError: see `findings`.
    """
    ran = subprocess.run(
        [CHECKOV, "--framework", framework, "--file", file.name, "--output", "json", "--skip-download"],
        # Of the environment only the path: a key of its makers' platform would make it ask there.
        cwd=file.parent, env={"PATH": os.environ["PATH"], "HOME": str(file.parent)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ran.returncode not in (0, 1) or not ran.stdout:
        raise RuntimeError(f"{target}: checkov ended with {ran.returncode}: {ran.stderr[-2000:]}")
    return findings(target, ran.stdout)


def report(overlays: Iterable[Path], dockerfile: Path, rules: Sequence[Excepted]) -> Report:
    """Render, check, compare."""
    with tempfile.TemporaryDirectory(prefix="eurouter-policy-") as name, ThreadPoolExecutor(2) as pool:
        jobs: list[tuple[str, str, Path]] = []
        for overlay in overlays:
            file = Path(name) / f"{overlay.name}.yaml"
            file.write_text(text(overlay), encoding="utf-8")
            jobs.append((overlay.name, "kubernetes", file))
        copy = Path(name) / "Dockerfile"
        copy.write_bytes(dockerfile.read_bytes())
        found = pool.map(lambda job: checked(*job), [*jobs, ("image", "dockerfile", copy)])
        return Report(tuple(one for part in found for one in part), tuple(rules))


def main() -> int:
    """Print the report; exit code 1: something failed, or an exception has outlived its reason."""
    if not CHECKOV.exists():
        sys.stderr.write("==> no checkov: run `make policy`, which installs it into .venv-policy\n")
        return 1
    rules = exceptions(CONFIGURATION.read_text(encoding="utf-8"))
    said = report(sorted(path.parent for path in OVERLAYS.glob("*/kustomization.yaml")), DOCKERFILE, rules)
    sys.stdout.write(said.table() + "\n")
    return 1 if said.failures() or said.unneeded() else 0


if __name__ == "__main__":
    sys.exit(main())
