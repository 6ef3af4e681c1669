"""Chat over HTTP: whole answers and server-sent events, as OpenAI's clients expect them, on both prefixes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.providers.simulator import (
    SERVER_ERROR,
    Cut,
    ErrorIn200,
    Script,
    SlowFirstByte,
    ToolCall,
    Usage,
    rate_limited,
)
from tests.support import openai_schema
from tests.support.http_door import CHAT, PREFIXES, Answer, Door, Streamed, body, events, http_door

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}
MODELS = ("sim/alpha", "sim/beta")


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with http_door(tmp_path) as opened:
        yield opened


def both(door: Door, script: Script) -> None:
    door.up.alpha.script(script)
    door.up.beta.script(script)


def test_the_schema_finds_what_is_wrong_and_the_list_what_is_added(shared: Path) -> None:
    assert shared.is_dir()
    good: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None, "logprobs": None}],
    }
    assert openai_schema.problems(openai_schema.CHUNK, good) == []
    assert openai_schema.problems(openai_schema.CHUNK, {**good, "object": "x"}) != []
    assert openai_schema.problems(openai_schema.CHUNK, {**good, "usage": {"prompt_tokens": 1}}) != []
    assert "neither OpenAI's nor" in openai_schema.problems(openai_schema.CHUNK, {**good, "cost": 1})[0]
    without_logprobs = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    whole = {**good, "object": "chat.completion", "choices": [without_logprobs]}
    assert len(openai_schema.problems(openai_schema.WHOLE, whole)) == 2


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("model", MODELS)
async def test_a_whole_answer_has_openais_shape_with_its_nulls(door: Door, prefix: str, model: str) -> None:
    both(door, Script(text="Hello there", usage=Usage(7, 3, cached_tokens=2)))
    answer = await door.post(body(model), f"{prefix}/chat/completions")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    shown = answer.json
    assert shown["object"] == "chat.completion"
    assert shown["choices"] == [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": None,
            "message": {"role": "assistant", "content": "Hello there", "refusal": None},
        }
    ]
    assert shown["usage"]["prompt_tokens"] == 7
    assert shown["usage"]["total_tokens"] == 10
    assert shown["usage"]["prompt_tokens_details"]["cached_tokens"] == 2
    assert shown["provider"] == ("alpha" if model == "sim/alpha" else "beta")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("script", "fields"),
    [
        (Script(text="a b c", reasoning="let me think", usage=Usage(9, 6)), {}),
        (
            Script(tool_calls=(ToolCall("c1", "weather", '{"at":"Oslo"}'), ToolCall("c2", "weather"))),
            {"tools": [WEATHER]},
        ),
        (Script(text="ok", tool_calls=(ToolCall("c1", "weather", '{"at":"Rome"}'),)), {"tools": [WEATHER]}),
        (Script(text="half", finish_reason="length"), {}),
        (Script(text="", usage=Usage(1, 0)), {}),
        (Script(text="ümläut \u2028 \u0000 🎉 </script>"), {}),
    ],
)
async def test_whatever_is_answered_a_stream_tells_the_same_as_the_whole_answer(
    door: Door, model: str, script: Script, fields: dict[str, Any]
) -> None:
    both(door, script)
    request = body(model, **fields)
    whole = await door.post(request)
    streamed = await door.stream({**request, **USAGE})
    assert streamed.done
    assert folded(streamed) == shape_of(whole)


def shape_of(whole: Answer) -> Mapping[str, object]:
    choice = whole.json["choices"][0]
    message = choice["message"]
    return {
        "content": message["content"] or "",
        "reasoning": message.get("reasoning") or "",
        "calls": [
            (call["id"], call["type"], call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls", ())
        ],
        "finish": choice["finish_reason"],
        "usage": whole.json["usage"],
    }


def folded(streamed: Streamed) -> Mapping[str, object]:
    calls: dict[int, list[str]] = {}
    reasoning, finishes = "", []
    for chunk in streamed.chunks[:-1]:
        (choice,) = chunk["choices"]
        delta = choice["delta"]
        reasoning += delta.get("reasoning") or ""
        finishes += [choice["finish_reason"]] if choice["finish_reason"] else []
        for piece in delta.get("tool_calls", ()):
            if "id" in piece:
                calls[piece["index"]] = [piece["id"], piece["type"], piece["function"]["name"], ""]
            calls[piece["index"]][3] += piece.get("function", {}).get("arguments", "")
    (finish,) = finishes
    return {
        "content": streamed.text,
        "reasoning": reasoning,
        "calls": [tuple(call) for call in calls.values()],
        "finish": finish,
        "usage": streamed.chunks[-1]["usage"],
    }


async def test_several_choices_and_logprobs_have_openais_shape(door: Door) -> None:
    door.up.alpha.script(Script(text="a b"))
    request = body(n=2, logprobs=True, top_logprobs=2)
    whole = await door.post(request)
    assert [choice["index"] for choice in whole.json["choices"]] == [0, 1]
    tokens = whole.json["choices"][1]["logprobs"]["content"]
    assert [token["token"] for token in tokens] == ["a", " b"]
    assert [len(token["top_logprobs"]) for token in tokens] == [2, 2]
    streamed = await door.stream(request)
    seen = [
        token
        for chunk in streamed.chunks
        for choice in chunk["choices"]
        if choice["index"] == 1 and choice["logprobs"]
        for token in choice["logprobs"]["content"]
    ]
    assert seen == tokens


async def test_a_refusal_stands_in_its_own_field(door: Door) -> None:
    door.up.alpha.script(Script(refusal="I must not"))
    whole = await door.post(body())
    assert whole.json["choices"][0]["message"] == {"role": "assistant", "content": None, "refusal": "I must not"}
    streamed = await door.stream(body())
    deltas = [choice["delta"] for chunk in streamed.chunks for choice in chunk["choices"]]
    assert "".join(delta.get("refusal") or "" for delta in deltas) == "I must not"


@pytest.mark.parametrize("model", MODELS)
async def test_usage_is_the_last_chunk_when_asked_for_and_nowhere_otherwise(door: Door, model: str) -> None:
    for request in (body(model), body(model, stream_options={"include_usage": False})):
        silent = await door.stream(request)
        assert all("usage" not in chunk for chunk in silent.chunks)
    told = await door.stream(body(model, **USAGE))
    *before, last = told.chunks
    assert [chunk["usage"] for chunk in before] == [None] * len(before)
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == 10
    assert all(chunk["choices"] for chunk in before)


async def test_all_chunks_of_a_stream_share_id_time_and_model_and_the_role_comes_first(door: Door) -> None:
    door.up.alpha.script(Script(tokens=20, pace=0.02))
    streamed = await door.stream(body(**USAGE))
    assert len(streamed.chunks) > 5
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in streamed.chunks}) == 1
    roles = [choice["delta"].get("role") for chunk in streamed.chunks for choice in chunk["choices"]]
    assert roles[0] == "assistant"
    assert set(roles[1:]) == {None}


async def test_every_event_is_one_data_line_and_the_stream_ends_with_done(door: Door) -> None:
    door.up.alpha.script(Script(text="line one\nline two\r\n\r\n\u2028 data: [DONE]\n\nend"))
    async with door.session.post(door.up.http + CHAT, json=body(stream=True)) as response:
        raw = await response.read()
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["content-type"].split(";")[0] == "text/event-stream"
    assert b"\r" not in raw
    assert raw.endswith(b"data: [DONE]\n\n")
    lines = [line for line in raw.split(b"\n") if line]
    assert all(line.startswith(b"data: ") for line in lines)
    assert raw.count(b"\n\n") == len(lines)


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_name_the_provider_the_model_and_the_request(door: Door, stream: bool) -> None:
    door.up.alpha.enqueue(Script(fault=SERVER_ERROR))
    send = door.stream if stream else door.post
    answer = await send(body("sim/both"), headers={"x-request-id": "mine-1"})
    assert {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith("x-")} == {
        "x-request-id": "mine-1",
        "x-provider-slug": "beta",
        "x-provider-id": "beta",
        "x-model-used": "sim/both",
        "x-model-variant": "",
        "x-routing-strategy": "default",
        "x-fallback-count": "1",
        "x-model-fallback-count": "0",
        **({"x-accel-buffering": "no"} if stream else {"x-cost": "0.000042", "x-cost-currency": "EUR"}),
    }


async def test_request_ids_and_trace_context_come_in_and_go_on(door: Door) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    sent = {"x-request-id": "abc-1", "traceparent": f"00-{trace}-{span}-01", "tracestate": "vendor=1"}
    kept = await door.post(body(), headers=sent)
    made = await door.post(body(), headers={"x-request-id": "no spaces", "traceparent": "00-1-2-3"})
    first, second = (call.headers for call in door.up.alpha.calls)
    assert kept.headers["x-request-id"] == first["x-request-id"] == "abc-1"
    assert first["traceparent"].split("-")[1] == trace
    assert span not in first["traceparent"]
    assert first["tracestate"] == "vendor=1"
    assert made.headers["x-request-id"] == second["x-request-id"]
    assert len(second["x-request-id"]) == 32
    assert len(second["traceparent"]) == 55
    assert "tracestate" not in second


async def test_an_idle_stream_gets_comments_and_a_busy_one_gets_none(tmp_path: Path) -> None:
    async with http_door(tmp_path, {"http": {"heartbeat_seconds": 0.1}}) as door:
        door.up.alpha.enqueue(Script(text=("a", "b"), pace=0.5))
        idle = await door.stream(body())
        assert idle.text == "ab"
        assert idle.done
        assert 2 <= len(idle.comments) <= 6
        assert set(idle.comments) == {"keep-alive"}
        door.up.alpha.enqueue(Script(tokens=40, pace=0.01))
        assert (await door.stream(body())).comments == []


async def test_headers_wait_for_the_first_output_and_go_out_after_the_commit_wait(tmp_path: Path) -> None:
    settings = {"commit_wait_seconds": 0.3, "http": {"heartbeat_seconds": 0.1}}
    async with http_door(tmp_path, settings) as door:
        door.up.alpha.script(Script(text=("a", "b"), fault=SlowFirstByte(0.8, headers_first=True)))
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with door.session.post(door.up.http + CHAT, json=body(stream=True)) as response:
            waited = loop.time() - started
            streamed = Streamed(response.status, response.headers)
            async for event in events(response):
                streamed.take(event)
        assert 0.25 < waited < 0.7
        assert streamed.comments
        assert streamed.text == "ab"


async def test_what_changes_after_the_commit_wait_is_told_in_comments_before_done(tmp_path: Path) -> None:
    async with http_door(tmp_path, {"commit_wait_seconds": 0.1}) as door:
        door.up.alpha.enqueue(Script(first_byte_delay=0.4, fault=SERVER_ERROR))
        door.up.beta.script(Script(text="from beta"))
        streamed = await door.stream(body("sim/both"))
    assert streamed.headers["x-provider-slug"] == "alpha"
    assert streamed.chunks[0]["provider"] == "beta"
    assert streamed.text == "from beta"
    assert streamed.comments == ["x-fallback-count: 1", "x-provider-id: beta", "x-provider-slug: beta"]
    assert streamed.done


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_failure_before_the_first_output_has_a_real_status(door: Door, prefix: str) -> None:
    door.up.alpha.script(Script(fault=rate_limited(37)))
    answer = await door.post(body(stream=True), f"{prefix}/chat/completions")
    assert answer.status == 429
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["retry-after"] == "37"
    assert 36_000 < int(answer.headers["retry-after-ms"]) <= 37_000
    assert answer.headers["x-should-retry"] == "true"
    assert answer.error["code"] == ("rate_limit_exceeded" if prefix == "/v1" else "RATE_LIMITED")
    assert answer.error["type"] == "rate_limit_error"
    assert answer.json["requestId"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("fault", "code", "eurouter_code"),
    [
        (Cut(2), "server_error", "SERVICE_UNAVAILABLE"),
        (ErrorIn200(2), "server_error", "SERVICE_UNAVAILABLE"),
    ],
)
async def test_a_failure_after_the_first_output_is_an_event_and_no_done_follows(
    door: Door, prefix: str, model: str, fault: Cut | ErrorIn200, code: str, eurouter_code: str
) -> None:
    both(door, Script(text="one two three four", pace=0.03, fault=fault))
    streamed = await door.stream(body(model), f"{prefix}/chat/completions")
    assert streamed.text == "one two"
    assert streamed.error is not None
    assert not streamed.done
    assert streamed.error["code"] == (code if prefix == "/v1" else eurouter_code)
    assert streamed.error["type"] == "server_error"
    assert streamed.error["param"] is None


async def test_a_stream_that_fails_leaves_the_connection_usable(tmp_path: Path) -> None:
    one = aiohttp.TCPConnector(limit=1)
    async with http_door(tmp_path) as door, aiohttp.ClientSession(connector=one) as session:
        door.up.alpha.enqueue(Script(text="one two three", pace=0.02, fault=Cut(1)), model="one")
        for number in range(2):
            async with session.post(door.up.http + CHAT, json=body("sim/both", stream=True)) as response:
                raw = await response.read()
                assert response.status == 200
                assert raw.endswith(b"data: [DONE]\n\n") == (number == 1)


async def test_http_1_0_clients_get_their_stream_too(door: Door) -> None:
    host, port = door.up.http.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    sent = json.dumps(body(stream=True)).encode()
    writer.write(b"POST %b HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (CHAT.encode(), len(sent), sent))
    async with asyncio.timeout(5):
        raw = await reader.read()
    writer.close()
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200")
    assert b"chunked" not in head.lower()
    assert rest.startswith(b"data: {")
    assert rest.endswith(b"data: [DONE]\n\n")
