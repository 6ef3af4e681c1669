"""Azure's paths and versions, and what its content filters put into answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers import openai_chat
from adapters.providers.azure import DIALECT
from service.coalesce import merge
from service.domain.catalog import Endpoint, Quirks
from service.domain.errors import ServiceError
from service.domain.events import Event, Extra, FinishReason, Start, TextDelta
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fields import Field
from service.domain.fold import fold
from service.domain.generation import Generation
from tests.contract.sample import decode, endpoint_for
from tests.golden.requests import HELLO

LIMITED = Generation((HELLO,), max_output_tokens=5)


def at(version: str | None, **quirks: Any) -> Endpoint:
    quirks |= {"api_version": version}
    return endpoint_for(DIALECT, DIALECT.expressible_with(Quirks(**quirks)), **quirks)


def sent(endpoint: Endpoint, generation: Generation = LIMITED, *, stream: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DIALECT.build(generation, endpoint, stream=stream).body)
    return found


def test_a_version_puts_the_deployment_into_the_path_and_none_is_the_v1_path() -> None:
    dated = DIALECT.build(LIMITED, at("2025-01-01-preview"), stream=False)
    assert dated.path == "/openai/deployments/upstream-model/chat/completions?api-version=2025-01-01-preview"
    v1 = DIALECT.build(LIMITED, at(None), stream=False)
    assert v1.path == "/chat/completions"
    assert json.loads(v1.body)["model"] == "upstream-model"


def test_a_deployments_name_can_not_leave_its_place_in_the_path() -> None:
    odd = replace(at("2024-10-21"), upstream_model="a/../b?c#d é")
    path = DIALECT.build(LIMITED, odd, stream=False).path
    assert path == "/openai/deployments/a%2F..%2Fb%3Fc%23d%20%C3%A9/chat/completions?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("version", "limit", "usage"),
    [
        ("2024-02-01", "max_tokens", False),
        ("2024-08-01-preview", "max_tokens", False),
        ("2024-09-01-preview", "max_completion_tokens", True),
        ("2024-10-21", "max_tokens", True),
        ("2025-01-01-preview", "max_completion_tokens", True),
        (None, "max_completion_tokens", True),
    ],
)
def test_an_older_version_gets_the_names_that_it_knows(version: str | None, limit: str, usage: bool) -> None:
    body = sent(at(version), stream=True)
    assert body[limit] == 5
    assert len(body.keys() & {"max_tokens", "max_completion_tokens"}) == 1
    assert ("stream_options" in body) is usage


def test_the_row_has_the_last_word_on_the_limits_name_and_on_usage() -> None:
    body = sent(at("2025-01-01-preview", max_tokens_field="max_tokens", stream_usage=False), stream=True)
    assert "max_tokens" in body
    assert "stream_options" not in body


@pytest.mark.parametrize(
    ("field", "since", "before"),
    [
        (Field.JSON_SCHEMA, "2024-08-01-preview", "2024-07-01-preview"),
        (Field.PARALLEL_TOOL_CALLS, "2024-10-21", "2024-08-01-preview"),
        (Field.REASONING_EFFORT, "2024-12-01-preview", "2024-10-21"),
        (Field.STORE, "2024-12-01-preview", "2024-10-21"),
        (Field.METADATA, "2024-12-01-preview", "2024-10-21"),
        (Field.PREDICTION, "2025-01-01-preview", "2024-12-01-preview"),
        (Field.AUDIO_OUTPUT, "2025-01-01-preview", "2024-12-01-preview"),
    ],
)
def test_a_field_is_expressible_from_the_version_that_brought_it(field: Field, since: str, before: str) -> None:
    assert field in DIALECT.expressible_with(Quirks(api_version=since))
    assert field not in DIALECT.expressible_with(Quirks(api_version=before))
    assert field in DIALECT.expressible_with(Quirks())


def test_no_dated_version_has_more_than_v1_and_v1_no_more_than_openai() -> None:
    for version in ("2024-02-01", "2024-10-21", "2025-04-01-preview"):
        assert DIALECT.expressible_with(Quirks(api_version=version)) < DIALECT.expressible
    assert DIALECT.expressible < openai_chat.DIALECT.expressible


def test_a_row_without_reasoning_can_not_express_an_effort() -> None:
    assert Field.REASONING_EFFORT not in DIALECT.expressible_with(Quirks(reasoning_style="none"))


def test_too_many_stop_sequences_are_refused_before_the_call() -> None:
    with pytest.raises(ServiceError) as error:
        sent(at("2024-10-21"), Generation((HELLO,), stop=("a", "b", "c", "d", "e")))
    assert error.value.violations[0].path == "stop"


SAFE = {"hate": {"filtered": False, "severity": "safe"}}
OFFSETS = {"check_offset": 44, "start_offset": 44, "end_offset": 198}


def chunk(choices: list[dict[str, Any]], *, named: bool = True, **more: Any) -> bytes:
    """A chunk; those about the filters alone have empty names (learn.microsoft.com, content streaming)."""
    names = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "gpt"} if named else NAMELESS
    return b"data: " + orjson.dumps(names | {"choices": choices, "usage": None} | more) + b"\n\n"


NAMELESS = {"id": "", "object": "", "created": 0, "model": ""}
PROMPT = chunk([], named=False, prompt_filter_results=[{"prompt_index": 0, "content_filter_results": SAFE}])


def said(text: str, **more: Any) -> bytes:
    return chunk([{"index": 0, "finish_reason": None, "delta": {"content": text}} | more])


def annotation(results: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "finish_reason": finish, "content_filter_results": results}
    return chunk([choice | {"content_filter_offsets": OFFSETS}], named=False)


def streamed(*chunks: bytes) -> list[Event]:
    return decode(DIALECT, [b"".join(chunks) + b"data: [DONE]\n\n"])


def test_annotations_of_the_asynchronous_filter_are_told_and_say_nothing() -> None:
    events = streamed(
        PROMPT,
        annotation(SAFE),
        said("Col"),
        said("or"),
        annotation(SAFE),
        chunk([{"index": 0, "finish_reason": "stop", "delta": {}}]),
        annotation(SAFE),
    )
    starts = [event for event in events if isinstance(event, Start)]
    assert [(start.id, start.model, start.created) for start in starts] == [("c1", "gpt", 7)]
    folded = fold(events)
    (choice,) = folded.choices
    assert choice.text == "Color"
    assert choice.finish is not None
    assert choice.finish.reason is FinishReason.STOP
    assert orjson.loads((choice.extra or {})["content_filter_offsets"]) == OFFSETS
    assert "prompt_filter_results" in (folded.extra or {})


def test_an_answer_that_the_asynchronous_filter_stops_ends_as_filtered() -> None:
    struck = {"protected_material_text": {"detected": True, "filtered": True}}
    folded = fold(streamed(PROMPT, said("Hey"), said(" Jude"), annotation(struck, "content_filter")))
    (choice,) = folded.choices
    assert choice.text == "Hey Jude"
    assert choice.finish is not None
    assert choice.finish.reason is FinishReason.CONTENT_FILTER
    assert orjson.loads((choice.extra or {})["content_filter_results"]) == struck


def test_filter_results_that_come_with_every_token_keep_tokens_on_the_fast_path() -> None:
    texts = ["a", "b", "c", "d", "e", "f", "g", "h"]
    tokens = [said(text, content_filter_results=SAFE) for text in texts]
    other = said("!", content_filter_results={"hate": {"filtered": False, "severity": "low"}})
    end = chunk([{"index": 0, "finish_reason": "stop", "delta": {}}])
    events = streamed(PROMPT, *tokens, other, *tokens, end)
    deltas = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(deltas) == "abcdefgh!abcdefgh"
    # Alike chunks of one read are joined: that is what being known by their bytes looks like from outside.
    assert len(deltas) <= 7
    told = [event for event in events if isinstance(event, Extra) and event.scope == "choice"]
    assert [orjson.loads(event.fields[0][1])["hate"]["severity"] for event in told] == ["safe", "low", "safe"]


SEVERITIES: tuple[dict[str, Any] | None, ...] = (
    None,
    {},
    {"hate": {"severity": "safe"}},
    {"hate": {"severity": "low"}},
)
TOKENS = st.tuples(
    st.sampled_from(["a", "b\\", '"', "\u2028"]),
    st.sampled_from(SEVERITIES),
    st.sampled_from([None, "x", "xyz"]),
    st.sampled_from([None, "one", "two"]),
)


@given(st.lists(TOKENS, min_size=1, max_size=12), st.integers(1, 12))
def test_whatever_stands_beside_the_tokens_is_told_alike_however_the_stream_is_cut(
    tokens: list[tuple[str, Any, str | None, str | None]], size: int
) -> None:
    chunks = []
    for text, results, padding, tier in tokens:
        beside = {} if results is None else {"content_filter_results": results}
        around: dict[str, Any] = {"obfuscation": padding, "region": tier, "latency": 1}
        choice = beside | {"index": 0, "finish_reason": None, "delta": {"content": text}}
        chunks.append(chunk([choice], **{name: value for name, value in around.items() if value is not None}))
    pieces = [PROMPT, *chunks, chunk([{"index": 0, "finish_reason": "stop", "delta": {}}]), b"data: [DONE]\n\n"]
    alone = decode(DIALECT, pieces)
    together = decode(DIALECT, [b"".join(pieces[at : at + size]) for at in range(0, len(pieces), size)])
    assert merge(together) == merge(alone)
    folded = fold(alone)
    assert folded.choices[0].text == "".join(text for text, *_ in tokens)
    last = [results for _, results, _, _ in tokens if results is not None]
    told = (folded.choices[0].extra or {}).get("content_filter_results")
    assert (None if told is None else orjson.loads(told)) == (last[-1] if last else None)


def test_a_stream_of_nothing_but_filter_chunks_is_no_answer() -> None:
    with pytest.raises(UpstreamError) as error:
        streamed(PROMPT)
    assert error.value.failure.kind is FailureKind.PROTOCOL
