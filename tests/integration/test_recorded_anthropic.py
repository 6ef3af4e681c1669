"""Recorded answers of Anthropic's Messages, told by the chat API: over HTTP and gRPC, whole and streamed.

The recorded requests are Anthropic's own and can't come in at our door, so each answer is asked for with a plain
request. What a caller gets is held to OpenAI's schema and to what Anthropic's client reads from the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from anthropic.types import Message
from google.protobuf.message import Message as ProtoMessage
from grpc import aio

from service import wire
from service.domain.errors import Reason
from tests.support.anthropic_client import read_by_client
from tests.support.http_door import Door, body
from tests.support.normal_form import fold_chunks
from tests.support.recorded import Exchange, RecordedUpstream, catalog_of, read_exchanges, recorded_upstream
from tests.support.running import InProcess, ask, running_service
from tests.support.statuses import reason_of

FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}
FAILURES: Final = {400: Reason.PROVIDER_REJECTED, 401: Reason.PROVIDER_AUTH_FAILED}
USAGE: Final = {"include_usage": True}


@asynccontextmanager
async def replaying(folder: Path, exchanges: list[Exchange]) -> AsyncIterator[tuple[RecordedUpstream, InProcess]]:
    async with recorded_upstream() as upstream:
        rows = catalog_of(exchanges, upstream.url, (), "anthropic")
        async with running_service(folder, catalog=lambda *_: rows) as up:
            yield upstream, up


def expected(message: Message) -> dict[str, Any]:
    """What a caller of the chat API reads, made of what Anthropic's client does."""
    counts = message.usage
    read, written = counts.cache_read_input_tokens or 0, counts.cache_creation_input_tokens or 0
    prompt = counts.input_tokens + read + written
    thought = counts.output_tokens_details.thinking_tokens if counts.output_tokens_details else 0
    return {
        "content": "".join(block.text for block in message.content if block.type == "text"),
        "reasoning": "".join(block.thinking for block in message.content if block.type == "thinking"),
        "sealed": [(block.thinking, block.signature) for block in message.content if block.type == "thinking"],
        "calls": [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"],
        "finish_reason": FINISH[str(message.stop_reason)],
        "tokens": (prompt, counts.output_tokens, prompt + counts.output_tokens, read, written, thought),
    }


def told(choice: dict[str, Any], message: dict[str, Any], usage: dict[str, Any]) -> dict[str, Any]:
    """The same of our answer."""
    prompt = usage.get("prompt_tokens_details") or {}
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
    return {
        "content": message.get("content") or "",
        "reasoning": message.get("reasoning") or "",
        "sealed": [(piece["text"], piece["signature"]) for piece in message.get("reasoning_details") or ()],
        "calls": [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls") or ()
        ],
        "finish_reason": choice["finish_reason"],
        "tokens": (
            usage["prompt_tokens"],
            usage["completion_tokens"],
            usage["total_tokens"],
            prompt.get("cached_tokens", 0),
            prompt.get("cache_write_tokens", 0),
            thought,
        ),
    }


def of_whole(answer: dict[str, Any]) -> dict[str, Any]:
    (choice,) = answer["choices"]
    return told(choice, choice["message"], answer["usage"])


def of_chunks(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    details = [
        detail
        for chunk in chunks
        for choice in chunk["choices"]
        for detail in choice["delta"].pop("reasoning_details", ())
    ]
    folded = fold_chunks(chunks)
    (choice,) = folded["choices"].values()
    calls = choice["delta"].pop("tool_calls", {})
    message = {**choice["delta"], "tool_calls": [calls[at] for at in sorted(calls)], "reasoning_details": details}
    return told(choice, message, folded["usage"])


def as_json(message: ProtoMessage) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(wire.render_bytes(message))
    return document


async def over_http(exchange: Exchange, door: Door) -> dict[str, Any] | Reason:
    request = body(exchange.model)
    if exchange.streamed:
        streamed = await door.stream({**request, "stream_options": USAGE})
        assert streamed.error is None
        assert streamed.done
        return of_chunks(streamed.chunks)
    answer = await door.post(request)
    return of_whole(answer.json) if answer.status == 200 else Reason(answer.error["reason"])


async def over_grpc(exchange: Exchange, up: InProcess) -> dict[str, Any] | Reason:
    try:
        if exchange.streamed:
            call = up.chat.StreamChatCompletion(ask(exchange.model, stream_options=USAGE))
            return of_chunks([as_json(chunk) async for chunk in call])
        return of_whole(as_json(await up.chat.CreateChatCompletion(ask(exchange.model))))
    except aio.AioRpcError as error:
        return Reason(reason_of(error))


@pytest.mark.parametrize("door", ["http", "grpc"])
async def test_every_recorded_answer_and_stream_is_told_as_anthropics_client_reads_it(
    door: str, shared: Path, tmp_path: Path
) -> None:
    exchanges = read_exchanges(shared, "anthropic.messages")
    tally: Counter[str] = Counter()
    wrong: list[str] = []
    async with replaying(tmp_path, exchanges) as (upstream, up), aiohttp.ClientSession() as session:
        for exchange in exchanges:
            upstream.play(exchange)
            got = await (over_http(exchange, Door(up, session)) if door == "http" else over_grpc(exchange, up))
            wanted: dict[str, Any] | Reason | None = FAILURES.get(exchange.status)
            tally["stream" if exchange.streamed else "failure" if wanted else "answer"] += 1
            wanted = wanted or expected(read_by_client(exchange.body.encode()))
            if got != wanted:
                wrong.append(f"{exchange}: {wanted} was told as {got}")
    assert not wrong, f"{len(wrong)} differences:\n" + "\n".join(wrong[:20])
    # Nothing is left out.
    assert tally == {"answer": 90, "stream": 81, "failure": 2}
