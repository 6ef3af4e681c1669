"""What `make conformance` makes of the probe's report: counts, reasons, and what counts as a failure."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.__main__ import DIALECTS
from tests.conformance.probe import SURFACES, Probed, read_report
from tests.conformance.report import page, why


def report(**outcomes: str) -> dict[str, Any]:
    """A report with the right number of checks; `outcomes` by a check's name, with _ for -."""
    results = []
    for surface, number in SURFACES.items():
        named = [name.replace("_", "-") for name in outcomes if name.startswith(surface)]
        names = [*named, *(f"{surface}-{at}" for at in range(number - len(named)))]
        for name in names:
            outcome = outcomes.get(name.replace("-", "_"), "pass")
            failure = {"id": "x", "label": "text | agrees", "severity": "MUST", "message": "it\ndoes not"}
            failures = [failure, {**failure, "severity": "SHOULD"}] if outcome == "fail" else []
            results.append(
                {"id": name, "name": name, "surface": surface, "outcome": outcome, "failures": failures}
            )
    results.append({"id": "models-list", "name": "", "surface": "models", "outcome": "pass", "failures": []})
    return {"conformance": {"results": results}}


def probed(**outcomes: str) -> Probed:
    return read_report("target", report(**outcomes))


def test_a_run_in_which_all_passes_has_no_problems() -> None:
    assert probed().problems(()) == []
    assert {surface: probed().counts(surface).total() for surface in SURFACES} == SURFACES


@pytest.mark.parametrize("outcome", ["fail", "unsupported", "inconclusive", "unreachable", "skipped"])
def test_whatever_did_not_pass_is_a_problem_unless_it_is_known(outcome: str) -> None:
    found = probed(chat_vision=outcome)
    assert len(found.problems(())) == 1
    assert found.problems({"chat-vision"}) == []


def test_a_check_that_was_not_made_is_a_problem() -> None:
    short = report()
    short["conformance"]["results"].pop(0)
    assert read_report("target", short).problems(()) == ["target: 40 checks of chat instead of 41"]


def test_the_page_counts_and_names_what_did_not_pass() -> None:
    text = page([probed(chat_vision="unsupported", responses_streaming="fail")], "2026-01-02")
    assert "Last run: 2026-01-02." in text
    assert "| target | chat | 41 | 40 | 1 | 0 | 0 |" in text
    assert "| target | responses | 37 | 36 | 0 | 0 | 1 |" in text
    assert "| target | `responses-streaming` | fail | text \\| agrees: it does not |  |" in text


def test_every_check_that_may_not_pass_has_its_reason() -> None:
    assert [check for known in DIALECTS.values() for check in known if not why(check)] == []
