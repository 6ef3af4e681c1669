"""The simulator through real sockets: answers, pace, every fault as a client sees it, the journal, control."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest

from adapters.providers.simulator import (
    CONTEXT_LENGTH,
    INVALID_KEY,
    LABEL,
    OVERLOADED,
    PAYMENT_REQUIRED,
    SERVER_ERROR,
    UNAVAILABLE,
    Cut,
    ErrorIn200,
    Garbage,
    HttpError,
    Reset,
    Script,
    Simulator,
    SlowFirstByte,
    Stall,
    ToolCall,
    Usage,
    insufficient_quota,
    rate_limited,
    redacted,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
BOTH = pytest.mark.parametrize("path", [CHAT, MESSAGES])
DONE = b"data: [DONE]\n\n"
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
CALLS = (
    ToolCall("call_a", "get_weather", '{"city": "Paris"}'),
    ToolCall("call_b", "get_time", '{"zone": "Europe/Rome", "hours": 24}'),
)


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


def asking(model: str = "any", *, stream: bool = False, text: str = "Hello", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Before."}, {"role": "user", "content": text}]
    return {"model": model, "max_tokens": 100, "messages": messages, "stream": stream, **more}


def terminal(path: str) -> bytes:
    return DONE if path == CHAT else STOP


def data_of(raw: bytes) -> list[dict[str, Any]]:
    lines = [line[5:].strip() for line in raw.split(b"\n") if line.startswith(b"data:")]
    return [orjson.loads(line) for line in lines if line != b"[DONE]"]


def text_in(path: str, raw: bytes) -> str:
    events = data_of(raw)
    if path == CHAT:
        return "".join(c["delta"].get("content") or "" for e in events for c in e.get("choices", ()))
    return "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta")


async def test_without_a_script_the_answer_says_that_it_is_a_simulator(
    sim: Simulator, http: aiohttp.ClientSession
) -> None:
    async with http.post(sim.url + CHAT, json=asking()) as response:
        answer = await response.json()
    assert response.headers["x-simulator"] == "true"
    assert response.headers["content-type"] == "application/json"
    assert "not a model" in answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_echo_returns_the_last_user_message(
    path: str, stream: bool, sim: Simulator, http: aiohttp.ClientSession
) -> None:
    for text in ("Gruß, Welt!\n  Zweite Zeile. ", "another"):
        async with http.post(sim.url + path, json=asking("sim-echo", stream=stream, text=text)) as response:
            raw = await response.read()
        if stream:
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert raw.endswith(terminal(path))
            assert text_in(path, raw) == text
        else:
            answer = json.loads(raw)
            parts = answer["choices"][0]["message"] if path == CHAT else answer["content"][0]
            assert parts["content" if path == CHAT else "text"] == text


async def test_a_busy_beginning_refuses_each_message_so_many_times_and_then_answers(
    sim: Simulator, http: aiohttp.ClientSession
) -> None:
    sim.script(Script(echo=True, busy_calls=2, busy_seconds=3.0))

    async def ask(text: str) -> tuple[int, str | None]:
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        async with http.post(sim.url + CHAT, json=body) as response:
            return response.status, response.headers.get("retry-after")

    assert [await ask("one") for _ in range(4)] == [(429, "3"), (429, "3"), (200, None), (200, None)]
    assert await ask("another") == (429, "3")
    sim.forget_scripts()
    sim.script(Script(echo=True, busy_calls=1))
    assert await ask("one") == (429, "1")


async def test_an_echo_can_name_the_call_that_it_answers(sim: Simulator, http: aiohttp.ClientSession) -> None:
    sim.script(Script(echo=True))
    body = {"model": "m", "messages": [{"role": "user", "content": "{x-request-id} and {x-request-id}"}]}
    async with http.post(sim.url + CHAT, json=body, headers={"x-request-id": "resp_1.7"}) as response:
        answer = await response.json()
    assert answer["choices"][0]["message"]["content"] == "resp_1.7 and resp_1.7"


async def test_the_journal_tells_when_a_call_began_and_closed_by_the_machines_clock(
    sim: Simulator, http: aiohttp.ClientSession
) -> None:
    sim.script(Script(tokens=3, first_byte_delay=0.1))
    before = time.monotonic()
    async with http.post(
        sim.url + CHAT, json={"model": "m", "messages": [{"role": "user", "content": "x"}]}
    ) as response:
        await response.read()
    (call,) = await sim.wait_for(lambda calls: calls[0].closed is not None)
    assert call.closed is not None
    assert before <= call.began <= call.closed - 0.09
    assert call.closed <= time.monotonic()


async def test_no_two_answers_have_the_same_id_though_they_are_encoded_once(
    sim: Simulator, http: aiohttp.ClientSession
) -> None:
    seen: set[str] = set()
    for _ in range(3):
        before = int(time.time())
        async with http.post(sim.url + CHAT, json=asking(stream=True)) as response:
            chunks = data_of(await response.read())
        assert len({chunk["id"] for chunk in chunks}) == 1
        assert all(before <= chunk["created"] <= time.time() for chunk in chunks)
        seen.add(chunks[0]["id"])
    async with http.post(sim.url + MESSAGES, json=asking()) as response:
        seen.add((await response.json())["id"])
    assert len(seen) == 4


async def test_the_usage_chunk_has_no_choices_and_comes_only_when_asked(
    sim: Simulator, http: aiohttp.ClientSession
) -> None:
    sim.script(Script(text="a b c", usage=Usage(7, 3, cached_tokens=2)))
    asked = asking(stream=True, stream_options={"include_usage": True, "include_obfuscation": False})
    async with http.post(sim.url + CHAT, json=asked) as response:
        *others, last = data_of(await response.read())
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 10
    assert last["usage"]["prompt_tokens_details"]["cached_tokens"] == 2
    assert all(chunk["usage"] is None and "obfuscation" not in chunk for chunk in others)
    async with http.post(sim.url + CHAT, json=asking(stream=True)) as response:
        assert all("usage" not in chunk for chunk in data_of(await response.read()))


async def test_anthropic_usage_excludes_what_the_cache_gave(sim: Simulator, http: aiohttp.ClientSession) -> None:
    sim.script(Script(text="a b c", usage=Usage(7, 3, cached_tokens=2)))
    async with http.post(sim.url + MESSAGES, json=asking(stream=True)) as response:
        events = data_of(await response.read())
    delta = next(event for event in events if event["type"] == "message_delta")
    assert delta["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 2,
        "output_tokens": 3,
    }
    assert [event["type"] for event in events][:3] == ["message_start", "ping", "content_block_start"]


async def test_several_choices_come_interleaved(sim: Simulator, http: aiohttp.ClientSession) -> None:
    async with http.post(sim.url + CHAT, json=asking("sim-tokens-4", stream=True, n=2)) as response:
        indexes = [chunk["choices"][0]["index"] for chunk in data_of(await response.read())]
    assert indexes == [0, 1] * 6


@pytest.mark.parametrize("stream", [False, True])
async def test_chat_tool_calls(stream: bool, sim: Simulator, http: aiohttp.ClientSession) -> None:
    sim.script(Script(text="I look.", tool_calls=CALLS))
    async with http.post(sim.url + CHAT, json=asking(stream=stream)) as response:
        raw = await response.read()
    calls: list[dict[str, Any]] = []
    if stream:
        chunks = data_of(raw)
        for chunk in chunks:
            for piece in chunk["choices"][0]["delta"].get("tool_calls", ()):
                if "id" in piece:
                    calls.append({"id": piece["id"], **piece["function"]})
                else:
                    calls[piece["index"]]["arguments"] += piece["function"]["arguments"]
        finish = chunks[-1]["choices"][0]["finish_reason"]
    else:
        choice = json.loads(raw)["choices"][0]
        calls = [{"id": call["id"], **call["function"]} for call in choice["message"]["tool_calls"]]
        finish = choice["finish_reason"]
    assert calls == [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in CALLS]
    assert finish == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropic_tool_use(stream: bool, sim: Simulator, http: aiohttp.ClientSession) -> None:
    sim.script(Script(reasoning="Let me see.", text="I look.", tool_calls=CALLS))
    async with http.post(sim.url + MESSAGES, json=asking(stream=stream)) as response:
        raw = await response.read()
    if stream:
        events = data_of(raw)
        blocks = {e["index"]: e["content_block"] for e in events if e["type"] == "content_block_start"}
        texts: dict[int, str] = dict.fromkeys(blocks, "")
        for event in events:
            if event["type"] == "content_block_delta":
                delta = event["delta"]
                texts[event["index"]] += next(
                    (delta[key] for key in ("text", "thinking", "partial_json") if key in delta), ""
                )
        kinds = [block["type"] for block in blocks.values()]
        inputs = [(block["name"], json.loads(texts[at])) for at, block in blocks.items() if "name" in block]
        stop = next(e["delta"]["stop_reason"] for e in events if e["type"] == "message_delta")
        assert (texts[0], texts[1]) == ("Let me see.", "I look.")
        assert [e["index"] for e in events if e["type"] == "content_block_stop"] == [0, 1, 2, 3]
    else:
        answer = json.loads(raw)
        kinds, stop = [block["type"] for block in answer["content"]], answer["stop_reason"]
        inputs = [(b["name"], b["input"]) for b in answer["content"] if b["type"] == "tool_use"]
    assert kinds == ["thinking", "text", "tool_use", "tool_use"]
    assert inputs == [(call.name, json.loads(call.arguments)) for call in CALLS]
    assert stop == "tool_use"


@BOTH
async def test_a_pace_spreads_the_tokens_and_the_first_leaves_at_once(
    path: str, sim: Simulator, http: aiohttp.ClientSession
) -> None:
    started = time.monotonic()
    sent: list[int] = []
    raw = b""
    async with http.post(sim.url + path, json=asking("sim-paced-20ms-11", stream=True)) as response:
        async for data, _ in response.content.iter_chunks():
            raw += data
            sent.append(sim.calls[0].tokens_sent)
    assert time.monotonic() - started >= 0.19
    assert raw.endswith(terminal(path))
    assert sent[0] < sent[-1] == 11
    assert len(sent) > 2


async def test_a_burst_comes_in_few_writes(sim: Simulator, http: aiohttp.ClientSession) -> None:
    async with http.post(sim.url + CHAT, json=asking("sim-tokens-256", stream=True)) as response:
        chunks = [data async for data, _ in response.content.iter_chunks()]
    assert len(data_of(b"".join(chunks))) == 258
    assert len(chunks) < 20


async def test_latencies_are_those_of_the_script(sim: Simulator, http: aiohttp.ClientSession) -> None:
    sim.enqueue(Script(latency=0.15), Script(tokens=10, pace=0.015), Script(first_byte_delay=0.15))
    for stream in (False, False, True):
        started = time.monotonic()
        async with http.post(sim.url + CHAT, json=asking(stream=stream)):
            assert time.monotonic() - started >= 0.14


@BOTH
@pytest.mark.parametrize("pace", [0.0, 0.001])
async def test_a_cut_stream_ends_cleanly_without_its_marker(
    path: str, pace: float, sim: Simulator, http: aiohttp.ClientSession
) -> None:
    sim.script(Script(text=("a", "b", "c", "d"), pace=pace, fault=Cut(2)))
    async with http.post(sim.url + path, json=asking(stream=True)) as response:
        raw = await response.read()
    assert text_in(path, raw) == "ab"
    assert terminal(path) not in raw
    (call,) = await sim.wait_for(lambda calls: calls[0].ended is not None)
    assert (call.tokens_sent, call.finished, call.cancelled) == (2, False, False)


@pytest.mark.parametrize("fault", [Cut(), Reset()])
async def test_a_whole_answer_can_end_half_way(
    fault: Cut | Reset, sim: Simulator, http: aiohttp.ClientSession
) -> None:
    sim.script(Script(fault=fault))
    with pytest.raises(aiohttp.ClientError):
        async with http.post(sim.url + CHAT, json=asking()) as response:
            assert response.status == 200
            await response.read()
    (call,) = await sim.wait_for(lambda calls: calls[0].ended is not None)
    assert (call.finished, call.cancelled) == (False, False)


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_a_stall_keeps_the_connection_and_a_leaving_client_is_noticed_at_once(
    path: str, stream: bool, sim: Simulator, http: aiohttp.ClientSession
) -> None:
    sim.script(Script(text=("a", "b", "c"), fault=Stall(1)))
    response = await http.post(sim.url + path, json=asking(stream=stream))
    raw = b""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            while data := await response.content.readany():
                raw += data
    assert raw
    assert not stream or text_in(path, raw) == "a"
    assert sim.calls[0].ended is None
    left = time.time()
    response.close()
    (call,) = await sim.wait_for(lambda calls: calls[0].cancelled)
    assert call.ended is not None
    assert call.ended - left < 1
    assert not call.finished


async def test_a_client_that_leaves_a_paced_stream_stops_it(sim: Simulator, http: aiohttp.ClientSession) -> None:
    response = await http.post(sim.url + CHAT, json=asking("sim-paced-5ms-1000", stream=True))
    await response.content.readany()
    response.close()
    (call,) = await sim.wait_for(lambda calls: calls[0].cancelled)
    assert 1 <= call.tokens_sent < 500
    await asyncio.sleep(0.03)
    assert sim.calls[0].tokens_sent == call.tokens_sent


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_garbage_is_not_the_protocol_though_the_status_is_200(
    path: str, stream: bool, sim: Simulator, http: aiohttp.ClientSession
) -> None:
    sim.script(Script(fault=Garbage()))
    async with http.post(sim.url + path, json=asking(stream=stream)) as response:
        raw = await response.read()
    assert response.status == 200
    with pytest.raises(UnicodeDecodeError):
        raw.decode()


async def test_garbage_can_follow_good_tokens(sim: Simulator, http: aiohttp.ClientSession) -> None:
    sim.script(Script(text=("a", "b", "c"), fault=Garbage(2, data=b"data: {oops\n\n")))
    async with http.post(sim.url + CHAT, json=asking(stream=True)) as response:
        raw = await response.read()
    assert raw.endswith(b"data: {oops\n\n")
    assert text_in(CHAT, raw.removesuffix(b"data: {oops\n\n")) == "ab"


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_body_can_come_with_200(
    path: str, stream: bool, sim: Simulator, http: aiohttp.ClientSession
) -> None:
    sim.script(Script(fault=ErrorIn200()))
    async with http.post(sim.url + path, json=asking(stream=stream)) as response:
        body = await response.json()
    assert response.status == 200
    assert body["error"]["message"]
    assert "choices" not in body


@BOTH
async def test_an_error_event_can_come_inside_a_stream(
    path: str, sim: Simulator, http: aiohttp.ClientSession
) -> None:
    sim.script(Script(text=("a", "b", "c"), fault=ErrorIn200(after_tokens=2, message="gone")))
    async with http.post(sim.url + path, json=asking(stream=True)) as response:
        raw = await response.read()
    assert text_in(path, raw) == "ab"
    assert data_of(raw)[-1]["error"]["message"] == "gone"
    assert (b"event: error\n" in raw) == (path == MESSAGES)
    assert terminal(path) not in raw


@pytest.mark.parametrize("stream", [False, True])
async def test_a_first_byte_can_be_slow_before_or_after_the_headers(
    stream: bool, sim: Simulator, http: aiohttp.ClientSession
) -> None:
    sim.enqueue(Script(fault=SlowFirstByte(0.2)), Script(fault=SlowFirstByte(0.2, headers_first=True)))
    waits = []
    for _ in range(2):
        started = time.monotonic()
        async with http.post(sim.url + CHAT, json=asking(stream=stream)) as response:
            waits.append(time.monotonic() - started)
            await response.read()
            assert time.monotonic() - started >= 0.19
    assert waits[0] >= 0.19
    assert waits[1] < 0.15
    assert all(call.finished for call in sim.calls)


@pytest.mark.parametrize(
    ("fault", "status", "code", "kind"),
    [
        (rate_limited(7), 429, "rate_limit_exceeded", "rate_limit_error"),
        (insufficient_quota(), 429, "insufficient_quota", "rate_limit_error"),
        (PAYMENT_REQUIRED, 402, "insufficient_quota", "billing_error"),
        (INVALID_KEY, 401, "invalid_api_key", "authentication_error"),
        (CONTEXT_LENGTH, 400, "context_length_exceeded", "invalid_request_error"),
        (SERVER_ERROR, 500, None, "api_error"),
        (UNAVAILABLE, 503, None, "api_error"),
        (OVERLOADED, 529, None, "overloaded_error"),
    ],
)
async def test_failing_statuses_speak_as_the_provider_does(
    fault: HttpError, status: int, code: str | None, kind: str, sim: Simulator, http: aiohttp.ClientSession
) -> None:
    sim.script(Script(fault=fault))
    async with http.post(sim.url + CHAT, json=asking(stream=True)) as response:
        chat = await response.json()
    async with http.post(sim.url + MESSAGES, json=asking()) as other:
        message = await other.json()
    assert (response.status, other.status) == (status, status)
    assert set(chat["error"]) == {"message", "type", "param", "code"}
    assert chat["error"]["code"] == code
    assert (message["type"], message["error"]["type"]) == ("error", kind)
    assert response.headers.get("retry-after") == ("7" if fault == rate_limited(7) else None)


async def test_a_failing_status_can_have_any_body_and_headers(sim: Simulator, http: aiohttp.ClientSession) -> None:
    headers = (("content-type", "text/html"), ("retry-after-ms", "20"))
    sim.script(Script(fault=HttpError(502, headers=headers, body=b"<html>bad gateway</html>")))
    async with http.post(sim.url + CHAT, json=asking()) as response:
        assert await response.text() == "<html>bad gateway</html>"
    assert (response.status, response.headers["retry-after-ms"]) == (502, "20")
    assert response.headers["content-type"] == "text/html"


@pytest.mark.parametrize("pace", [0.0, 0.001])
async def test_a_reset_stream_breaks_the_connection_after_its_tokens(
    pace: float, sim: Simulator, http: aiohttp.ClientSession
) -> None:
    sim.script(Script(text=("a", "b", "c"), pace=pace, fault=Reset(2)))
    raw = b""
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        async with http.post(sim.url + CHAT, json=asking(stream=True)) as response:
            while data := await response.content.readany():
                raw += data
    assert text_in(CHAT, raw) == "ab"
    (call,) = await sim.wait_for(lambda calls: calls[0].ended is not None)
    assert (call.tokens_sent, call.cancelled) == (2, False)


async def test_a_silent_reset_sends_no_byte(sim: Simulator) -> None:
    host, port = "127.0.0.1", sim.port
    reader, writer = await asyncio.open_connection(host, port)
    body = orjson.dumps(asking("sim-fault-silence"))
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    writer.close()


async def test_refused_connections_are_refused_until_accepted_again(
    sim: Simulator, http: aiohttp.ClientSession
) -> None:
    url = sim.url
    for _ in range(2):
        async with http.post(url + CHAT, json=asking()) as response:
            await response.read()
        await sim.refuse_connections()
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.post(url + CHAT, json=asking())
        await sim.accept_connections()
        assert sim.url == url
    async with http.post(url + CHAT, json=asking()) as response:
        assert response.status == 200


async def test_queues_come_before_defaults_and_defaults_before_names(
    sim: Simulator, http: aiohttp.ClientSession
) -> None:
    async def said(model: str) -> str:
        async with http.post(sim.url + CHAT, json=asking(model, text="echoed")) as response:
            return str((await response.json())["choices"][0]["message"]["content"])

    sim.script(Script(text="general default"))
    assert await said("m") == "general default"
    assert await said("sim-echo") == "echoed"
    sim.script(Script(text="default"), model="sim-echo")
    sim.enqueue(Script(text="any 1"), Script(text="any 2"))
    sim.enqueue(Script(text="own"), model="sim-echo")
    assert [await said("sim-echo") for _ in range(4)] == ["own", "any 1", "any 2", "default"]
    sim.forget_scripts()
    assert await said("sim-echo") == "echoed"
    assert "not a model" in await said("m")


async def test_the_journal_keeps_what_came_without_credentials_and_is_bounded(http: aiohttp.ClientSession) -> None:
    headers = {"Authorization": "Bearer sk-very-secret", "X-Api-Key": "also-secret", "traceparent": "00-ab-cd-01"}
    async with Simulator(calls_kept=2) as sim:
        for number in range(3):
            body = asking("sim-tokens-5", stream=True, seed=number)
            async with http.post(sim.url + CHAT, json=body, headers=headers) as response:
                await response.read()
        first, second = sim.calls
        assert (first.body["seed"], second.body["seed"]) == (1, 2)
        assert (second.method, second.path, second.model, second.status) == ("POST", CHAT, "sim-tokens-5", 200)
        assert (second.tokens_sent, second.finished, second.cancelled) == (5, True, False)
        assert second.headers["authorization"] == redacted("authorization", headers["Authorization"])
        assert second.headers["traceparent"] == "00-ab-cd-01"
        assert "secret" not in repr(sim.calls)
        async with http.get(sim.url + "/simulator/calls") as response:
            listed = (await response.json())["calls"]
        assert listed[1]["body"] == second.body
        async with http.delete(sim.url + "/simulator/calls") as response:
            assert response.status == 204
        assert sim.calls == ()


async def test_scripts_can_be_put_from_another_process(sim: Simulator, http: aiohttp.ClientSession) -> None:
    async def put(body: Any) -> int:
        async with http.put(sim.url + "/simulator/script", json=body) as response:
            return response.status

    async def status() -> tuple[int, str]:
        async with http.post(sim.url + CHAT, json=asking("m")) as response:
            return response.status, await response.text()

    assert await put({"model": "m", "script": {"text": "put"}}) == 204
    assert await put({"once": True, "script": {"fault": {"kind": "http_error", "status": 529}}}) == 204
    assert (await status())[0] == 529
    assert "put" in (await status())[1]
    assert await put({"model": "m", "script": None}) == 204
    assert "not a model" in (await status())[1]
    wrong: tuple[Any, ...] = (
        {},
        [],
        {"script": {"txt": 1}},
        {"script": {}, "model": 1},
        {"script": None, "once": True},
    )
    for bad in wrong:
        assert await put(bad) == 400


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "Simulator"),
        (b"[]", "object"),
        (b'{"messages":[{"role":"user","content":"x"}]}', "model"),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":"sim-nonsense","max_tokens":1,"messages":[{"role":"user","content":"x"}]}', "sim-nonsense"),
    ],
)
@BOTH
async def test_a_request_that_cannot_be_answered_is_a_400_that_says_why(
    path: str, body: bytes, named: str, sim: Simulator, http: aiohttp.ClientSession
) -> None:
    async with http.post(sim.url + path, data=body) as response:
        answer = await response.json()
    assert response.status == 400
    assert named in answer["error"]["message"]


async def test_models_are_listed_in_the_shape_of_whoever_asks(sim: Simulator, http: aiohttp.ClientSession) -> None:
    sim.script(Script(), model="my-model")
    async with http.get(sim.url + "/v1/models") as response:
        chat = await response.json()
    async with http.get(sim.url + "/v1/models", headers={"anthropic-version": "2023-06-01"}) as response:
        messages = await response.json()
    assert chat["object"] == "list"
    assert {"sim-echo", "my-model"} <= {model["id"] for model in chat["data"]}
    assert messages["last_id"] == "my-model"
    assert messages["has_more"] is False


async def test_unknown_paths_are_a_labelled_404(sim: Simulator, http: aiohttp.ClientSession) -> None:
    async with http.post(sim.url + "/v1/embeddings", json={}) as response:
        answer = await response.json()
    assert (response.status, response.headers["x-simulator"]) == (404, "true")
    assert "/v1/embeddings" in answer["error"]["message"]
    assert sim.calls[0].path == "/v1/embeddings"


def test_it_listens_on_loopback_only() -> None:
    with pytest.raises(ValueError, match="loopback"):
        Simulator(host="0.0.0.0")


async def test_alone_it_says_what_it_is_and_stops_on_sigterm(http: aiohttp.ClientSession) -> None:
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "adapters.providers.simulator", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        assert line.startswith(LABEL)
        url = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
        async with http.get(url) as response:
            assert "sim-paced-5ms-256" in await response.text()
            assert response.headers["x-simulator"] == "true"
        async with http.post(url + CHAT, json=asking("sim-paced-2ms-20", stream=True)) as response:
            raw = await response.read()
        assert raw.endswith(DONE)
        with pytest.raises(aiohttp.ClientError):
            async with http.post(url + CHAT, json=asking("sim-fault-reset", stream=True)) as response:
                await response.read()
        stalled = await http.post(url + CHAT, json=asking("sim-fault-stall", stream=True))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5) == 0
        stalled.close()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
