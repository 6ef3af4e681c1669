"""Recorded answers of Azure, Bedrock and Mistral, read by their own dialects and told through the doors.

Each is asked for with a plain request, whole and streamed as it was recorded. What a caller of the chat API gets,
over HTTP and over gRPC, and one of the Responses API, is what the provider sent, as `tests.support.said` reads it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import pytest
from grpc import aio

from service import wire
from service.domain.errors import Reason
from tests.contract.recorded_forms import KINDS
from tests.support.http_door import body
from tests.support.normal_form import gathered
from tests.support.recorded import Exchange, RecordedUpstream, catalog_of, read_exchanges, recorded_upstream
from tests.support.responses_form import fold_events
from tests.support.running import InProcess, ask, running_service
from tests.support.said import Said, alike, failed, of_chat, of_response, recorded
from tests.support.statuses import reason_of

USAGE: Final = {"include_usage": True}
MISSING, REFUSED, FILTERED = Reason.PROVIDER_MODEL_MISSING, Reason.PROVIDER_AUTH_FAILED, Reason.CONTENT_POLICY

# Every line of the file that has a request is in here: one that silently stops being told fails the test.
TOLD: Final = {
    "azure.chat": Counter({"answer": 38, "stream": 26, MISSING: 3, FILTERED: 3}),
    "bedrock.converse": Counter({"answer": 31, MISSING: 1, REFUSED: 1}),
    "bedrock.converse_stream": Counter({"stream": 30, MISSING: 1}),
    "mistral.chat": Counter({"answer": 7, "stream": 12}),
}
Told = list[Said] | Reason


@asynccontextmanager
async def replaying(
    kind: str, folder: Path, exchanges: list[Exchange]
) -> AsyncIterator[tuple[RecordedUpstream, InProcess]]:
    async with recorded_upstream() as upstream:
        rows = catalog_of(exchanges, upstream.url, (), KINDS[kind].dialect.name)
        async with running_service(folder, catalog=lambda *_: rows) as up:
            yield upstream, up


def chat(answer: dict[str, Any]) -> Told:
    return [of_chat(choice, answer.get("usage")) for choice in answer["choices"]]


def documents(stream: bytes) -> list[dict[str, Any]]:
    lines = (line.removeprefix(b"data: ") for line in stream.split(b"\n") if line.startswith(b"data: "))
    return [json.loads(line) for line in lines if line != b"[DONE]"]


async def posted(
    up: InProcess, session: aiohttp.ClientSession, path: str, asked: dict[str, Any]
) -> bytes | Reason:
    async with session.post(up.http + path, data=orjson.dumps(asked)) as response:
        text = await response.read()
    if response.status != 200:
        return Reason(json.loads(text)["error"]["reason"])
    assert text.endswith(b"data: [DONE]\n\n") is bool(asked.get("stream"))
    return text


async def chat_over_http(exchange: Exchange, up: InProcess, session: aiohttp.ClientSession) -> Told:
    options: dict[str, Any] = {"stream": True, "stream_options": USAGE} if exchange.streamed else {}
    text = await posted(up, session, "/v1/chat/completions", body(exchange.model, **options))
    if isinstance(text, Reason):
        return text
    return chat(gathered(documents(text)) if exchange.streamed else json.loads(text))


async def chat_over_grpc(exchange: Exchange, up: InProcess, _: aiohttp.ClientSession) -> Told:
    try:
        if exchange.streamed:
            call = up.chat.StreamChatCompletion(ask(exchange.model, stream_options=USAGE))
            return chat(gathered([json.loads(wire.render_bytes(chunk)) async for chunk in call]))
        answer = await up.chat.CreateChatCompletion(ask(exchange.model))
        return chat(json.loads(wire.render_bytes(answer)))
    except aio.AioRpcError as error:
        return Reason(reason_of(error))


async def response_over_http(exchange: Exchange, up: InProcess, session: aiohttp.ClientSession) -> Told:
    asked = {"model": exchange.model, "input": "hello", **({"stream": True} if exchange.streamed else {})}
    text = await posted(up, session, "/v1/responses", asked)
    if isinstance(text, Reason):
        return text
    if not exchange.streamed:
        return [of_response(json.loads(text))]
    events = documents(text)
    return [of_response(events[-1]["response"], fold_events(events))]


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("door", [chat_over_http, chat_over_grpc, response_over_http])
async def test_every_recorded_answer_is_told_through_the_doors_as_its_provider_gave_it(
    door: Any, kind: str, shared: Path, tmp_path: Path
) -> None:
    exchanges = [exchange for exchange in read_exchanges(shared, kind) if exchange.request is not None]
    tally: Counter[str | Reason] = Counter()
    wrong: list[str] = []
    async with replaying(kind, tmp_path, exchanges) as (upstream, up), aiohttp.ClientSession() as session:
        for exchange in exchanges:
            upstream.play(exchange)
            got = await door(exchange, up, session)
            if isinstance(got, Reason):
                tally[got] += 1
                assert failed(exchange), f"{exchange}: {got}"
                continue
            tally["stream" if exchange.streamed else "answer"] += 1
            expected = recorded(exchange)
            put_right = [alike(theirs, mine) for theirs, mine in zip(expected, got, strict=True)]
            if put_right != expected:
                wrong.append(f"{exchange}: {expected} was told as {put_right}")
    assert not wrong, f"{len(wrong)} differences:\n" + "\n".join(wrong[:20])
    assert tally == TOLD[kind]
