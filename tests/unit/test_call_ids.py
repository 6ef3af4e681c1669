"""Histories in which ids of calls repeat, for Anthropic and Bedrock, which take each id once."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.call_ids import with_own_ids
from adapters.providers.registry import DIALECTS
from service.domain.generation import Generation, Role, Text, ToolCall, ToolResult, Turn
from tests.support.catalogs import endpoint, provider

QUESTION = Turn(Role.USER, (Text("q"),))


def called(*ids: str) -> Turn:
    return Turn(Role.ASSISTANT, tuple(ToolCall(each, "f", "{}") for each in ids))


def gave(call_id: str, text: str = "r") -> Turn:
    return Turn(Role.TOOL, (ToolResult(call_id, (Text(text),)),))


def bound(turns: Sequence[Turn]) -> tuple[list[str], list[str]]:
    """The ids of calls and those of results, in order."""
    parts = [part for turn in turns for part in turn.parts]
    calls = [part.id for part in parts if isinstance(part, ToolCall)]
    return calls, [part.call_id for part in parts if isinstance(part, ToolResult)]


def test_repeated_ids_are_told_apart_and_results_stay_with_their_calls() -> None:
    turns = (QUESTION, called("0", "1"), gave("1"), gave("0"), called("0"), gave("0"), called("0", "0"))
    calls, results = bound(with_own_ids((*turns, gave("0"), gave("0"))))
    assert calls == ["0", "1", "0-2", "0-3", "0-4"]
    assert results == ["1", "0", "0-2", "0-3", "0-4"]


def test_a_result_belongs_to_the_last_call_of_its_id_even_if_one_before_never_had_any() -> None:
    assert bound(with_own_ids((QUESTION, called("0"), called("0"), gave("0")))) == (["0", "0-2"], ["0-2"])


def test_ids_that_do_not_repeat_stay_as_they_are() -> None:
    turns = (QUESTION, called("a", "b"), gave("a"), gave("b"))
    assert with_own_ids(turns) is turns


def test_as_many_of_one_id_as_a_request_may_hold_do_not_keep_the_loop() -> None:
    # Looked for from the first number on each time, this takes longer than a test may.
    calls, _ = bound(with_own_ids([called(*["0"] * 50_000)]))
    assert len(set(calls)) == 50_000


@given(st.lists(st.lists(st.sampled_from(["0", "0-2", "0-2-2", "1"]), min_size=1, max_size=3), max_size=6))
def test_every_call_has_its_own_id_and_a_longer_conversation_begins_like_the_shorter_one(
    answers: list[list[str]],
) -> None:
    turns = [QUESTION]
    for ids in answers:
        turns += [called(*ids), *(gave(each) for each in ids)]
    calls, results = bound(with_own_ids(turns))
    assert len(set(calls)) == len(calls)
    assert sorted(results) == sorted(calls)
    for length in range(len(turns)):
        assert list(with_own_ids(turns[:length])) == list(with_own_ids(turns))[:length]


@pytest.mark.parametrize(
    ("dialect", "call", "result"),
    [("anthropic", '"id": "{}"', '"tool_use_id": "{}"'), ("bedrock", '"toolUseId": "{}"', '"toolUseId": "{}"')],
)
def test_no_id_of_a_call_goes_out_twice(dialect: str, call: str, result: str) -> None:
    turns = (QUESTION, called("0"), gave("0", "first"), called("0"), gave("0", "second"))
    row = DIALECTS[dialect]
    at = endpoint(provider("alpha", dialect=dialect), expressible=row.expressible)
    sent = json.dumps(json.loads(row.build(Generation(turns), at, stream=False).body)["messages"])
    for name in ("0", "0-2"):
        times = 2 if call == result else 1
        assert sent.count(call.format(name)) == sent.count(result.format(name)) == times
