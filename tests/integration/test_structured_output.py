"""Emulated structured output through the doors and real sockets: chat and Responses, whole, streamed, in the
background, over HTTP and gRPC."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from eurouter.v1 import chat_pb2, responses_pb2, routing_pb2
from grpc import aio

from adapters.providers.simulator import Script, ToolCall
from service.api.chat.background import ChatJobs
from service.api.responses.submission import Submission
from service.domain.calls import CallContext, Principal
from service.domain.errors import ServiceError
from service.domain.job_store import Accepted
from service.engine import new_id
from service.wire import parse
from tests.support.background import ended, follow
from tests.support.http_door import Door, body, http_door
from tests.support.responses_door import ResponsesDoor, asked, responses_door
from tests.support.running import ask, two_dialects
from tests.support.statuses import info_of

EMULATE: Final = {"x-structured-output": "emulate"}
SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "number", "minimum": -90}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
LIST: Final = {"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "integer"}}}
WRITTEN: Final = '{"city": "Østerbro", "degrees": 1.50}'
TOOL: Final = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def formless(alpha: str, beta: str) -> dict[str, Any]:
    """Two dialects, neither of whose providers knows schemas; beta's row lets every caller have them emulated."""
    rows: dict[str, Any] = two_dialects(alpha, beta)
    for provider in rows["providers"]:
        provider["refuses"] = ["response_format.json_schema"]
    rows["providers"][1]["emulates"] = ["response_format.json_schema"]
    return rows


def form(schema: object = SCHEMA) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "weather", "schema": schema, "strict": True}}


def text_form(schema: object = SCHEMA) -> dict[str, Any]:
    return {"format": {"type": "json_schema", "name": "weather", "schema": schema, "strict": True}}


def formed(model: str = "sim/alpha", **fields: object) -> dict[str, Any]:
    """A Responses request for an answer of the form."""
    return {**asked(model), "text": text_form(), **fields}


def says(arguments: str, **more: Any) -> Script:
    return Script(tool_calls=(ToolCall("call_1", "weather", arguments),), **more)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with http_door(tmp_path, catalog=formless) as opened:
        for upstream in (opened.up.alpha, opened.up.beta):
            upstream.script(says(WRITTEN))
        yield opened


@pytest.fixture
async def responses(tmp_path: Path) -> AsyncIterator[ResponsesDoor]:
    async with responses_door(tmp_path, catalog=formless) as opened:
        for upstream in (opened.up.alpha, opened.up.beta):
            upstream.script(says(WRITTEN))
        yield opened


def sent(calls: Any) -> dict[str, Any]:
    found = calls[-1].body
    assert isinstance(found, dict)
    return found


# --- chat over HTTP ---


async def test_a_chat_answer_is_the_models_own_json_and_says_that_its_form_was_emulated(door: Door) -> None:
    answer = await door.post(body(response_format=form()), headers=EMULATE)
    assert answer.status == 200, answer.raw
    (choice,) = answer.json["choices"]
    assert choice["message"]["content"] == WRITTEN
    assert choice["finish_reason"] == "stop"
    assert not choice["message"].get("tool_calls")
    assert answer.headers["x-structured-output"] == "emulated"
    request = sent(door.up.alpha.calls)
    assert "response_format" not in request
    (tool,) = request["tools"]
    assert tool["function"]["parameters"] == SCHEMA
    assert tool["function"]["strict"] is True
    assert request["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert request["parallel_tool_calls"] is False


async def test_a_chat_stream_tells_the_same(door: Door) -> None:
    streamed = await door.stream(body(response_format=form()), headers=EMULATE)
    assert (streamed.text, streamed.error, streamed.done) == (WRITTEN, None, True)
    assert streamed.headers["x-structured-output"] == "emulated"
    deltas = [choice["delta"] for chunk in streamed.chunks for choice in chunk["choices"]]
    assert not any("tool_calls" in delta for delta in deltas)
    assert [c["finish_reason"] for chunk in streamed.chunks for c in chunk["choices"]][-1] == "stop"


@pytest.mark.parametrize("streamed", [False, True])
async def test_over_anthropics_wire_and_by_the_rows_word_alone(door: Door, streamed: bool) -> None:
    request = body("sim/beta", response_format=form())
    if streamed:
        told = await door.stream(request)
        text, headers = told.text, told.headers
    else:
        whole = await door.post(request)
        text, headers = whole.json["choices"][0]["message"]["content"], whole.headers
    assert json.loads(text) == json.loads(WRITTEN)
    assert headers["x-structured-output"] == "emulated"
    written = sent(door.up.beta.calls)
    assert written["tools"][0]["input_schema"] == SCHEMA
    assert written["tool_choice"] == {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}


async def test_a_list_comes_back_as_a_list(door: Door) -> None:
    door.up.alpha.script(says('{"value": [1, 2, 3]}'))
    answer = await door.post(body(response_format=form(LIST)), headers=EMULATE)
    assert answer.json["choices"][0]["message"]["content"] == "[1, 2, 3]"
    items = sent(door.up.alpha.calls)["tools"][0]["function"]["parameters"]["properties"]["value"]["items"]
    assert items == {"$ref": "#/properties/value/$defs/n"}


async def test_without_a_word_the_form_is_refused_and_the_error_says_how_to_get_it(door: Door) -> None:
    answer = await door.post(body(response_format=form()))
    assert answer.status == 400
    assert "response_format.json_schema" in answer.error["message"]
    assert "x-structured-output: emulate" in json.dumps(answer.json)
    assert door.up.alpha.calls == ()


async def test_tools_of_the_callers_own_and_emulation_do_not_go_together(door: Door) -> None:
    answer = await door.post(body(response_format=form(), tools=[TOOL]), headers=EMULATE)
    assert answer.status == 400
    assert "tools of its own" in json.dumps(answer.json)


async def test_another_word_in_the_header_is_refused(door: Door) -> None:
    answer = await door.post(body(), headers={"x-structured-output": "please"})
    assert answer.status == 400
    assert "x-structured-output" in answer.error["message"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_does_not_match_falls_back_before_anything_is_seen(
    door: Door, streamed: bool
) -> None:
    door.up.alpha.script(says('{"city":"Oslo","degrees":-91}'))
    request = body("sim/both", response_format=form())
    if streamed:
        told = await door.stream(request, headers=EMULATE)
        text, headers = told.text, told.headers
    else:
        whole = await door.post(request, headers=EMULATE)
        text, headers = whole.json["choices"][0]["message"]["content"], whole.headers
    assert json.loads(text) == json.loads(WRITTEN)
    assert (headers["x-provider-slug"], headers["x-fallback-count"]) == ("beta", "1")


async def test_an_answer_that_never_matches_is_a_bad_gateway(door: Door) -> None:
    door.up.alpha.script(says('{"city":"a secret","degrees":-91}'))
    answer = await door.post(body(response_format=form()), headers=EMULATE)
    assert answer.status == 502
    assert "properties/degrees/minimum" in answer.error["message"]
    assert "secret" not in json.dumps(answer.json)


async def test_reasoning_that_excludes_forced_tools_is_told_as_what_it_is(door: Door) -> None:
    request = body("sim/beta", response_format=form(), reasoning_effort="low", max_completion_tokens=4096)
    answer = await door.post(request)
    assert answer.status == 400
    assert "response_format.json_schema" in answer.error["message"]
    assert "reasoning" in answer.error["message"]
    assert "tool_choice" not in answer.error["message"]
    assert door.up.beta.calls == ()


async def test_an_answer_that_was_cut_is_told_as_far_as_it_came(door: Door) -> None:
    door.up.alpha.script(says('{"city": "Os', finish_reason="length"))
    answer = await door.post(body(response_format=form()), headers=EMULATE)
    (choice,) = answer.json["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"city": "Os', "length")


# --- gRPC ---


async def test_grpc_takes_and_tells_it_as_metadata(door: Door) -> None:
    call = door.up.chat.CreateChatCompletion(ask(response_format=form()), metadata=tuple(EMULATE.items()))
    made = await call
    assert made.choices[0].message.content == WRITTEN
    assert made.choices[0].finish_reason == chat_pb2.FINISH_REASON_STOP
    assert dict(await call.trailing_metadata())["x-structured-output"] == "emulated"
    stream = door.up.chat.StreamChatCompletion(ask(response_format=form()), metadata=tuple(EMULATE.items()))
    assert dict(await stream.initial_metadata())["x-structured-output"] == "emulated"
    chunks = [chunk async for chunk in stream]
    assert "".join(choice.delta.content for chunk in chunks for choice in chunk.choices) == WRITTEN


async def test_grpc_refuses_it_without_a_word(door: Door) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await door.up.chat.CreateChatCompletion(ask(response_format=form()))
    assert info_of(caught.value).reason == "UNSUPPORTED_FIELD"


async def test_a_dry_run_tells_which_endpoint_would_emulate(door: Door) -> None:
    request = routing_pb2.DryRunRoutingRequest(request=ask("sim/both", response_format=form()))
    without = await door.up.routing.DryRunRouting(request)
    (told,) = without.models
    assert [(e.provider, e.structured_output_emulated) for e in told.endpoints] == [("beta", True)]
    assert "x-structured-output" in told.rejected[0].message
    allowed = await door.up.routing.DryRunRouting(request, metadata=tuple(EMULATE.items()))
    assert {e.provider for e in allowed.models[0].endpoints} == {"alpha", "beta"}


# --- Responses ---


async def test_a_response_is_text_of_its_form_stored_and_continued(responses: ResponsesDoor) -> None:
    answer = await responses.create(formed(), headers=EMULATE)
    assert answer.status == 200, answer.raw
    assert answer.headers["x-structured-output"] == "emulated"
    made = answer.json
    assert [item["type"] for item in made["output"]] == ["message"]
    assert made["output"][0]["content"][0]["text"] == WRITTEN
    assert made["text"]["format"]["type"] == "json_schema"
    assert (await responses.call("GET", f"/{made['id']}")).json == made
    responses.up.alpha.script(Script(text="indeed"))
    more = await responses.create({"model": "sim/alpha", "input": "and?", "previous_response_id": made["id"]})
    assert more.status == 200, more.raw
    assert WRITTEN in json.dumps(sent(responses.up.alpha.calls)["messages"], ensure_ascii=False).replace(
        '\\"', '"'
    )


async def test_a_streamed_response_has_no_event_of_a_call(responses: ResponsesDoor) -> None:
    streamed = await responses.stream(formed("sim/beta"))
    assert json.loads(streamed.text) == json.loads(WRITTEN)
    assert not any("function_call" in kind for kind in streamed.types)
    assert streamed.headers["x-structured-output"] == "emulated"


async def test_a_responses_refusal_names_the_callers_own_field(responses: ResponsesDoor) -> None:
    request = formed("sim/beta", reasoning={"effort": "low"}, max_output_tokens=4096)
    answer = await responses.create(request)
    assert answer.status == 400
    assert "text.format" in answer.error["message"]
    assert "response_format" not in answer.error["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_background_response_keeps_its_callers_word(responses: ResponsesDoor, stream: bool) -> None:
    request = formed(background=True)
    refused = await responses.create(request)
    assert refused.status == 400
    accepted = await responses.create(request, headers=EMULATE)
    assert accepted.status == 200, accepted.raw
    made = await ended(responses, accepted.json["id"])
    assert made["status"] == "completed", made
    assert made["output"][0]["content"][0]["text"] == WRITTEN
    if stream:
        followed = await follow(responses, accepted.json["id"])
        assert followed.response == made


async def test_a_response_over_grpc_is_the_same(responses: ResponsesDoor) -> None:
    request = parse(responses_pb2.CreateResponseRequest, formed())
    call = responses.up.responses.CreateResponse(request, metadata=tuple(EMULATE.items()))
    made = await call
    assert made.output[0].message.content[0].output_text.text == WRITTEN
    assert dict(await call.trailing_metadata())["x-structured-output"] == "emulated"


@pytest.mark.parametrize("emulate", [True, False])
async def test_a_chat_job_keeps_its_callers_word(responses: ResponsesDoor, emulate: bool) -> None:
    service = responses.up.service
    jobs = ChatJobs(service.catalog, service.router, service.live.responses, wall_clock=time.time, new_id=new_id)
    context = CallContext(Principal("local"), "r", time.monotonic() + 60, emulate=emulate)
    making = jobs.job(ask(response_format=form()), Submission(), context, streaming=False)
    if not emulate:
        with pytest.raises(ServiceError, match=r"response_format\.json_schema"):
            await making
        return
    new = await making
    assert await service.database.jobs.accept_many([new]) == [Accepted()]
    made = await ended(responses, new.response.id)
    assert made["output"][0]["content"][0]["text"] == WRITTEN
