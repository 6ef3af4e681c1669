"""The real `openai` SDK, sync and async, against the HTTP door: what its users write must work as it stands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from adapters.providers.simulator import (
    CONTEXT_LENGTH,
    OVERLOADED,
    SERVER_ERROR,
    Cut,
    Fault,
    Script,
    Simulator,
    SlowFirstByte,
    ToolCall,
    Usage,
    rate_limited,
)
from tests.support import openai_schema
from tests.support.http_door import PREFIXES
from tests.support.running import InProcess, running_service

T = TypeVar("T")
MODELS: Final = ("sim/alpha", "sim/beta")
HELLO: Final[list[ChatCompletionMessageParam]] = [{"role": "user", "content": "hello"}]
WEATHER: Final[ChatCompletionToolParam] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather at a place.",
        "parameters": {
            "type": "object",
            "properties": {"at": {"type": "string"}},
            "required": ["at"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Place(BaseModel):
    """What a structured answer holds."""

    city: str
    country: str


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[InProcess]:
    quick = {"upstream": {"connect_seconds": 5, "first_byte_seconds": 1, "idle_seconds": 1}}
    async with running_service(tmp_path, quick) as running:
        yield running


@pytest.fixture
async def client(up: InProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{up.http}/v1", api_key="sk-anything", max_retries=0) as made:
        yield made


def provider(up: InProcess, model: str) -> Simulator:
    return up.alpha if model == "sim/alpha" else up.beta


async def in_thread(use: Callable[[openai.OpenAI], T], base_url: str, **options: Any) -> T:
    """The synchronous client, in a thread: the service runs in this one."""

    def run() -> T:
        with openai.OpenAI(base_url=base_url, api_key="sk-anything", max_retries=0, **options) as client:
            return use(client)

    return await asyncio.to_thread(run)


def as_sent(completion: ChatCompletion) -> dict[str, Any]:
    return completion.model_dump(exclude_unset=True)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("model", MODELS)
async def test_an_answer_sync_and_async_on_both_prefixes(up: InProcess, prefix: str, model: str) -> None:
    provider(up, model).script(Script(text="Hello there", usage=Usage(7, 3)))
    base_url = up.http + prefix
    async with openai.AsyncOpenAI(base_url=base_url, api_key="x") as client:
        first = await client.chat.completions.create(model=model, messages=HELLO, temperature=0.5, max_tokens=50)
    second = await in_thread(lambda c: c.chat.completions.create(model=model, messages=HELLO), base_url)
    for answer in (first, second):
        assert openai_schema.problems(openai_schema.WHOLE, as_sent(answer)) == []
        assert answer.choices[0].message.content == "Hello there"
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 10
        assert answer.model_extra == {"provider": model.removeprefix("sim/")}


@pytest.mark.parametrize("model", MODELS)
async def test_a_stream_sync_and_async_with_usage_at_its_end(
    up: InProcess, client: openai.AsyncOpenAI, model: str
) -> None:
    provider(up, model).script(Script(tokens=30, pace=0.01, usage=Usage(7, 30)))
    texts = []
    stream = await client.chat.completions.create(
        model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    def read(sync: openai.OpenAI) -> str:
        with sync.chat.completions.create(model=model, messages=HELLO, stream=True) as given:
            return "".join(chunk.choices[0].delta.content or "" for chunk in given)

    texts.append("".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]))
    texts.append(await in_thread(read, f"{up.http}/v1"))
    assert texts[0] == texts[1]
    assert len(texts[0]) > 100
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 30
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len(chunks) > 5


@pytest.mark.parametrize("model", MODELS)
async def test_the_stream_helper_folds_to_what_create_gives(
    up: InProcess, client: openai.AsyncOpenAI, model: str
) -> None:
    call = ToolCall("call_1", "weather", '{"at":"Oslo"}')
    provider(up, model).script(Script(text="Let me look.", tool_calls=(call,), usage=Usage(7, 9)))
    whole = await client.chat.completions.create(model=model, messages=HELLO, tools=[WEATHER])
    kinds = set()
    async with client.chat.completions.stream(
        model=model, messages=HELLO, tools=[WEATHER], stream_options={"include_usage": True}
    ) as stream:
        async for event in stream:
            kinds.add(event.type)
        folded = await stream.get_final_completion()
    assert {"content.delta", "content.done", "tool_calls.function.arguments.done"} <= kinds
    (ours,), (theirs,) = folded.choices, whole.choices
    assert ours.message.content == theirs.message.content == "Let me look."
    assert ours.finish_reason == theirs.finish_reason == "tool_calls"
    assert ours.message.tool_calls is not None
    assert theirs.message.tool_calls is not None
    one, other = ours.message.tool_calls[0], theirs.message.tool_calls[0]
    assert one.type == other.type == "function"
    assert (one.id, one.function.arguments) == (other.id, cast("Any", other).function.arguments)
    assert folded.usage is not None
    assert whole.usage is not None
    assert folded.usage.total_tokens == whole.usage.total_tokens == 16


@pytest.mark.parametrize("model", MODELS)
async def test_a_loop_of_tool_calls_and_results_ends_in_an_answer(
    up: InProcess, client: openai.AsyncOpenAI, model: str
) -> None:
    calls = (ToolCall("call_1", "weather", '{"at":"Oslo"}'), ToolCall("call_2", "weather", '{"at":"Rome"}'))
    simulator = provider(up, model)
    simulator.enqueue(Script(tool_calls=calls), Script(text="Rain in Oslo, sun in Rome."))
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "The weather in Oslo and Rome?"}]
    places = []
    for _ in range(3):
        answer = await client.chat.completions.create(
            model=model, messages=messages, tools=[WEATHER], tool_choice="auto", parallel_tool_calls=True
        )
        message = answer.choices[0].message
        if not message.tool_calls:
            break
        assert answer.choices[0].finish_reason == "tool_calls"
        # As users do it: what came back goes in again as it is.
        messages.append(cast("ChatCompletionMessageParam", message.model_dump(exclude_unset=True)))
        for call in message.tool_calls:
            assert call.type == "function"
            place = json.loads(call.function.arguments)["at"]
            places.append(place)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": f"fine in {place}"})
    assert places == ["Oslo", "Rome"]
    assert message.content == "Rain in Oslo, sun in Rome."
    sent = simulator.calls[-1].body["messages"]
    assert "fine in Oslo" in json.dumps(sent)
    assert "call_2" in json.dumps(sent)


async def test_structured_output_is_parsed_into_the_callers_model(
    up: InProcess, client: openai.AsyncOpenAI
) -> None:
    up.alpha.script(Script(text='{"city": "Bergen", "country": "Norway"}'))
    parsed = await client.chat.completions.parse(model="sim/alpha", messages=HELLO, response_format=Place)
    assert parsed.choices[0].message.parsed == Place(city="Bergen", country="Norway")
    asked = up.alpha.calls[-1].body["response_format"]
    assert asked["type"] == "json_schema"
    assert asked["json_schema"]["strict"] is True
    assert list(asked["json_schema"]["schema"]["properties"]) == ["city", "country"]
    async with client.chat.completions.stream(model="sim/alpha", messages=HELLO, response_format=Place) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == Place(city="Bergen", country="Norway")
    up.alpha.script(Script(text='{"city": "Ber', finish_reason="length"))
    with pytest.raises(openai.LengthFinishReasonError):
        await client.chat.completions.parse(model="sim/alpha", messages=HELLO, response_format=Place)
    up.alpha.script(Script(refusal="I must not"))
    refused = await client.chat.completions.parse(model="sim/alpha", messages=HELLO, response_format=Place)
    assert refused.choices[0].message.refusal == "I must not"
    assert refused.choices[0].message.parsed is None


async def test_a_pydantic_tool_is_parsed_too(up: InProcess, client: openai.AsyncOpenAI) -> None:
    up.alpha.script(Script(tool_calls=(ToolCall("c1", "Place", '{"city":"Oslo","country":"Norway"}'),)))
    parsed = await client.chat.completions.parse(
        model="sim/alpha", messages=HELLO, tools=[openai.pydantic_function_tool(Place)]
    )
    calls = parsed.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.parsed_arguments == Place(city="Oslo", country="Norway")


async def test_logprobs_and_several_choices_are_read(up: InProcess, client: openai.AsyncOpenAI) -> None:
    up.alpha.script(Script(text="a b", logprobs=(-0.5, -1.5)))
    answer = await client.chat.completions.create(
        model="sim/alpha", messages=HELLO, logprobs=True, top_logprobs=3, n=2
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    logprobs = answer.choices[1].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [(token.token, token.logprob, len(token.top_logprobs)) for token in logprobs.content] == [
        ("a", -0.5, 3),
        (" b", -1.5, 3),
    ]
    async with client.chat.completions.stream(
        model="sim/alpha", messages=HELLO, logprobs=True, top_logprobs=3, n=2
    ) as stream:
        final = await stream.get_final_completion()
    assert final.choices[1].logprobs is not None
    assert final.choices[1].logprobs.content == logprobs.content


@pytest.mark.parametrize("model", MODELS)
async def test_reasoning_comes_beside_the_content(up: InProcess, client: openai.AsyncOpenAI, model: str) -> None:
    provider(up, model).script(Script(text="42", reasoning="six times seven"))
    answer = await client.chat.completions.create(model=model, messages=HELLO, reasoning_effort="low")
    message = answer.choices[0].message
    assert message.content == "42"
    assert (message.model_extra or {})["reasoning"] == "six times seven"
    stream = await client.chat.completions.create(model=model, messages=HELLO, reasoning_effort="low", stream=True)
    heard = ""
    async for chunk in stream:
        heard += (chunk.choices[0].delta.model_extra or {}).get("reasoning") or ""
    assert heard == "six times seven"


async def test_routing_goes_in_the_extra_body_and_comes_back_in_headers(
    up: InProcess, client: openai.AsyncOpenAI
) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model="sim/both",
        messages=HELLO,
        extra_body={"provider": {"only": ["beta"]}},
        extra_headers={"x-request-id": "mine-2"},
    )
    assert raw.headers["x-provider-slug"] == "beta"
    assert raw.request_id == "mine-2"
    assert raw.parse().choices[0].message.content is not None
    assert up.alpha.calls == ()


ERRORS: list[tuple[dict[str, Any], type[openai.APIStatusError], str | None, str | None]] = [
    ({"temperature": 9}, openai.BadRequestError, "invalid_value", "temperature"),
    ({"messages": []}, openai.BadRequestError, "invalid_value", "messages"),
    ({"extra_body": {"frobnicate": 1}}, openai.BadRequestError, "unknown_parameter", "frobnicate"),
    ({"model": "nobody"}, openai.NotFoundError, "model_not_found", "model"),
    ({"extra_body": {"rule_name": "none"}}, openai.NotFoundError, "rule_not_found", "rule_name"),
]


@pytest.mark.parametrize(("fields", "kind", "code", "param"), ERRORS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_wrong_request_raises_the_sdks_own_exception(
    up: InProcess,
    fields: dict[str, Any],
    kind: type[openai.APIStatusError],
    code: str | None,
    param: str | None,
    stream: bool,
) -> None:
    request = {"model": "sim/alpha", "messages": HELLO, "stream": stream, **fields}
    async with openai.AsyncOpenAI(base_url=f"{up.http}/v1", api_key="x", max_retries=2) as client:
        with pytest.raises(kind) as caught:
            await client.chat.completions.create(**request)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id is not None
    assert up.alpha.calls == ()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (CONTEXT_LENGTH, openai.BadRequestError, "context_length_exceeded"),
        (rate_limited(60), openai.RateLimitError, "rate_limit_exceeded"),
        (rate_limited(None), openai.RateLimitError, "rate_limit_exceeded"),
        (SERVER_ERROR, openai.InternalServerError, "server_error"),
        (OVERLOADED, openai.InternalServerError, "server_error"),
        (SlowFirstByte(5), openai.InternalServerError, "server_error"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:40],
)
async def test_a_providers_failure_raises_the_sdks_own_exception_and_one_plan_is_run(
    up: InProcess, model: str, fault: Fault, kind: type[openai.APIStatusError], code: str
) -> None:
    provider(up, model).script(Script(text="a", fault=fault))
    # Three tries that the SDK would make: only where we say when.
    told_when = fault == rate_limited(60)
    retries = 0 if told_when else 2
    async with openai.AsyncOpenAI(base_url=f"{up.http}/v1", api_key="x", max_retries=retries) as client:
        with pytest.raises(kind) as caught:
            await client.chat.completions.create(model=model, messages=HELLO)
    assert caught.value.code == code
    assert caught.value.response.headers["x-should-retry"] == str(told_when).lower()
    assert len(provider(up, model).calls) == 1


async def test_the_sdk_waits_as_long_as_the_provider_asked_and_then_succeeds(tmp_path: Path) -> None:
    impatient = {"routing": {"max_retry_wait_seconds": 0}}
    async with running_service(tmp_path, impatient) as up:
        up.alpha.enqueue(Script(fault=rate_limited(1)))
        up.alpha.script(Script(text="now"))
        loop = asyncio.get_running_loop()
        async with openai.AsyncOpenAI(base_url=f"{up.http}/v1", api_key="x", max_retries=1) as client:
            started = loop.time()
            answer = await client.chat.completions.create(model="sim/alpha", messages=HELLO)
        assert answer.choices[0].message.content == "now"
        assert 0.9 < loop.time() - started < 3
        assert len(up.alpha.calls) == 2


async def test_a_stream_that_is_cut_raises_and_never_ends_as_if_it_were_whole(
    up: InProcess, client: openai.AsyncOpenAI
) -> None:
    up.alpha.script(Script(text="one two three four", pace=0.02, fault=Cut(2)))
    stream = await client.chat.completions.create(model="sim/alpha", messages=HELLO, stream=True)
    heard = ""
    with pytest.raises(openai.APIError) as caught:
        async for chunk in stream:
            heard += chunk.choices[0].delta.content or ""
    assert heard == "one two"
    assert caught.value.code == "server_error"
    assert "alpha" in caught.value.message


async def test_leaving_a_stream_early_ends_the_upstream_call(up: InProcess, client: openai.AsyncOpenAI) -> None:
    up.alpha.script(Script(tokens=5000, pace=0.005))
    stream = await client.chat.completions.create(model="sim/alpha", messages=HELLO, stream=True)
    async for _ in stream:
        break
    await stream.close()
    (call,) = await up.alpha.wait_for(lambda calls: calls[0].ended is not None)
    assert call.cancelled
    assert call.tokens_sent < 1000


async def test_a_wrong_base_url_is_told_the_right_one(up: InProcess) -> None:
    async with openai.AsyncOpenAI(base_url=up.http, api_key="x", max_retries=2) as client:
        with pytest.raises(openai.NotFoundError, match=f"base URL to {up.http}/v1"):
            await client.chat.completions.create(model="sim/alpha", messages=HELLO)


async def test_an_api_that_is_not_offered_is_named(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Embeddings API: not offered"):
        await client.embeddings.create(model="sim/alpha", input="x")


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_models_are_listed_and_retrieved(up: InProcess, prefix: str) -> None:
    def look(sync: openai.OpenAI) -> tuple[list[str], str]:
        return [model.id for model in sync.models.list()], sync.models.retrieve("sim/alpha").id

    listed, retrieved = await in_thread(look, up.http + prefix)
    assert listed == ["sim/alpha", "sim/beta", "sim/both", "sim/reverse"]
    assert retrieved == "sim/alpha"
    async with openai.AsyncOpenAI(base_url=up.http + prefix, api_key="x") as client:
        assert [model.id async for model in client.models.list()] == listed
        assert (await client.models.retrieve("alpha")).id == "sim/alpha"
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("nobody")
    assert caught.value.code == ("model_not_found" if prefix == "/v1" else "NOT_FOUND")


async def test_many_calls_at_once_get_their_own_answers(up: InProcess, client: openai.AsyncOpenAI) -> None:
    up.alpha.script(Script(echo=True))

    async def one(number: int) -> str:
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": f"number {number}"}]
        if number % 2:
            answer = await client.chat.completions.create(model="sim/alpha", messages=messages)
            return answer.choices[0].message.content or ""
        stream = await client.chat.completions.create(model="sim/alpha", messages=messages, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    answers = await asyncio.gather(*(one(number) for number in range(60)))
    assert answers == [f"number {number}" for number in range(60)]
