"""The policy report tells a failure from an exception, and every exception has a reason and is still needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.objects import OVERLAYS, rendered, workloads
from tests.deploy.policy import CHECKOV, CONFIGURATION, DOCKERFILE, Report, checked, exceptions, findings, report
from tests.support.parts import ROOT, require

LIMITS = "CKV_K8S_11"
REASON = "A limit would stop every stream for a while."


def said_by_checkov(passed: list[str], failed: list[str]) -> str:
    """Its JSON, for checks of one Deployment."""
    rows = {
        key: [{"check_id": one, "check_name": f"name of {one}", "resource": "Deployment.a.b"} for one in checks]
        for key, checks in (("passed_checks", passed), ("failed_checks", failed))
    }
    return json.dumps({"check_type": "kubernetes", "results": rows})


def reported(passed: list[str], failed: list[str], rules: str = "") -> Report:
    """A report on one target, `prod`."""
    return Report(tuple(findings("prod", said_by_checkov(passed, failed))), exceptions(rules))


def rule(of: str, check: str = LIMITS) -> str:
    return yaml.safe_dump({"exceptions": [{"check": check, "of": [of], "reason": REASON}]})


def test_a_failed_check_without_an_exception_is_a_failure() -> None:
    found = reported(["CKV_K8S_1"], [LIMITS])
    assert [one.check for one in found.failures()] == [LIMITS]
    assert "FAILED CKV_K8S_11 name of CKV_K8S_11: prod/Deployment.a.b" in found.table()
    assert found.table().splitlines()[1].split() == ["prod", "1", "1", "0"]


def test_an_exception_explains_a_failure_and_its_reason_is_shown() -> None:
    found = reported(["CKV_K8S_1"], [LIMITS], rule("prod/Deployment.a.*"))
    assert not found.failures()
    assert not found.unneeded()
    assert f"because: {REASON}" in found.table()
    assert found.table().splitlines()[1].split() == ["prod", "1", "0", "1"]


@pytest.mark.parametrize("of", ["dev/Deployment.a.b", "prod/Deployment.a.c", "prod/Job.*"])
def test_an_exception_for_others_explains_nothing_and_is_not_needed(of: str) -> None:
    found = reported([], [LIMITS], rule(of))
    assert [one.check for one in found.failures()] == [LIMITS]
    assert found.unneeded() == [f"{LIMITS} {of}"]
    assert f"NOT NEEDED ANY MORE in policy.yaml: {LIMITS} {of}" in found.table()


def test_an_exception_from_a_check_that_passes_is_not_needed() -> None:
    assert reported([LIMITS], [], rule("*")).unneeded() == [f"{LIMITS} *"]


@pytest.mark.parametrize(
    "row",
    [
        {"check": LIMITS, "of": ["*"]},
        {"check": LIMITS, "of": ["*"], "reason": "because"},
        {"check": LIMITS, "of": [], "reason": REASON},
        {"of": ["*"], "reason": REASON},
    ],
)
def test_an_exception_without_a_reason_or_a_place_is_refused(row: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"exceptions\[0\]: it needs check, of"):
        exceptions(yaml.safe_dump({"exceptions": [row]}))


def test_a_check_has_one_row() -> None:
    row = {"check": LIMITS, "of": ["*"], "reason": REASON}
    with pytest.raises(ValueError, match="stands there twice"):
        exceptions(yaml.safe_dump({"exceptions": [row, row]}))


@pytest.mark.parametrize(
    "output", ['{"passed": 0, "failed": 0}', '{"results": {"parsing_errors": ["prod.yaml"], "passed_checks": []}}']
)
def test_a_run_that_checked_nothing_is_no_success(output: str) -> None:
    with pytest.raises(ValueError, match="checkov read nothing of"):
        findings("prod", output)


def test_every_exception_of_ours_has_a_reason_and_names_what_it_is_for() -> None:
    rules = exceptions(CONFIGURATION.read_text(encoding="utf-8"))
    assert rules
    for one in rules:
        assert len(one.reason) > 80, one.check
        assert not [pattern for pattern in one.patterns if pattern in ("*", "*/*")], one.check


@pytest.fixture
def checkov() -> None:
    require("checkov", CHECKOV.exists(), "run `make policy`, which installs it into .venv-policy")


@pytest.mark.slow
@pytest.mark.usefixtures("checkov")
def test_no_check_fails_but_for_a_reason_that_still_holds() -> None:
    # As `make policy` runs it: in a namespace without a network.
    command = [sys.executable, "tests/support/namespace.py", sys.executable, "-m", "tests.deploy.policy"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    targets = {line.split()[0]: int(line.split()[1]) for line in ran.stdout.splitlines()[1:4]}
    assert targets.keys() == {"dev", "prod", "image"}
    assert all(passed > 20 for passed in targets.values())


@pytest.mark.slow
@pytest.mark.usefixtures("checkov")
def test_checkov_finds_a_privileged_pod_and_a_root_image(tmp_path: Path) -> None:
    objects = rendered(OVERLAYS / "prod")
    for one in workloads(objects):
        one.containers()[0]["securityContext"] = {"privileged": True}
    broken = tmp_path / "prod.yaml"
    broken.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    failed = {one.check for one in checked("prod", "kubernetes", broken) if not one.passed}
    assert {"CKV_K8S_16", "CKV_K8S_20", "CKV_K8S_22"} <= failed
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(DOCKERFILE.read_text(encoding="utf-8") + "\nUSER root\n", encoding="utf-8")
    assert "CKV_DOCKER_8" in {one.check for one in report((), dockerfile, ()).failures()}
