"""What the replay of recorded exchanges compares with: it must see what it is there to see."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.normal_form import answer_form, differences, fold_chunks, request_form

REQUEST: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "hi", "name": None}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": 1, "b": None}}}],
}
ANSWER: dict[str, Any] = {
    "id": "1",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
}


def chunk(index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"id": "1", "choices": [{"index": index, "delta": delta}], "obfuscation": "x"}


def calls(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    return chunk(tool_calls=[{"index": index, "function": {"arguments": arguments}, **more}])


def test_a_request_in_other_words_is_the_same_request() -> None:
    other = {
        **REQUEST,
        "stream": False,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}], "annotations": []}],
    }
    assert request_form(other) == request_form(REQUEST)


@pytest.mark.parametrize(
    "parameters", [{"b": None, "a": 1}, {"a": 1}, {"a": 1.0, "b": None}], ids=["order", "null", "fraction"]
)
def test_a_schema_that_came_out_otherwise_is_another_request(parameters: dict[str, Any]) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    assert list(differences(request_form(REQUEST), request_form({**REQUEST, "tools": [tool]})))


def test_a_folded_stream_joins_texts_and_calls_by_their_index() -> None:
    folded = fold_chunks(
        [
            chunk(role="assistant", content="a"),
            chunk(1, content="x"),
            chunk(content="b"),
            calls(0, '{"p":', id="c0"),
            calls(1, "{}", id="c1"),
            calls(0, "1}"),
            {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
            {"id": "", "choices": [], "usage": {"total_tokens": 3}},
        ]
    )
    first = {
        "delta": {
            "role": "assistant",
            "content": "ab",
            "tool_calls": {
                0: {"index": 0, "id": "c0", "function": {"arguments": '{"p":1}'}},
                1: {"index": 1, "id": "c1", "function": {"arguments": "{}"}},
            },
        },
        "index": 0,
        "finish_reason": "tool_calls",
    }
    second = {"delta": {"content": "x"}, "index": 1}
    assert folded == {"id": "1", "choices": {0: first, 1: second}, "usage": {"total_tokens": 3}}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"content": "no"}, "a.choices[0].message.content: 'yes' became 'no'"),
        ({"refusal": ""}, "a.choices[0].message.refusal: '' was added"),
        ({"content": None}, "a.choices[0].message.content: 'yes' got lost"),
    ],
)
def test_every_difference_is_named_with_its_place(change: dict[str, Any], found: str) -> None:
    (choice,) = ANSWER["choices"]
    other = {**ANSWER, "choices": [{**choice, "message": {**choice["message"], **change}}]}
    assert list(differences(answer_form(ANSWER), answer_form(other), "a")) == [found]


def test_true_is_not_one_and_a_list_that_lost_an_item_is_another() -> None:
    assert not list(differences({"n": 1}, {"n": 1.0}))
    assert list(differences({"n": 1}, {"n": True})) == [".n: 1 became True"]
    assert list(differences([1, 2], [1])) == [": [1, 2] became [1]"]
