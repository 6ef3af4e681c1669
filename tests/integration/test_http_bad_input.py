"""Wrong requests over HTTP: each ends in its status with the field's path, and nothing reaches an upstream."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.edge.http_app import NOT_OFFERED
from tests.support.http_door import CHAT, PREFIXES, Door, body, http_door

F = {"type": "function", "function": {"name": "f"}}
USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}


def spoken(arguments: str) -> list[dict[str, Any]]:
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    return [USER, {"role": "assistant", "tool_calls": [call]}]


def said(part: object) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [part]}]


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with http_door(tmp_path, {"http": {"max_body_bytes": 100_000}}) as opened:
        yield opened


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"model": 5}, "model"),
    ({"models": "sim/alpha"}, "models"),
    ({"models": ["sim/alpha", 5]}, "models[1]"),
    ({"models": ["sim/alpha", ""]}, "models[1]"),
    ({"rule_id": "not-a-uuid"}, "rule_id"),
    ({"rule_id": "11111111-1111-9111-8111-111111111111"}, "rule_id"),
    ({"rule_name": ""}, "rule_name"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": {}}, "messages"),
    ({"messages": ["hi"]}, "messages[0]"),
    ({"messages": [{"content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"model": "sim/beta", "messages": said({"type": "smell"})}, "messages[0].content[0]"),
    ({"messages": said({"type": "text"})}, "messages[0].content[0].text"),
    ({"messages": said({"type": "image_url", "image_url": {}})}, "messages[0].content[0].image_url.url"),
    (
        {"messages": said({"type": "image_url", "image_url": {"url": "a.png"}})},
        "messages[0].content[0].image_url.url",
    ),
    (
        {"messages": said({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "aiff"}})},
        "messages[0].content[0].input_audio.format",
    ),
    ({"messages": said({"type": "file", "file": {"file_id": "file-1"}})}, "messages[0].content[0].file.file_id"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ({"messages": [{**USER, "colour": "red"}]}, "messages[0].colour"),
    ({"messages": [{**USER, "tool_calls": [CALL]}]}, "messages[0].tool_calls"),
    ({"messages": spoken('{"a":')}, "messages[1].tool_calls[0].function.arguments"),
    ({"messages": spoken("[]")}, "messages[1].tool_calls[0].function.arguments"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": -1}, "max_completion_tokens"),
    ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
    ({"max_completion_tokens": 2**40}, "max_completion_tokens"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"frequency_penalty": -2.1}, "frequency_penalty"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"top_logprobs": 1}, "top_logprobs"),
    ({"seed": "1"}, "seed"),
    ({"seed": 0.5}, "seed"),
    ({"logit_bias": {"7": 101}}, "logit_bias.7"),
    ({"logit_bias": {"x": 1}}, "logit_bias.x"),
    ({"logit_bias": [1]}, "logit_bias"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": 5}, "stop"),
    ({"stop": ["a", 5]}, "stop[1]"),
    ({"reasoning": {"effort": "Very High!"}}, "reasoning.effort"),
    ({"reasoning": {"summary": 5}}, "reasoning.summary"),
    ({"reasoning": {"effort": "low"}, "reasoning_effort": "high"}, "reasoning_effort"),
    ({"model": "sim/beta", "response_format": {"type": "poem"}}, "response_format"),
    ({"response_format": {**FORMAT, "json_schema": {"name": "a b"}}}, "response_format.json_schema.name"),
    (
        {"response_format": {**FORMAT, "json_schema": {"name": "n", "schema": 5}}},
        "response_format.json_schema.schema",
    ),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [F], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice.function.name"),
    ({"tools": [{"type": "function", "function": {"name": "a.b"}}]}, "tools[0].function.name"),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
        "tools[0].function.parameters",
    ),
    ({"tools": [F, F]}, "tools[1].function.name"),
    ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
    ({"metadata": {"k": "v" * 513}}, "metadata.k"),
    ({"metadata": {"k": 5}}, "metadata.k"),
    ({"metadata": "k"}, "metadata"),
    ({"n": 0}, "n"),
    ({"user": 5}, "user"),
    ({"provider": {"sort": "beauty"}}, "provider.sort"),
    ({"provider": {"order": "alpha"}}, "provider.order"),
    ({"provider": {"quantizations": ["int3"]}}, "provider.quantizations[0]"),
    ({"provider": {"data_collection": "maybe"}}, "provider.data_collection"),
    ({"provider": {"data_residency": "mars"}}, "provider.data_residency"),
    ({"provider": {"max_retention_days": -1}}, "provider.max_retention_days"),
    ({"provider": {"colour": "red"}}, "provider.colour"),
    ({"frobnicate": 1}, "frobnicate"),
]


async def test_each_rule_of_the_api_is_a_400_that_names_the_field_and_nothing_goes_upstream(door: Door) -> None:
    wrong: list[tuple[object, ...]] = []
    for fields, path in WRONG:
        for prefix in PREFIXES:
            answer = await door.post(body(**fields), f"{prefix}/chat/completions")
            if answer.status != 400:
                wrong.append((fields, path, answer.status, answer.raw[:200]))
                continue
            found = (answer.status, answer.error["param"], answer.headers["x-should-retry"])
            if found != (400, path, "false"):
                wrong.append((fields, path, found, answer.raw[:200]))
                continue
            assert answer.error["type"] == "invalid_request_error"
            assert path in answer.error["message"]
            assert answer.error["details"][0]["field"] == path
            assert answer.json["requestId"] == answer.headers["x-request-id"]
            if prefix == "/api/v1":
                assert answer.error["code"] == "BAD_REQUEST"
            else:
                assert answer.error["code"] in ("invalid_value", "unknown_parameter", "unsupported_parameter")
    assert not wrong, "\n".join(map(str, wrong))
    assert door.up.alpha.calls == ()
    assert door.up.beta.calls == ()


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": "nobody/knows"}, "model", "model_not_found"),
        ({"models": ["sim/alpha", "nobody/knows"]}, "models[1]", "model_not_found"),
        ({"rule_name": "no such rule"}, "rule_name", "rule_not_found"),
        ({"rule_id": "00000000-0000-0000-0000-000000000000"}, "rule_id", "rule_not_found"),
    ],
)
async def test_unknown_names_are_a_404_that_says_which(
    door: Door, prefix: str, fields: dict[str, Any], param: str, code: str
) -> None:
    answer = await door.post(body(**fields), f"{prefix}/chat/completions")
    assert answer.status == 404
    assert answer.error["param"] == param
    assert answer.error["code"] == (code if prefix == "/v1" else "NOT_FOUND")
    assert answer.headers["x-should-retry"] == "false"
    assert door.up.alpha.calls == ()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"  \n",
        b"{",
        b"{'model': 1}",
        b"[]",
        b'"text"',
        b"null",
        b"1",
        b"\xff\xfe{\x00}\x00",
        b'{"model": "\xc3\x28"}',
        b'{"model": "\\ud800"}',
        b'{"model": "sim/alpha", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        b'{"model": "sim/alpha", "messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
        b'{"model": "sim/alpha", "messages": [{"role": "user", "content": "x"}]} trailing',
        b"[" * 50_000 + b"]" * 49_000,
        b'{"a":' * 15_000 + b"1" + b"}" * 15_000,
        b"--x\r\ncontent-disposition: form-data; name=model\r\n\r\nsim/alpha\r\n--x--",
    ],
)
async def test_a_body_that_is_no_json_object_is_a_400_that_says_so(door: Door, sent: bytes) -> None:
    answer = await door.post(sent)
    assert answer.status == 400
    assert answer.error["reason"] == "MALFORMED_BODY"
    assert answer.error["code"] is None
    assert answer.error["param"] is None
    assert len(answer.raw) < 1000
    assert door.up.alpha.calls == ()


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        (b'{"seed": 1%b, %b}' % (b"0" * 30, b"%b"), "seed"),
        (b'{"max_tokens": 1%b, %b}' % (b"0" * 25, b"%b"), "max_tokens"),
        (b'{"deep": %b1%b, %b}' % (b"[" * 400, b"]" * 400, b"%b"), "deep"),
        (b'{"metadata": {"a": %b1%b}, %b}' % (b"[" * 400, b"]" * 400, b"%b"), "metadata.a"),
    ],
)
async def test_numbers_and_depths_that_nothing_holds_are_named(door: Door, sent: bytes, param: str) -> None:
    answer = await door.post(sent % b'"model": "sim/alpha", "messages": [{"role": "user", "content": "x"}]')
    assert answer.status == 400
    assert answer.error["param"] == param


@pytest.mark.parametrize("stream", [False, True])
async def test_a_body_over_the_limit_is_a_413_and_the_next_call_works(door: Door, stream: bool) -> None:
    for prefix in PREFIXES:
        answer = await door.post(body(text="x" * 150_000, stream=stream), f"{prefix}/chat/completions")
        assert answer.status == 413
        assert answer.error["code"] == ("request_too_large" if prefix == "/v1" else "BAD_REQUEST")
        assert answer.error["reason"] == "BODY_TOO_LARGE"
        assert "100000 bytes" in answer.error["message"]
        assert answer.headers["x-should-retry"] == "false"
    assert door.up.alpha.calls == ()
    assert (await door.post(body(text="x" * 90_000))).status == 200


async def test_compressed_bodies_are_read_and_the_limit_holds_for_what_they_become(door: Door) -> None:
    plain = json.dumps(body(text="compressed")).encode()
    for coding, data in (("gzip", gzip.compress(plain)), ("deflate", zlib.compress(plain))):
        answer = await door.post(data, headers={"content-encoding": coding})
        assert answer.status == 200, coding
        assert door.up.alpha.calls[-1].body["messages"][0]["content"] == "compressed"
    door.up.alpha.forget_calls()
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 60_000
    assert (await door.post(bomb, headers={"content-encoding": "gzip"})).status == 413
    broken = await door.post(b"not gzip at all", headers={"content-encoding": "gzip"})
    assert broken.status == 400
    assert "content-encoding" in broken.error["message"]
    short = await door.post(gzip.compress(plain)[:-12], headers={"content-encoding": "gzip"})
    assert short.status == 400
    unknown = await door.post(b"\x01\x02", headers={"content-encoding": "x-own"})
    assert unknown.status == 400
    assert door.up.alpha.calls == ()
    assert (await door.post(body())).status == 200


async def test_a_client_that_expects_100_continue_is_told_to_go_on(door: Door) -> None:
    answer = await door.post(body(), expect100=True)
    assert answer.status == 200


async def test_json_counts_whatever_the_content_type_says(door: Door) -> None:
    sent = json.dumps(body()).encode()
    for kind in ("application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded"):
        assert (await door.post(sent, headers={"content-type": kind})).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/chat/completions",
        "/models",
        "/v1",
        "/v1/",
        "/api/v1/",
        "/v1/v1/chat/completions",
        "/v1/chat/completions/",
        "/v1/chat",
        "/v2/chat/completions",
        "/api/v1/v1/models",
        "/openai/deployments/gpt/chat/completions",
        "/v1/models/",
        "//v1/models",
        "/v1/%ff%00%0d%0a",
        "/livez",
        "/metrics",
    ],
)
async def test_an_unknown_path_is_a_json_404_that_names_the_base_url(door: Door, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = await door.call(method, path)
        assert answer.status == 404
        assert f"{door.up.http}/v1" in answer.error["message"]
        assert answer.error["code"] == ("NOT_FOUND" if path.startswith("/api/v1") else "not_found")
        assert answer.error["reason"] == "ROUTE_NOT_FOUND"
        assert answer.headers["x-should-retry"] == "false"
        assert answer.json["requestId"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_an_api_that_is_not_offered_is_a_404_that_names_it(door: Door, prefix: str) -> None:
    assert {"embeddings", "messages", "batches", "conversations", "realtime"} <= NOT_OFFERED.keys()
    paths = [*NOT_OFFERED, "conversations/conv_1/items", "audio/transcriptions", "messages/count_tokens"]
    for path in paths:
        for method in ("POST", "GET"):
            answer = await door.call(method, f"{prefix}/{path}")
            assert answer.status == 404
            assert answer.error["reason"] == "API_NOT_OFFERED"
            assert NOT_OFFERED[path.split("/", 1)[0]] in answer.error["message"]
            assert "not offered" in answer.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", CHAT, "POST"),
        ("DELETE", CHAT, "POST"),
        ("OPTIONS", CHAT, "POST"),
        ("GET", "/v1/responses", "POST"),
        ("POST", "/v1/responses/resp_1", "DELETE, GET"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("PUT", "/api/v1/providers", "GET, HEAD"),
        ("DELETE", "/v1/models/sim/alpha", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_a_405_that_names_the_right_one(
    door: Door, method: str, path: str, allowed: str
) -> None:
    answer = await door.call(method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == allowed
    assert allowed in answer.error["message"]
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    "sent",
    [
        b"NONSENSE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer eur_\x01\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + b"x" * 9000 + b"\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\ncontent-length: 11\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\n{}",
        b'GET /v1/unknown HTTP/1.1\r\nhost: \xff\xfe"<>\r\n\r\n',
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nexpect: miracles\r\ncontent-length: 2\r\n\r\n{}",
        b"CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /v1/models HTTP/9.9\r\nhost: a\r\n\r\n",
    ],
)
async def test_what_is_no_proper_http_is_refused_and_the_door_stays_open(door: Door, sent: bytes) -> None:
    host, port = door.up.http.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    writer.write_eof()
    async with asyncio.timeout(5):
        answered = await reader.read(65536)
    writer.close()
    if answered:
        assert answered.split(b" ")[1][:1] == b"4", answered
    assert (await door.post(body())).status == 200


async def test_a_client_that_never_sends_its_body_is_answered_when_its_time_is_over(tmp_path: Path) -> None:
    times = {"deadlines": {"default_seconds": 0.2, "max_seconds": 1}}
    async with http_door(tmp_path, times) as door:
        host, port = door.up.http.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{")
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        assert head.startswith(b"HTTP/1.1 504")
        assert b"x-should-retry: false" in head
