"""Recorded exchanges with OpenAI's Responses API, replayed through both doors.

What the recorded client sent goes in at a door; an upstream of the test's plays the recorded provider, spoken to
in the same API. What reaches it must be the recorded request, what comes back the recorded answer or the recorded
events in their order, but for the differences that `responses_form` lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from eurouter.v1 import responses_pb2
from grpc import StatusCode, aio

from service import wire
from service.domain.errors import ERRORS, Reason
from tests.support.normal_form import differences
from tests.support.recorded import Exchange, RecordedUpstream, catalog_of, read_exchanges, recorded_upstream
from tests.support.response_events import as_json
from tests.support.responses_door import ResponsesDoor
from tests.support.responses_form import (
    answer_form,
    echo_of,
    event_forms,
    fold_events,
    request_form,
)
from tests.support.responses_schema import check_event, check_response
from tests.support.running import InProcess, running_service
from tests.support.statuses import reason_of

KIND: Final = "openai.responses"

# What the recorded errors end in here.
FAILURES: Final = {
    (400, "model_not_found"): Reason.PROVIDER_MODEL_MISSING,
    (401, "invalid_api_key"): Reason.PROVIDER_AUTH_FAILED,
}

THEIR_CHAIN: Final = (
    "previous_response_id: a response that is stored at the provider, under the recorder's account"
)
THEIR_PROMPT: Final = "prompt: a template that is stored at the provider, under the recorder's account"

# The reason of our refusal.
REFUSED: Final = {
    THEIR_CHAIN: (Reason.PREVIOUS_RESPONSE_NOT_FOUND, "previous_response_id"),
    THEIR_PROMPT: (Reason.INVALID_REQUEST, "prompt"),
}

LEFT_OUT: Final = {
    4: THEIR_CHAIN,
    11: THEIR_CHAIN,
    14: THEIR_CHAIN,
    312: THEIR_PROMPT,
    313: THEIR_PROMPT,
    314: THEIR_PROMPT,
    315: THEIR_PROMPT,
}
"""By the line of the file. No other exchange names state at a provider: no item_reference, conversation, file,
vector store or container.
"""


@dataclass
class Tally:
    """What became of the exchanges."""

    answers: int = 0
    streams: int = 0
    failures: int = 0
    refused: int = 0

    @property
    def total(self) -> int:
        return self.answers + self.streams + self.failures + self.refused


# Every line of the file is in here: one that silently stops being replayed fails the test.
REPLAYED: Final = Tally(answers=85, streams=46, failures=3, refused=7)


@dataclass
class Told:
    """What came back at a door: a response, the events of a stream, or the reason of a failure."""

    answer: dict[str, Any] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    failure: Reason | None = None
    message: str = ""
    param: str | None = None


class HttpDoor:
    """POST /v1/responses; the door holds everything that it reads to the schemas."""

    def __init__(self, up: InProcess, session: aiohttp.ClientSession) -> None:
        self._door = ResponsesDoor(up, session)

    async def ask(self, request: dict[str, Any]) -> Told:
        if request.get("stream"):
            followed = await self._door.stream(request)
            assert followed.done
            return Told(events=followed.events)
        answer = await self._door.create(request)
        if answer.status == 200:
            return Told(answer.json)
        failure = Reason(answer.error["reason"])
        assert answer.status == ERRORS[failure].http
        # Nobody needs a key here: a provider's 401 must not become one of ours.
        assert answer.status != 401
        return Told(failure=failure, message=answer.error["message"], param=answer.error["param"])


class GrpcDoor:
    """ResponsesService, its answers and events as their JSON."""

    def __init__(self, up: InProcess) -> None:
        self._responses = up.responses

    async def ask(self, request: dict[str, Any]) -> Told:
        message = wire.parse(responses_pb2.CreateResponseRequest, request)
        try:
            if message.stream:
                return Told(events=[as_json(event) async for event in self._responses.StreamResponse(message)])
            return Told(as_json(await self._responses.CreateResponse(message)))
        except aio.AioRpcError as error:
            failure = Reason(reason_of(error))
            assert error.code() is StatusCode[ERRORS[failure].grpc]
            return Told(failure=failure, message=error.details() or "")


def expected_failure(exchange: Exchange) -> Reason | None:
    """What the recorded answer is a failure of, None when it is an answer."""
    if exchange.status == 200:
        return None
    assert exchange.document is not None
    return FAILURES[exchange.status, exchange.document["error"]["code"]]


async def replay(exchange: Exchange, door: HttpDoor | GrpcDoor, upstream: RecordedUpstream) -> list[str]:
    """Every difference between what was recorded and what went through `door`."""
    assert exchange.request is not None
    upstream.play(exchange)
    told = await door.ask({**exchange.request, "model": exchange.model})
    if len(upstream.received) != 1:
        return [f"reached the upstream {len(upstream.received)} times: {told.message}"]
    sent = upstream.received[0]
    found = [f"request{place}" for place in differences(request_form(exchange.request), request_form(sent))]
    if sent.get("store") is not False:
        found.append(f"request.store: {sent.get('store')!r}, where nothing may be kept upstream")
    return [*found, *answer_differences(exchange, told)]


def answer_differences(exchange: Exchange, told: Told) -> Iterator[str]:
    request = exchange.request
    assert request is not None
    failure = expected_failure(exchange)
    if failure is not None or told.failure is not None:
        if told.failure is not failure:
            yield f"ended in {told.failure} instead of {failure}: {told.message}"
        return
    if exchange.streamed:
        yield from stream_differences(exchange.chunks, told.events, request)
        recorded, answer = exchange.chunks[-1]["response"], told.events[-1]["response"]
    else:
        assert exchange.document is not None
        assert told.answer is not None
        recorded, answer = exchange.document, told.answer
    yield from differences(answer_form(recorded, request), answer_form(answer, request), "answer")
    yield from differences(*echo_of(request, answer), "echo")
    check_response(answer)


def stream_differences(
    recorded: list[dict[str, Any]], events: list[dict[str, Any]], request: dict[str, Any]
) -> Iterator[str]:
    """Events one by one, and what their deltas fold to beside what the last of them shows."""
    for event in events:
        check_event(event)
    yield from differences(event_forms(recorded, request), event_forms(events, request), "events")
    for name in ("id", "created_at", "model"):
        shown = {event["response"][name] for event in events if "response" in event}
        if len(shown) != 1:
            yield f"events.response.{name}: differs between events: {shown}"
    if [event["sequence_number"] for event in events] != list(range(len(events))):
        yield "events.sequence_number: does not count from 0 in steps of 1"
    ids = [item["id"] for item in events[-1]["response"]["output"]]
    for event in events:
        named = event.get("item_id") or event.get("item", {}).get("id")
        if named is not None and named != ids[event["output_index"]]:
            yield f"events.item_id: {named} is not the id of item {event['output_index']}"
    output = [
        {key: value for key, value in item.items() if key not in ("status", "encrypted_content")}
        for item in answer_form(events[-1]["response"], request)["output"]
    ]
    yield from differences(output, fold_events(events), "folded")


async def refused(exchange: Exchange, door: HttpDoor | GrpcDoor, upstream: RecordedUpstream) -> list[str]:
    """What is wrong with how we refuse a request that names state at a provider."""
    assert exchange.request is not None
    upstream.play(exchange)
    told = await door.ask({**exchange.request, "model": exchange.model})
    reason, param = REFUSED[LEFT_OUT[exchange.number]]
    if told.failure is reason and told.param in (param, None) and param in told.message and not upstream.received:
        return []
    return [f"refused with {told.failure} at {told.param}, {len(upstream.received)} requests went out"]


async def replay_all(
    exchanges: list[Exchange], door: HttpDoor | GrpcDoor, upstream: RecordedUpstream
) -> tuple[Tally, list[str]]:
    """What became of each, and every difference with where it was recorded."""
    tally = Tally()
    wrong: list[str] = []
    for exchange in exchanges:
        if exchange.number in LEFT_OUT:
            found = await refused(exchange, door, upstream)
            tally.refused += 1
        else:
            found = await replay(exchange, door, upstream)
            tally.failures += expected_failure(exchange) is not None
            tally.streams += exchange.status == 200 and exchange.streamed
            tally.answers += exchange.status == 200 and not exchange.streamed
        wrong += [f"{exchange}: {each}" for each in found]
    return tally, wrong


@pytest.mark.parametrize("name", ["http", "grpc"])
async def test_every_recorded_response_passes_the_door_unchanged(name: str, shared: Path, tmp_path: Path) -> None:
    exchanges = read_exchanges(shared, KIND)
    async with recorded_upstream() as upstream, aiohttp.ClientSession() as session:
        rows = catalog_of(exchanges, upstream.url, (), "openai_responses")
        async with running_service(tmp_path, catalog=lambda *_: rows) as up:
            door = HttpDoor(up, session) if name == "http" else GrpcDoor(up)
            tally, wrong = await replay_all(exchanges, door, upstream)
    assert not wrong, f"{len(wrong)} differences:\n" + "\n".join(wrong[:40])
    assert tally == REPLAYED
    assert tally.total == len(exchanges)
