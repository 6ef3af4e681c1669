"""The comparison with another translator, without that translator: what it finds; nothing passes unseen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.asked import MODELS, all_asked, compared, left_out
from tests.differential.compare import Difference, differences, normal
from tests.differential.page import page
from tests.differential.reasons import Reason, explain, reasons
from tests.golden.requests import CASES
from tests.support.parts import ROOT

ASKED = list(all_asked())
ONE = ASKED[0]


def test_every_golden_case_that_a_chat_request_can_carry_is_compared() -> None:
    for name in MODELS:
        cases = [each.case for each in ASKED if each.dialect == name]
        assert len(cases) == len(set(cases)) >= 20
        assert set(cases) <= set(CASES)
    assert all("model" not in each.chat and each.chat["messages"] for each in ASKED)
    assert len({each.key for each in ASKED}) == len(ASKED)


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, [Difference("a", "differs", 1, True)]),
        ({"a": {"b": 1}}, {"a": {}}, [Difference("a.b", "ours only", 1)]),
        ({}, {"a": None}, [Difference("a", "theirs only", None, None)]),
        ([{"type": "x", "n": 1}], [{"type": "x", "n": 2}], [Difference("[x].n", "differs", 1, 2)]),
        (
            [{"role": "user"}, {"role": "tool", "n": 1}, {"text": "b"}],
            [{"role": "user"}, {"text": "b"}],
            [Difference("[tool]", "ours only", {"role": "tool", "n": 1})],
        ),
        (["a", "b"], ["b", "a"], [Difference("[]", "theirs only", None, "b"), Difference("[]", "ours only", "b")]),
    ],
)
def test_each_place_that_differs_is_named(ours: Any, theirs: Any, found: list[Difference]) -> None:
    assert list(differences(ours, theirs)) == found


def test_only_what_a_provider_reads_alike_is_taken_as_equal() -> None:
    block = {"content": [{"type": "text", "text": "a"}]}
    assert normal(block, "anthropic") == {"content": "a"}
    assert normal(block, "bedrock") == block
    marked = {"content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}
    assert normal(marked, "anthropic") == marked
    assert normal({"top_k": 1, "args": {"my_name": 1}}, "gemini") == {"topK": 1, "args": {"my_name": 1}}
    assert normal({"top_k": 1}, "anthropic") == {"top_k": 1}


def told(body: dict[str, Any] | None, refused: str | None = None) -> Any:
    return compared(ONE, {"body": body, "refused": refused})


def test_the_same_body_has_no_difference() -> None:
    assert told(ONE.ours).found == ()


def test_a_difference_that_no_reason_covers_is_left_over_and_so_is_a_reason_without_one() -> None:
    reason = Reason((ONE.dialect,), ("extra*",), "theirs only", (), "choice", "Why not.")
    changed, refused = told({**ONE.ours, "extra_field": 1, "other": 2}), told(None, "No.")
    explained = explain([changed, refused], [reason])
    assert explained.by_reason == ((reason, ((changed, Difference("extra_field", "theirs only", None, 1)),)),)
    assert [(found.path, found.how) for _, found in explained.unexplained] == [
        ("other", "theirs only"),
        ("", "theirs refuses"),
    ]
    assert explain([told(ONE.ours)], [reason]).idle == (reason,)


def test_every_reason_is_of_a_dialect_and_of_cases_that_are_compared_and_the_page_tells_it() -> None:
    known = reasons()
    written = (ROOT / "docs" / "differential.md").read_text(encoding="utf-8")
    asked = {(each.dialect, each.case) for each in ASKED}
    for reason in known:
        assert set(reason.dialects) <= set(MODELS)
        for case in reason.cases:
            assert any((name, case) in asked for name in reason.dialects), case
        assert reason.why.replace("|", r"\|") in written
    assert len(known) == len({(reason.dialects, reason.places, reason.how, reason.cases) for reason in known})


def test_the_page_counts_what_was_compared() -> None:
    changed = told({**ONE.ours, "extra": 1})
    text = page("1.0", [told(ONE.ours), changed, told(None, "No.")], left_out(), explain([changed], reasons()))
    row = next(line for line in text.splitlines() if line.startswith(f"| {ONE.dialect} |"))
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [
        "3",
        str(left_out()[ONE.dialect]),
        "1",
        "1",
        "1",
        "2",
    ]
