"""One string property read out of JSON that comes in pieces, and the end of a value found."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.json_stream import StringProperty, ValueEnd

NAMES = st.sampled_from(["input", "inputs", "in", "", 'a"b', "ünï", "x\\y"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def pieces(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def read(*fragments: str) -> str:
    reader = StringProperty("input")
    return "".join([reader.feed(fragment) for fragment in fragments]) + reader.end()


def read_by_one(text: str) -> str:
    return read(*text)


@given(
    before=st.dictionaries(NAMES.filter(lambda name: name != "input"), VALUES, max_size=3),
    text=st.text(),
    after=st.dictionaries(st.sampled_from(["b", "c"]), VALUES, max_size=2),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
    cuts=st.lists(st.integers(0, 999), max_size=9),
)
def test_any_split_gives_the_text_that_the_whole_object_holds(
    before: dict[str, object],
    text: str,
    after: dict[str, object],
    ascii_only: bool,
    indent: int | None,
    cuts: list[int],
) -> None:
    whole = json.dumps({**before, "input": text, **after}, ensure_ascii=ascii_only, indent=indent)
    assert read(*pieces(whole, cuts)) == json.loads(whole)["input"]
    assert read_by_one(whole) == text


@given(text=st.text(alphabet='{}[]":,\\u0input aD8', max_size=40), cuts=st.lists(st.integers(0, 40), max_size=6))
def test_whatever_a_model_writes_the_text_is_the_same_however_it_is_split(text: str, cuts: list[int]) -> None:
    assert read(*pieces(text, cuts)) == read(text) == read_by_one(text)


@pytest.mark.parametrize(
    "raw",
    [
        "ls -la",
        '"ls -la"',
        "[1, 2]",
        '{"command": "ls"}',
        '{"input": {"input": "x"}}',
        '{"input": null}',
        '{"inp',
        '{"a": [1, {"input": "x"',
        "  text with blanks  ",
    ],
)
def test_what_is_not_the_expected_object_is_the_text_itself(raw: str) -> None:
    assert read(raw) == raw
    assert read_by_one(raw) == raw


def test_an_object_without_anything_and_nothing_at_all_are_no_text() -> None:
    assert read("{}") == read(" { } ") == read("") == read() == ""


def test_text_is_given_out_as_soon_as_it_is_there() -> None:
    reader = StringProperty("input")
    fragments = [
        '{"other": {"input": 1}, "in',
        'put": "Hel',
        "lo \\u00",
        "e9 \\ud83d",
        "\\ude00",
        '."',
        ', "z": 1}',
    ]
    assert [reader.feed(fragment) for fragment in fragments] == ["", "Hel", "lo ", "é ", "😀", ".", ""]
    assert reader.end() == ""


def test_text_that_begins_like_no_object_does_not_wait_for_the_end() -> None:
    reader = StringProperty("input")
    assert [reader.feed(fragment) for fragment in (" ", "ls", " -la")] == ["", " ls", " -la"]


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r'{"input":"a\ud83dz"}', "a\ufffdz"),
        (r'{"input":"a\ude00z"}', "a\ufffdz"),
        (r'{"input":"a\ud83d\u0041z"}', "a\ufffdAz"),
        (r'{"input":"a\ud83d\n"}', "a\ufffd\n"),
        (r'{"input":"a\ud83d', "a\ufffd"),
        (r'{"input":"a\u00', r"a\u00"),
        (r'{"input":"a\x b\u12zz"}', r"a\x b\u12zz"),
        ('{"input":"a\\', "a\\"),
        ('{"input":"line\nline"}', "line\nline"),
        (r'{"\u0069nput":"x"}', "x"),
        ('{"input":"a"} and more', "a"),
        ('{"input":"first","input":"second"}', "first"),
    ],
)
def test_bad_escapes_and_halves_of_pairs_lose_nothing_else(written: str, text: str) -> None:
    assert read(written) == text
    assert read_by_one(written) == text


@given(value=VALUES.map(lambda value: [value]), cuts=st.lists(st.integers(0, 999), max_size=6))
def test_the_end_of_a_value_is_found_wherever_it_is_cut(value: object, cuts: list[int]) -> None:
    text = json.dumps(value)
    reader, seen = ValueEnd(), 0
    for piece in pieces(text + ' , "more" ]', cuts):
        after = reader.feed(piece)
        if after >= 0:
            assert seen + after == len(text)
            return
        seen += len(piece)
    pytest.fail("no end was found")
