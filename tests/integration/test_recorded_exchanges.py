"""Recorded exchanges with OpenAI, Azure, Mistral and compatible servers, replayed through both doors.

What the recorded client sent goes in at a door; an upstream of the test's plays the recorded provider. What
reaches it must be the recorded request, what comes back the recorded answer, but for the differences that
`normal_form` lists. Bodies only: paths and keys are rows of the catalogue.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import pytest
from eurouter.v1 import chat_pb2
from google.protobuf.message import Message
from grpc import StatusCode, aio

from service import wire
from service.domain.errors import ERRORS, Reason
from tests.support.normal_form import answer_form, differences, fold_chunks, request_form, usage_is_held_back
from tests.support.recorded import Exchange, RecordedUpstream, catalog_of, read_exchanges, recorded_upstream
from tests.support.running import InProcess, running_service
from tests.support.statuses import reason_of

KINDS: Final = ("openai.chat", "azure.chat", "compat.chat", "mistral.chat")

# The dialects that speak to the recorded providers; openai_chat for the others.
DIALECTS: Final = {"azure.chat": "azure", "mistral.chat": "mistral"}

# Mistral's streams end with their usage, and the API refuses the option that asks for it.
TELL_USAGE_UNASKED: Final = {"mistral.chat"}

# What the recorded errors end in here: by status, or by what an answer with status 200 lacks.
FAILURES: Final = {
    400: Reason.PROVIDER_REJECTED,
    401: Reason.PROVIDER_AUTH_FAILED,
    404: Reason.PROVIDER_MODEL_MISSING,
}

NO_REQUEST: Final = "the recorder kept no request"
BARE_IMAGE: Final = "an image as a bare string: OpenAI's preview of 2023, its documented API takes an object"
MISTRALS_ANY: Final = "tool_choice `any`: Mistral's own word, not one of the API that we offer (`required`)"

# The field that our refusal names.
REFUSED: Final = {BARE_IMAGE: "messages[0].content[1].image_url", MISTRALS_ANY: "tool_choice"}


@dataclass
class Tally:
    """What became of a kind's exchanges; `left_out` by reason."""

    answers: int = 0
    streams: int = 0
    failures: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.answers + self.streams + self.failures + sum(self.left_out.values())

    def count(self, exchange: Exchange, why_left_out: str | None) -> None:
        if why_left_out is not None:
            self.left_out[why_left_out] = self.left_out.get(why_left_out, 0) + 1
        elif expected_failure(exchange) is not None:
            self.failures += 1
        elif exchange.streamed:
            self.streams += 1
        else:
            self.answers += 1


# Every line of the file is in here: one that silently stops being replayed fails the test.
REPLAYED: Final = {
    "openai.chat": Tally(answers=446, streams=132, failures=15, left_out={BARE_IMAGE: 1}),
    "azure.chat": Tally(answers=38, streams=26, failures=6, left_out={NO_REQUEST: 3}),
    "compat.chat": Tally(answers=66, streams=20, failures=0),
    "mistral.chat": Tally(answers=7, streams=10, failures=0, left_out={MISTRALS_ANY: 2}),
}


def why_left_out(exchange: Exchange) -> str | None:
    """The reason for which an exchange can't be replayed, None for nearly all."""
    if exchange.request is None:
        return NO_REQUEST
    if exchange.request.get("tool_choice") == "any":
        return MISTRALS_ANY
    contents = [message.get("content") for message in exchange.request["messages"]]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return BARE_IMAGE if any(isinstance(part.get("image_url"), str) for part in parts) else None


def expected_failure(exchange: Exchange) -> Reason | None:
    """What the recorded answer is a failure of, None when it is an answer."""
    if exchange.status != 200:
        return FAILURES[exchange.status]
    if not exchange.body:
        # The recorder lost three bodies: to us a provider that says nothing.
        return Reason.PROVIDER_BROKEN_ANSWER
    # Azure's content filter says no with status 200.
    return Reason.CONTENT_POLICY if exchange.document and "error" in exchange.document else None


@dataclass
class Told:
    """What came back at a door: an answer, the documents of a stream, or the reason of a failure."""

    answer: dict[str, Any] | None = None
    chunks: list[dict[str, Any]] | None = None
    failure: Reason | None = None
    message: str = ""
    code: str | None = None
    param: str | None = None


class HttpDoor:
    """POST /v1/chat/completions."""

    def __init__(self, up: InProcess, session: aiohttp.ClientSession) -> None:
        self._url = f"{up.http}/v1/chat/completions"
        self._session = session

    async def ask(self, request: dict[str, Any]) -> Told:
        async with self._session.post(self._url, data=orjson.dumps(request)) as response:
            body = await response.read()
        if response.status != 200:
            error = json.loads(body)["error"]
            failure = Reason(error["reason"])
            assert response.status == ERRORS[failure].http
            # Nobody needs a key here: a provider's 401 must not become one of ours.
            assert response.status != 401
            return Told(failure=failure, message=error["message"], code=error["code"], param=error["param"])
        if request.get("stream"):
            assert response.content_type == "text/event-stream"
            return Told(chunks=list(documents_of(body)))
        return Told(json.loads(body))


class GrpcDoor:
    """ChatService, its answers as their JSON."""

    def __init__(self, up: InProcess) -> None:
        self._chat = up.chat

    async def ask(self, request: dict[str, Any]) -> Told:
        message = wire.parse(chat_pb2.CreateChatCompletionRequest, request)
        try:
            if message.stream:
                return Told(chunks=[as_json(chunk) async for chunk in self._chat.StreamChatCompletion(message)])
            return Told(as_json(await self._chat.CreateChatCompletion(message)))
        except aio.AioRpcError as error:
            failure = Reason(reason_of(error))
            assert error.code() is StatusCode[ERRORS[failure].grpc]
            return Told(failure=failure, message=error.details() or "")


def as_json(message: Message) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(wire.render_bytes(message))
    return document


def documents_of(body: bytes) -> Iterator[dict[str, Any]]:
    """The documents of an event stream of ours: one `data` line each, comments between them, [DONE] at the end."""
    *events, done, rest = body.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    for event in events:
        if not event.startswith(b":"):
            assert event.startswith(b"data: ")
            assert b"\n" not in event
            yield json.loads(event.removeprefix(b"data: "))


@asynccontextmanager
async def replaying(
    folder: Path, exchanges: Iterable[Exchange], dialect: str
) -> AsyncIterator[tuple[RecordedUpstream, InProcess]]:
    """The service with a model for each exchange, and the upstream that plays them."""
    exchanges = list(exchanges)
    named = chat_pb2.CreateChatCompletionRequest.DESCRIPTOR.fields_by_name
    unnamed = {name for exchange in exchanges for name in exchange.request or () if name not in named}
    async with recorded_upstream() as upstream:
        rows = catalog_of(exchanges, upstream.url, unnamed, dialect)
        async with running_service(folder, catalog=lambda *_: rows) as up:
            yield upstream, up


async def replay(exchange: Exchange, door: HttpDoor | GrpcDoor, upstream: RecordedUpstream) -> list[str]:
    """Every difference between what was recorded and what went through `door`."""
    assert exchange.request is not None
    upstream.play(exchange)
    told = await door.ask({**exchange.request, "model": exchange.model})
    if len(upstream.received) != 1:
        return [f"reached the upstream {len(upstream.received)} times: {told.message}"]
    sent = upstream.received[0]
    found = [f"request{place}" for place in differences(request_form(exchange.request), request_form(sent))]
    asked = sent.get("stream_options", {}).get("include_usage") is True
    if exchange.streamed and asked is (exchange.kind in TELL_USAGE_UNASKED):
        found.append("request.stream_options: usage is not asked for as this provider wants it")
    return [*found, *answer_differences(exchange, told)]


def answer_differences(exchange: Exchange, told: Told) -> Iterator[str]:
    failure = expected_failure(exchange)
    if failure is not None or told.failure is not None:
        if told.failure is not failure:
            yield f"ended in {told.failure} instead of {failure}: {told.message}"
        elif failure is Reason.PROVIDER_REJECTED:
            yield from rejection_differences(exchange, told)
        return
    if not exchange.streamed:
        assert exchange.document is not None
        assert told.answer is not None
        yield from differences(answer_form(exchange.document), answer_form(told.answer), "answer")
        return
    assert told.chunks is not None
    asked = bool((exchange.request or {}).get("stream_options", {}).get("include_usage"))
    yield from chunk_rules(told.chunks, with_usage=asked)
    recorded = fold_chunks(exchange.chunks)
    if not asked:
        recorded = usage_is_held_back(recorded)
    yield from differences(answer_form(recorded), answer_form(fold_chunks(told.chunks)), "stream")


def rejection_differences(exchange: Exchange, told: Told) -> Iterator[str]:
    """The caller can mend it, so the provider's own words must arrive."""
    assert exchange.document is not None
    error = exchange.document["error"]
    if error["message"] not in told.message:
        yield f"error.message: {error['message']} became {told.message}"
    if told.code is not None and told.code != error["code"]:
        yield f"error.code: {error['code']} became {told.code}"


def chunk_rules(chunks: list[dict[str, Any]], *, with_usage: bool) -> Iterator[str]:
    """What holds for the chunks of every stream of ours."""
    for name in ("id", "object", "created", "model", "provider"):
        if len({chunk.get(name) for chunk in chunks}) != 1:
            yield f"stream.{name}: differs between chunks"
    telling = [chunk for chunk in chunks if chunk.get("usage")]
    if with_usage and not (telling == chunks[-1:] and not chunks[-1]["choices"]):
        yield "stream.usage: does not stand in one last chunk without choices"
    if not with_usage and telling:
        yield "stream.usage: told although nobody asked"


async def refused(exchange: Exchange, door: HttpDoor, upstream: RecordedUpstream, param: str) -> list[str]:
    """What is wrong with how we refuse a request that the API which we offer has no room for."""
    assert exchange.request is not None
    upstream.play(exchange)
    told = await door.ask({**exchange.request, "model": exchange.model})
    if (told.failure, told.param, upstream.received) == (Reason.INVALID_REQUEST, param, []):
        return []
    return [f"refused with {told.failure} at {told.param}, {len(upstream.received)} requests went out"]


async def replay_all(
    exchanges: list[Exchange], door: HttpDoor | GrpcDoor, upstream: RecordedUpstream
) -> tuple[Tally, list[str]]:
    """What became of each, and every difference with where it was recorded."""
    tally = Tally()
    wrong: list[str] = []
    for exchange in exchanges:
        found: list[str] = []
        why = why_left_out(exchange)
        if why is None:
            found = await replay(exchange, door, upstream)
        elif why in REFUSED and isinstance(door, HttpDoor):
            found = await refused(exchange, door, upstream, REFUSED[why])
        wrong += [f"{exchange}: {each}" for each in found]
        tally.count(exchange, why)
    return tally, wrong


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["http", "grpc"])
async def test_every_recorded_exchange_passes_the_door_unchanged(
    name: str, kind: str, shared: Path, tmp_path: Path
) -> None:
    exchanges = read_exchanges(shared, kind)
    dialect = DIALECTS.get(kind, "openai_chat")
    async with replaying(tmp_path, exchanges, dialect) as (upstream, up), aiohttp.ClientSession() as session:
        door = HttpDoor(up, session) if name == "http" else GrpcDoor(up)
        tally, wrong = await replay_all(exchanges, door, upstream)
    assert not wrong, f"{len(wrong)} differences:\n" + "\n".join(wrong[:40])
    assert tally == REPLAYED[kind]
    assert tally.total == len(exchanges)
