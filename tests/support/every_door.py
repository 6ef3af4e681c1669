"""One question through each door, whole and streamed: what was said, or why nothing was.

All doors are read into the same two shapes, so that a scenario is written once for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeAlias

import aiohttp
import orjson
import pytest
from grpc import aio

from service.wire import render_bytes
from tests.support.http_door import CHAT, Door
from tests.support.responses_door import RESPONSES, ResponsesDoor
from tests.support.running import InProcess, ask, ask_response
from tests.support.statuses import info_of

DOORS: Final = tuple(
    f"{api} {wire}{streamed}"
    for api in ("chat", "responses")
    for wire in ("HTTP", "gRPC")
    for streamed in ("", ", streamed")
)
QUESTION: Final = "What to wear in Oslo?"

Fields: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Said:
    """An answer. `finish` in the Chat API's words; `tokens`: input, output, cached; `cost` with its currency.

    `decision`: headers, or gRPC's initial or trailing metadata.
    """

    text: str
    finish: str
    tokens: tuple[int, int, int]
    cost: tuple[Decimal, str]
    decision: Mapping[str, str]


@dataclass(frozen=True)
class Refused:
    """A failed call. `status`: HTTP's as a number or gRPC's by its name; `endpoints`: why each was of no use."""

    status: str
    reason: str
    endpoints: Mapping[str, str]


async def said(up: InProcess, session: aiohttp.ClientSession, door: str, model: str, **fields: Any) -> Said:
    """The answer of `model`; `fields` are those that both APIs have."""
    api, _, rest = door.partition(" ")
    stream = rest.endswith("streamed")
    if rest.startswith("HTTP"):
        through = _chat_http if api == "chat" else _responses_http
        return await through(up, session, model, stream, fields)
    return await (_chat_grpc if api == "chat" else _responses_grpc)(up, model, stream, fields)


async def refused(up: InProcess, session: aiohttp.ClientSession, door: str, model: str, **fields: Any) -> Refused:
    """The error of a call that brings nothing; a failed test when it does."""
    api, _, rest = door.partition(" ")
    stream = rest.endswith("streamed")
    if rest.startswith("HTTP"):
        path, body = (CHAT, _chat_body(model)) if api == "chat" else (RESPONSES, _response_body(model))
        answer = await Door(up, session).call("POST", path, json={**body, **fields, "stream": stream})
        listed = {each["endpoint"]: each["message"] for each in answer.error.get("endpoints", ())}
        return Refused(str(answer.status), answer.error["reason"], listed)
    with pytest.raises(aio.AioRpcError) as caught:
        await said(up, session, door, model, **fields)
    info = info_of(caught.value)
    named = {name: why for name, why in info.metadata.items() if name.startswith("endpoint.")}
    listed = {name.removeprefix("endpoint."): why for name, why in named.items()}
    return Refused(caught.value.code().name, info.reason, listed)


async def _chat_http(
    up: InProcess, session: aiohttp.ClientSession, model: str, stream: bool, fields: Fields
) -> Said:
    door, body = Door(up, session), {**_chat_body(model), **fields}
    if not stream:
        answer = await door.post(body)
        assert answer.status == 200, answer.raw
        return _of_completion(_exact(answer.raw), answer.headers)
    streamed = await door.stream({**body, "stream_options": {"include_usage": True}})
    assert streamed.error is None, streamed.error
    assert streamed.done
    return _of_chunks(streamed.chunks, streamed.headers)


async def _chat_grpc(up: InProcess, model: str, stream: bool, fields: Fields) -> Said:
    if not stream:
        call = up.chat.CreateChatCompletion(ask(model, QUESTION, **fields))
        answer = _exact(render_bytes(await call))
        return _of_completion(answer, dict(await call.trailing_metadata()))
    request = ask(model, QUESTION, stream_options={"include_usage": True}, **fields)
    streaming = up.chat.StreamChatCompletion(request)
    chunks = [_exact(render_bytes(chunk)) async for chunk in streaming]
    return _of_chunks(chunks, dict(await streaming.initial_metadata()))


async def _responses_http(
    up: InProcess, session: aiohttp.ClientSession, model: str, stream: bool, fields: Fields
) -> Said:
    door, body = ResponsesDoor(up, session), {**_response_body(model), **fields}
    if not stream:
        answer = await door.create(body)
        assert answer.status == 200, answer.raw
        return _of_response(_exact(answer.raw), answer.headers)
    followed = await door.stream(body)
    told = _of_response(followed.response, followed.headers)
    assert followed.text == told.text
    return told


async def _responses_grpc(up: InProcess, model: str, stream: bool, fields: Fields) -> Said:
    if not stream:
        call = up.responses.CreateResponse(ask_response(model, QUESTION, **fields))
        answer = _exact(render_bytes(await call))
        return _of_response(answer, dict(await call.trailing_metadata()))
    streaming = up.responses.StreamResponse(ask_response(model, QUESTION, **fields))
    events = [event async for event in streaming]
    last = events[-1]
    terminal = getattr(last, last.WhichOneof("event") or "").response
    return _of_response(_exact(render_bytes(terminal)), dict(await streaming.initial_metadata()))


def _chat_body(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": QUESTION}]}


def _response_body(model: str) -> dict[str, Any]:
    return {"model": model, "input": QUESTION}


def _exact(body: bytes) -> Any:
    return orjson.loads(body)


def _of_completion(answer: Any, decision: Mapping[str, str]) -> Said:
    (choice,) = answer["choices"]
    message = choice["message"]
    text = message.get("content") or message.get("refusal") or ""
    return Said(text, choice["finish_reason"], *_chat_usage(answer["usage"]), decision)


def _of_chunks(chunks: list[dict[str, Any]], decision: Mapping[str, str]) -> Said:
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    deltas = [choice["delta"] for choice in choices]
    text = "".join(delta.get("content") or delta.get("refusal") or "" for delta in deltas)
    (finish,) = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    (usage,) = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    return Said(text, finish, *_chat_usage(usage), decision)


def _of_response(answer: Any, decision: Mapping[str, str]) -> Said:
    parts = [part for item in answer["output"] if item["type"] == "message" for part in item["content"]]
    text = "".join(part.get("text") or part.get("refusal") or "" for part in parts)
    finish = "stop"
    if answer["status"] == "incomplete":
        finish = answer["incomplete_details"]["reason"]
    elif any(item["type"] == "function_call" for item in answer["output"]):
        finish = "tool_calls"
    usage = answer["usage"]
    cached = usage["input_tokens_details"]["cached_tokens"]
    return Said(text, finish, (usage["input_tokens"], usage["output_tokens"], cached), _cost(usage), decision)


def _chat_usage(usage: Any) -> tuple[tuple[int, int, int], tuple[Decimal, str]]:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return (usage["prompt_tokens"], usage["completion_tokens"], cached), _cost(usage)


def _cost(usage: Any) -> tuple[Decimal, str]:
    return Decimal(str(usage["cost"])), usage["currency"]
