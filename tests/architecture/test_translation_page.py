"""docs/translation.md: a row for each rule, and for each row tests that are there.

That a named test exists is checked for every page by `test_documents.py`.
"""

from __future__ import annotations

import re
from typing import Final

from tests.support.parts import ROOT, SHARED

PAGE: Final = ROOT / "docs" / "translation.md"
RULES: Final = SHARED / "reference" / "translation.md"
_ROW: Final = re.compile(r"^\| (\d+) \| (.+) \| (.+) \|$", re.MULTILINE)
_TEST: Final = re.compile(r"`tests/[\w/]+\.py::test_\w+`")


def rows() -> list[tuple[int, str, list[str]]]:
    """Number, rule and tests of each row."""
    return [
        (int(number), rule, _TEST.findall(tests))
        for number, rule, tests in _ROW.findall(PAGE.read_text(encoding="utf-8"))
    ]


def test_every_rule_has_its_row_once_and_in_order() -> None:
    assert [number for number, _, _ in rows()] == list(range(1, 34))


def test_every_row_says_its_rule_and_names_a_test_that_holds_it() -> None:
    for number, rule, tests in rows():
        assert rule.endswith("."), number
        assert tests, number
        assert len(tests) == len(set(tests)), number


def test_no_rule_of_the_reference_is_without_a_row() -> None:
    if RULES.exists():
        numbers = re.findall(r"^(\d+)\. ", RULES.read_text(encoding="utf-8"), re.MULTILINE)
        assert [int(number) for number in numbers] == [number for number, _, _ in rows()]
