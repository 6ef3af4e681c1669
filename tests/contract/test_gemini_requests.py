"""Gemini's wire held against Google's own types: the SDK `google-genai`, which refuses what it does not know."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pydantic
import pytest
from google.genai import Client, models, types
from google.genai._common import convert_to_dict, encode_unserializable_types

from adapters.providers.sse import SseParser
from service.domain.fold import fold
from tests.contract.answers import ANSWERS
from tests.contract.gemini import SAMPLE
from tests.contract.sample import decode, endpoint_for
from tests.golden.requests import CASES

FITTING = [case for case in CASES if CASES[case].fits(SAMPLE.dialect)]
ANSWERED = [case for case in ANSWERS if case not in SAMPLE.lacks]
CALLERS_OWN = {"args", "response", "parametersJsonSchema", "responseJsonSchema"}
"""Keys whose values are the caller's JSON and no message of Google's."""


def body_of(case: str) -> dict[str, Any]:
    wanted = CASES[case]
    body: dict[str, Any] = json.loads(
        SAMPLE.dialect.build(wanted.generation, endpoint_for(SAMPLE.dialect), stream=wanted.stream).body
    )
    return body


def read_by_the_sdk(body: dict[str, Any]) -> types._GenerateContentParameters:
    """The body in the SDK's types. Raises pydantic.ValidationError for a field that they don't have."""
    contents = [types.Content.model_validate_json(json.dumps(content)) for content in body["contents"]]
    assert body.get("generationConfig", {}).keys().isdisjoint(body)
    config = body.get("generationConfig", {}) | {
        name: value for name, value in body.items() if name not in ("contents", "generationConfig")
    }
    parsed = types.GenerateContentConfig.model_validate_json(json.dumps(config))
    return types._GenerateContentParameters(model="m", contents=contents, config=parsed)


def camel(value: Any) -> Any:
    """With keys as the wire spells them: the SDK leaves some in Python's spelling, which Google takes as well."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    spelt = {re.sub(r"_([a-z])", lambda found: found[1].upper(), key): item for key, item in value.items()}
    return {key: item if key in CALLERS_OWN else camel(item) for key, item in spelt.items()}


@pytest.mark.parametrize("case", FITTING)
def test_a_request_has_no_field_that_google_does_not_know(case: str) -> None:
    read_by_the_sdk(body_of(case))


@pytest.mark.parametrize("case", FITTING)
@pytest.mark.parametrize("vertex", [False, True], ids=["gemini_api", "vertex"])
def test_googles_own_client_writes_the_same_request(case: str, vertex: bool) -> None:
    body = body_of(case)
    write = models._GenerateContentParameters_to_vertex if vertex else models._GenerateContentParameters_to_mldev
    client = Client(api_key="none", vertexai=vertex)
    written = write(client._api_client, read_by_the_sdk(body))
    written.pop("_url")
    if not written.get("generationConfig"):
        written.pop("generationConfig", None)
    assert camel(encode_unserializable_types(convert_to_dict(written))) == body


def test_the_check_sees_a_field_too_many_wherever_it_stands() -> None:
    spoilt: list[Callable[[dict[str, Any]], None]] = [
        lambda body: body.update(user="u"),
        lambda body: body["generationConfig"].update(maxTokens=1),
        lambda body: body["generationConfig"]["thinkingConfig"].update(effort="low"),
        lambda body: body["tools"][0]["functionDeclarations"][0].update(strict=True),
        lambda body: body["contents"][1]["parts"][1]["functionCall"].update(arguments="{}"),
    ]
    for spoil in spoilt:
        body = body_of("reasoning_in_a_tool_loop")
        spoil(body)
        with pytest.raises(pydantic.ValidationError, match="Extra inputs are not permitted"):
            read_by_the_sdk(body)


def read_answer(case: str) -> list[types.GenerateContentResponse]:
    return [types.GenerateContentResponse.model_validate_json(SAMPLE.answer(case))]


def read_stream(case: str) -> list[types.GenerateContentResponse]:
    parser = SseParser()
    events = parser.feed(SAMPLE.stream(case)) + parser.end()
    return [types.GenerateContentResponse.model_validate_json(event.data) for event in events]


@pytest.mark.parametrize("case", ANSWERED)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_an_answer_says_to_us_what_it_says_to_googles_own_client(case: str, streamed: bool) -> None:
    chunks = read_stream(case) if streamed else read_answer(case)
    ours = fold(
        decode(SAMPLE.dialect, [SAMPLE.stream(case)]) if streamed else SAMPLE.dialect.read(SAMPLE.answer(case))
    )
    (choice,) = ours.choices
    parts = [part for chunk in chunks for part in chunk.parts or ()]
    assert (choice.text or "") == "".join(chunk.text or "" for chunk in chunks)
    thoughts = "".join(part.text or "" for part in parts if part.thought)
    assert "".join(piece.text for piece in choice.reasoning) == thoughts
    calls = [call for chunk in chunks for call in chunk.function_calls or ()]
    assert [(call.name, json.loads(call.arguments)) for call in choice.calls] == [
        (call.name, call.args or {}) for call in calls
    ]
    assert all(call.id in (None, mine.id) for call, mine in zip(calls, choice.calls, strict=True))
    signed = [part.thought_signature for part in parts if part.thought_signature]
    seals = [piece.seal.encrypted for piece in choice.reasoning if piece.seal and piece.seal.encrypted]
    assert seals == [
        types.Part(thought_signature=seal).model_dump(mode="json")["thought_signature"] for seal in signed
    ]
    assert choice.finish is not None
    assert chunks[-1].candidates
    assert chunks[-1].candidates[0].finish_reason == choice.finish.raw
    counted, usage = chunks[-1].usage_metadata, ours.usage
    assert counted is not None
    assert usage is not None
    assert (counted.prompt_token_count, counted.total_token_count) == (usage.input_tokens, usage.total_tokens)
    assert counted.thoughts_token_count == usage.reasoning_tokens
    assert counted.cached_content_token_count == usage.cached_tokens
    assert (chunks[0].response_id, chunks[0].model_version) == (ours.start.id, ours.start.model)


def test_every_finish_reason_of_googles_types_is_known() -> None:
    from adapters.providers.gemini.candidate import FINISH

    assert {reason.value for reason in types.FinishReason} - {"FINISH_REASON_UNSPECIFIED"} == set(FINISH)


def test_every_level_of_thinking_of_googles_types_has_its_effort() -> None:
    from adapters.providers.gemini.thinking import LEVELS

    known = {level.value for level in types.ThinkingLevel} - {"THINKING_LEVEL_UNSPECIFIED"}
    assert known == {effort.level for effort in LEVELS.values()}
