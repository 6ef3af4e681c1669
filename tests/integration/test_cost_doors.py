"""What an answer costs, through every door: in usage, headers and trailers, in what is stored, in metrics."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import openai
import pytest
from eurouter.v1 import response_object_pb2
from eurouter.v1 import responses_pb2 as pb
from grpc import aio
from openai.types.chat import ChatCompletionMessageParam

from adapters.providers.simulator import Cut, Script, Usage
from service.wire import render_bytes
from tests.support.background import ended
from tests.support.http_door import Answer, Door, body
from tests.support.responses_door import ResponsesDoor, asked, responses_door
from tests.support.running import InProcess, Rows, ask, ask_response, two_dialects

DIALECTS: Final = pytest.mark.parametrize("model", ["sim/alpha", "sim/beta"])
HELLO: Final[list[ChatCompletionMessageParam]] = [{"role": "user", "content": "hello"}]
# In euros 2.15, 0.215 and 8.6 per million: 40 x 2.15 + 60 x 0.215 + 20 x 8.6.
PRICE: Final = {"prompt": 2.5, "completion": 10, "cache_read": 0.25, "currency": "USD"}
USAGE: Final = Usage(100, 20, cached_tokens=60)
COST: Final = "0.0002709"


def priced(alpha: str, beta: str) -> Rows:
    """Every endpoint of the usual catalogue at one price in dollars; sim/free costs nothing."""
    rows = two_dialects(alpha, beta)
    endpoints = [endpoint for row in rows["models"] for endpoint in row["endpoints"]]
    for endpoint in endpoints:
        endpoint["price"] = PRICE
    nothing = {"provider": "alpha", "model": "one", "price": {"prompt": 0, "completion": 0}}
    free = {"id": "sim/free", "endpoints": [nothing]}
    return {**rows, "currency": "EUR", "exchange_rates": {"USD": 0.86}, "models": [*rows["models"], free]}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[ResponsesDoor]:
    async with responses_door(tmp_path, catalog=priced) as opened:
        for upstream in (opened.up.alpha, opened.up.beta):
            upstream.script(Script(text="a b c", usage=USAGE))
        yield opened


@pytest.fixture
def up(door: ResponsesDoor) -> InProcess:
    return door.up


@pytest.fixture
async def sdk(up: InProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{up.http}/v1", api_key="sk-anything", max_retries=0) as made:
        yield made


def exact(answer: Answer) -> Any:
    """The answer with its numbers as they are written."""
    return json.loads(answer.raw, parse_float=Decimal)


def told(usage: Any) -> tuple[str, str]:
    """The cost and its currency in a protobuf usage."""
    assert usage.HasField("cost")
    return usage.cost, usage.currency


@DIALECTS
async def test_a_chat_answer_has_its_cost_in_its_usage_and_its_headers(door: ResponsesDoor, model: str) -> None:
    answer = await Door(door.up, door.session).post(body(model))
    usage = exact(answer)["usage"]
    assert (usage["cost"], usage["currency"]) == (Decimal(COST), "EUR")
    assert b'"cost":0.0002709' in answer.raw
    assert usage["prompt_tokens_details"]["cached_tokens"] == 60
    assert (answer.headers["x-cost"], answer.headers["x-cost-currency"]) == (COST, "EUR")


@DIALECTS
async def test_openais_client_reads_the_cost_of_answers_and_streams(sdk: openai.AsyncOpenAI, model: str) -> None:
    raw = await sdk.chat.completions.with_raw_response.create(model=model, messages=HELLO)
    assert raw.headers["x-cost"] == COST
    usage = raw.parse().usage
    assert usage is not None
    assert usage.model_extra == {"cost": float(COST), "currency": "EUR"}
    stream = await sdk.chat.completions.create(
        model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    last = chunks[-1].usage
    assert last is not None
    assert last.model_extra == {"cost": float(COST), "currency": "EUR"}


async def test_a_stream_that_asks_for_no_usage_has_no_cost_over_http(door: ResponsesDoor) -> None:
    streamed = await Door(door.up, door.session).stream(body())
    assert streamed.done
    assert not [chunk for chunk in streamed.chunks if "usage" in chunk]
    assert "x-cost" not in streamed.headers


@DIALECTS
async def test_a_call_over_grpc_has_its_cost_in_its_trailers(up: InProcess, model: str) -> None:
    call = up.chat.CreateChatCompletion(ask(model))
    answer = await call
    assert told(answer.usage) == (COST, "EUR")
    trailers = dict(await call.trailing_metadata())
    assert (trailers["x-cost"], trailers["x-cost-currency"]) == (COST, "EUR")


@DIALECTS
@pytest.mark.parametrize("with_usage", [False, True])
async def test_a_stream_over_grpc_has_its_cost_in_its_trailers_whether_it_asks_for_usage_or_not(
    up: InProcess, model: str, with_usage: bool
) -> None:
    call = up.chat.StreamChatCompletion(ask(model, stream_options={"include_usage": with_usage}))
    chunks = [chunk async for chunk in call]
    assert "x-cost" not in dict(await call.initial_metadata())
    assert dict(await call.trailing_metadata())["x-cost"] == COST
    assert [told(chunk.usage) for chunk in chunks if chunk.HasField("usage")] == [(COST, "EUR")] * with_usage


async def test_an_answer_that_costs_nothing_says_zero(door: ResponsesDoor) -> None:
    answer = await Door(door.up, door.session).post(body("sim/free"))
    assert answer.headers["x-cost"] == "0"
    assert answer.json["usage"]["cost"] == 0


async def test_a_stream_that_breaks_has_no_cost(up: InProcess) -> None:
    up.alpha.script(Script(text="a b c d", usage=USAGE, fault=Cut(2), pace=0.01))
    call = up.chat.StreamChatCompletion(ask())
    with pytest.raises(aio.AioRpcError):
        [chunk async for chunk in call]
    assert "x-cost" not in dict(await call.trailing_metadata())


@DIALECTS
async def test_a_response_has_its_cost_when_made_when_read_and_when_made_again(
    door: ResponsesDoor, model: str
) -> None:
    key = {"idempotency-key": f"once-{model}"}
    made = await door.create(asked(model), headers=key)
    usage = exact(made)["usage"]
    assert (usage["cost"], usage["currency"]) == (Decimal(COST), "EUR")
    assert made.headers["x-cost"] == COST
    again = await door.create(asked(model), headers=key)
    assert again.json["usage"] == made.json["usage"]
    assert "x-cost" not in again.headers, "it was paid before"
    assert (await door.call("GET", f"/{made.json['id']}")).json["usage"] == made.json["usage"]


@DIALECTS
async def test_a_streamed_response_has_its_cost_in_its_last_event(
    door: ResponsesDoor, sdk: openai.AsyncOpenAI, model: str
) -> None:
    streamed = await door.stream(asked(model))
    assert streamed.response["usage"]["cost"] == float(COST)
    (completed,) = [
        event
        async for event in await sdk.responses.create(model=model, input="hello", stream=True)
        if event.type == "response.completed"
    ]
    assert completed.response.usage is not None
    extra = completed.response.usage.model_extra or {}
    assert (extra["cost"], extra["currency"]) == (float(COST), "EUR")


async def test_responses_over_grpc_have_their_cost_in_usage_and_trailers(up: InProcess) -> None:
    call = up.responses.CreateResponse(ask_response())
    answer = await call
    assert told(answer.usage) == (COST, "EUR")
    assert dict(await call.trailing_metadata())["x-cost"] == COST
    streaming = up.responses.StreamResponse(ask_response())
    events = [event async for event in streaming]
    assert told(events[-1].completed.response.usage) == (COST, "EUR")
    assert dict(await streaming.trailing_metadata())["x-cost"] == COST
    stored = await up.responses.GetResponse(pb.GetResponseRequest(response_id=answer.id))
    assert told(stored.usage) == (COST, "EUR")


@DIALECTS
async def test_a_background_response_has_its_cost_once_it_is_over(door: ResponsesDoor, model: str) -> None:
    accepted = await door.create(asked(model, background=True))
    assert accepted.json["usage"] is None
    assert "x-cost" not in accepted.headers
    made = await ended(door, accepted.json["id"])
    assert (made["usage"]["cost"], made["usage"]["currency"]) == (float(COST), "EUR")


async def test_a_response_is_stored_with_the_exact_digits_of_its_cost(door: ResponsesDoor) -> None:
    usage = response_object_pb2.ResponseUsage(input_tokens=1, cost="0.12345678901234567890123", currency="EUR")
    kept = response_object_pb2.ResponseUsage.FromString(usage.SerializeToString())
    assert b'"cost":0.12345678901234567890123' in render_bytes(kept)


async def test_what_answers_cost_is_counted_by_endpoint(door: ResponsesDoor) -> None:
    await Door(door.up, door.session).post(body())
    await door.create(asked())
    async with door.session.get(f"{door.up.admin}/metrics") as response:
        shown = await response.text()
    labels = 'currency="EUR",endpoint="alpha/sim/alpha",model="sim/alpha"'
    found = re.search(rf"^eurouter_cost_total{{{re.escape(labels)}}} (\S+)$", shown, re.MULTILINE)
    assert found is not None, [line for line in shown.splitlines() if "cost" in line]
    assert float(found[1]) == pytest.approx(2 * float(COST))
    assert 'eurouter_tokens_by_kind_total{kind="cached",model="sim/alpha",provider="alpha"} 120.0' in shown
