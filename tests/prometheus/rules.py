"""The alert rules as Prometheus reads them, and what promtool says of them.

`python -m tests.prometheus.rules` is `make alerts-test`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from tests.prometheus import prepare
from tests.support.parts import ROOT

ALERTS: Final = ROOT / "deploy" / "kubernetes" / "components" / "monitoring" / "alerts.yaml"
CASES: Final = Path(__file__).with_name("alert_cases.yaml")

Row = Mapping[str, Any]

_MINUTE: Final = "1m"


def groups() -> list[Row]:
    """The rule's groups, as in a rule file of Prometheus'."""
    found: list[Row] = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["spec"]["groups"]
    return found


def rules() -> list[Row]:
    """Every rule."""
    return [rule for group in groups() for rule in group["rules"]]


def alerts() -> dict[str, Row]:
    """The alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def cases() -> Mapping[str, list[Row]]:
    """What each alert is shown."""
    found: Mapping[str, list[Row]] = yaml.safe_load(CASES.read_text(encoding="utf-8"))
    return found


def write(folder: Path) -> Path:
    """A rule file."""
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": groups()}), encoding="utf-8")
    return path


def check() -> tuple[bool, str]:
    """Whether `promtool check rules` takes them, and its words."""
    with tempfile.TemporaryDirectory() as folder:
        return _promtool("check", "rules", str(write(Path(folder))))


def judge(shown: Mapping[str, Sequence[Row]]) -> tuple[bool, str]:
    """Whether each alert fires as often as its cases say, and promtool's words where one does not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return _promtool("test", "rules", *(str(path) for path in _files(folder, shown)))


def _files(folder: Path, shown: Mapping[str, Sequence[Row]]) -> Iterator[Path]:
    """A file of tests for each group and interval: a case is evaluated beside the rules that matter to it."""
    recorded = [group for group in groups() if "record" in group["rules"][0]]
    for group in groups():
        own = {rule["alert"]: shown.get(rule["alert"], ()) for rule in group["rules"] if "alert" in rule}
        for interval in sorted({case.get("interval", _MINUTE) for found in own.values() for case in found}):
            tests = [
                _test(alert, number, case)
                for alert, found in own.items()
                for number, case in enumerate(found)
                if case.get("interval", _MINUTE) == interval
            ]
            path = folder / f"{group['name']}-{interval}.yaml"
            read = path.with_suffix(".rules.yaml")
            read.write_text(yaml.safe_dump({"groups": [*recorded, group]}), encoding="utf-8")
            asked = {"rule_files": [read.name], "evaluation_interval": interval, "tests": tests}
            path.write_text(yaml.safe_dump(asked), encoding="utf-8")
            yield path


def _test(alert: str, number: int, case: Row) -> Row:
    # promtool's own form of an expected alert wants every label and every sentence again.
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    return {
        "name": f"{alert}, case {number + 1}",
        "interval": case.get("interval", _MINUTE),
        "input_series": [
            {"series": name, "values": _spelt_out(values)} for name, values in case["series"].items()
        ],
        "promql_expr_test": [
            {"expr": firing, "eval_time": case["at"], "exp_samples": [{"labels": "{}", "value": case["fires"]}]}
        ],
    }


def _spelt_out(values: str) -> str:
    # promtool repeats numbers by `x`, but not this one.
    return re.sub(r"NaNx(\d+)", lambda found: " ".join(["NaN"] * (int(found[1]) + 1)), values)


def _promtool(*arguments: str) -> tuple[bool, str]:
    command = (prepare.program("promtool"), *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def _lines() -> Iterator[tuple[bool, str]]:
    yield check()
    yield judge(cases())
    fires = sum(case["fires"] > 0 for found in cases().values() for case in found)
    total = sum(len(found) for found in cases().values())
    yield True, f"{len(alerts())} alerts, {total} cases, in {fires} of which an alert fires"


if __name__ == "__main__":
    if not prepare.available():
        sys.exit(prepare.how())
    good = True
    for one, said in _lines():
        good = good and one
        sys.stdout.write(f"{said.strip()}\n")
    sys.exit(not good)
