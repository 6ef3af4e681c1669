"""The real `openai` SDK's Responses client, sync and async: what its users write must work as it stands."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from adapters.providers.simulator import (
    CONTEXT_LENGTH,
    OVERLOADED,
    SERVER_ERROR,
    Cut,
    Fault,
    Script,
    Simulator,
    ToolCall,
    Usage,
    rate_limited,
)
from tests.support import responses_schema
from tests.support.http_door import PREFIXES
from tests.support.pages import blocks, section
from tests.support.parts import ROOT
from tests.support.running import InProcess, running_service, two_dialects

T = TypeVar("T")
MODELS: Final = ("sim/alpha", "sim/beta")
PLACE: Final = {"at": {"type": "string"}}
WEATHER: Final[Any] = {
    "type": "function",
    "name": "weather",
    "description": "The weather at a place.",
    "parameters": {"type": "object", "properties": PLACE, "required": ["at"], "additionalProperties": False},
    "strict": True,
}
RUN: Final[Any] = {"type": "custom", "name": "run", "description": "Runs a program."}
PROGRAM: Final = 'print("ümläut 🎉")\n'
NOBODY: Final = "resp_" + "0" * 36
PAGE: Final = ROOT / "docs" / "clients" / "responses.md"


class Place(BaseModel):
    """What a structured answer holds."""

    city: str
    country: str


def functions_only(alpha: str, beta: str) -> dict[str, Any]:
    """Neither provider knows custom tools, as most servers; alpha wants earlier reasoning back."""
    rows = two_dialects(alpha, beta)
    rows["providers"][0] |= {"refuses": ["tools.custom"], "passthrough": ["messages.reasoning_content"]}
    return rows


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[InProcess]:
    quick = {"upstream": {"connect_seconds": 5, "first_byte_seconds": 1, "idle_seconds": 1}}
    async with running_service(tmp_path, quick, functions_only) as running:
        yield running


@pytest.fixture
async def client(up: InProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(up) as made:
        yield made


def client_of(up: InProcess) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{up.http}/v1", api_key="sk-anything", max_retries=0)


def provider(up: InProcess, model: str) -> Simulator:
    return up.alpha if model == "sim/alpha" else up.beta


def last_sent(up: InProcess, model: str) -> str:
    """The conversation of the last upstream call, as text to look into."""
    body = provider(up, model).calls[-1].body
    return json.dumps([body.get("system"), body["messages"]], ensure_ascii=False)


async def in_thread(use: Callable[[openai.OpenAI], T], up: InProcess, prefix: str = "/v1") -> T:
    """The synchronous client, in a thread: the service runs in this one."""

    def run() -> T:
        with openai.OpenAI(base_url=up.http + prefix, api_key="sk-anything", max_retries=0) as client:
            return use(client)

    return await asyncio.to_thread(run)


def as_sent(response: Response) -> dict[str, Any]:
    """What came over the wire, without the SDK's additions for structured output."""
    shown: dict[str, Any] = json.loads(response.model_dump_json(exclude_unset=True))
    for item in shown["output"]:
        item.pop("parsed_arguments", None)
        for part in item.get("content") or ():
            part.pop("parsed", None)
    return shown


def function_calls(response: Any) -> list[Any]:
    return [item for item in response.output if item.type == "function_call"]


def results(response: Any) -> list[Any]:
    """What a user's program gives back for each call."""
    return [
        {
            "type": "function_call_output",
            "call_id": call.call_id,
            "output": f"fine in {json.loads(call.arguments)['at']}",
        }
        for call in function_calls(response)
    ]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("model", MODELS)
async def test_an_answer_sync_and_async_on_both_prefixes(up: InProcess, prefix: str, model: str) -> None:
    provider(up, model).script(Script(text="Hello there", usage=Usage(7, 3)))
    async with openai.AsyncOpenAI(base_url=up.http + prefix, api_key="x") as client:
        first = await client.responses.create(
            model=model, input="hello", instructions="Be brief.", max_output_tokens=50, temperature=0.5
        )
    second = await in_thread(lambda c: c.responses.create(model=model, input="hello"), up, prefix)
    for answer in (first, second):
        responses_schema.check_response(as_sent(answer))
        assert answer.output_text == "Hello there"
        assert answer.status == "completed"
        assert answer.usage is not None
        assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (7, 3, 10)
    assert first.instructions == "Be brief."
    assert (first.max_output_tokens, first.temperature) == (50, 0.5)
    assert "Be brief." in json.dumps(provider(up, model).calls[0].body)


@pytest.mark.parametrize("model", MODELS)
async def test_a_stream_sync_and_async_ends_in_the_stored_response(
    up: InProcess, client: openai.AsyncOpenAI, model: str
) -> None:
    provider(up, model).script(Script(tokens=30, pace=0.01, usage=Usage(7, 30)))
    stream = await client.responses.create(model=model, input="hello", stream=True)
    events = [event async for event in stream]
    heard = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == heard
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert len(events) > 10

    def read(sync: openai.OpenAI) -> tuple[str, str]:
        with sync.responses.create(model=model, input="hello", stream=True) as given:
            return "".join(
                e.delta for e in given if e.type == "response.output_text.delta"
            ), sync.responses.retrieve(last.response.id).output_text

    assert await in_thread(read, up) == (heard, heard)


@pytest.mark.parametrize("model", MODELS)
async def test_the_stream_helpers_final_response_is_the_stored_one(
    up: InProcess, client: openai.AsyncOpenAI, model: str
) -> None:
    calls = (ToolCall("call_1", "weather", '{"at":"Oslo"}'), ToolCall("call_2", "weather", '{"at":"Rome"}'))
    provider(up, model).script(Script(reasoning="Hm.", text="Let me look.", tool_calls=calls, usage=Usage(7, 9)))
    kinds, text, arguments = set(), "", ""
    async with client.responses.stream(model=model, input="hello", tools=[WEATHER]) as stream:
        async for event in stream:
            kinds.add(event.type)
            if event.type == "response.output_text.delta":
                text = event.snapshot
            if event.type == "response.function_call_arguments.delta":
                arguments = event.snapshot
        final = await stream.get_final_response()
    assert {"response.output_text.done", "response.function_call_arguments.done", "response.completed"} <= kinds
    assert text == final.output_text == "Let me look."
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]
    assert arguments == function_calls(final)[1].arguments == '{"at":"Rome"}'
    assert as_sent(final) == as_sent(await client.responses.retrieve(final.id))

    def read(sync: openai.OpenAI) -> tuple[dict[str, Any], dict[str, Any]]:
        with sync.responses.stream(model=model, input="hello", tools=[WEATHER]) as given:
            whole = given.get_final_response()
        return as_sent(whole), as_sent(sync.responses.retrieve(whole.id))

    ours, stored = await in_thread(read, up)
    assert ours == stored


async def test_structured_output_is_parsed_into_the_callers_model(
    up: InProcess, client: openai.AsyncOpenAI
) -> None:
    up.alpha.script(Script(text='{"city": "Bergen", "country": "Norway"}'))
    parsed = await client.responses.parse(model="sim/alpha", input="where?", text_format=Place)
    assert parsed.output_parsed == Place(city="Bergen", country="Norway")
    asked = up.alpha.calls[-1].body["response_format"]
    assert (asked["type"], asked["json_schema"]["strict"]) == ("json_schema", True)
    assert list(asked["json_schema"]["schema"]["properties"]) == ["city", "country"]
    async with client.responses.stream(model="sim/alpha", input="where?", text_format=Place) as stream:
        final = await stream.get_final_response()
    assert final.output_parsed == Place(city="Bergen", country="Norway")
    up.alpha.script(Script(refusal="I must not"))
    refused = await client.responses.parse(model="sim/alpha", input="where?", text_format=Place)
    assert refused.output_parsed is None
    (message,) = refused.output
    assert message.type == "message"
    assert message.content[0].type == "refusal"
    assert message.content[0].refusal == "I must not"


@pytest.mark.parametrize("model", MODELS)
async def test_a_pydantic_tool_is_parsed_too(up: InProcess, client: openai.AsyncOpenAI, model: str) -> None:
    provider(up, model).script(Script(tool_calls=(ToolCall("c1", "Place", '{"city":"Oslo","country":"Norway"}'),)))
    tool: Any = openai.pydantic_function_tool(Place)
    flat: Any = {"type": "function", **tool["function"]}
    parsed = await client.responses.parse(model=model, input="where?", tools=[flat])
    (call,) = function_calls(parsed)
    assert call.parsed_arguments == {"city": "Oslo", "country": "Norway"} or call.parsed_arguments == Place(
        city="Oslo", country="Norway"
    )


@pytest.mark.parametrize("model", MODELS)
async def test_a_tool_loop_goes_on_by_the_id_of_the_response_before(
    up: InProcess, client: openai.AsyncOpenAI, model: str
) -> None:
    calls = (ToolCall("call_1", "weather", '{"at":"Oslo"}'), ToolCall("call_2", "weather", '{"at":"Rome"}'))
    provider(up, model).enqueue(Script(tool_calls=calls), Script(text="Rain in Oslo, sun in Rome."))
    answer = await client.responses.create(
        model=model, input="The weather in Oslo and Rome?", tools=[WEATHER], parallel_tool_calls=True
    )
    assert [json.loads(call.arguments)["at"] for call in function_calls(answer)] == ["Oslo", "Rome"]
    answer = await client.responses.create(
        model=model, input=results(answer), tools=[WEATHER], previous_response_id=answer.id
    )
    assert answer.output_text == "Rain in Oslo, sun in Rome."
    sent = last_sent(up, model)
    assert "The weather in Oslo and Rome?" in sent
    assert sent.index("fine in Oslo") < sent.index("fine in Rome")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("bare", [False, True], ids=["whole", "bare"])
async def test_a_tool_loop_goes_on_with_the_items_sent_back_and_nothing_stored(
    up: InProcess, client: openai.AsyncOpenAI, model: str, bare: bool
) -> None:
    thought = Script(reasoning="Ask the tool.", tool_calls=(ToolCall("call_1", "weather", '{"at":"Oslo"}'),))
    provider(up, model).enqueue(thought, Script(text="Rain."))
    options: Any = {
        "model": model,
        "tools": [WEATHER],
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low"},
    }
    conversation: list[Any] = [{"role": "user", "content": "The weather in Oslo?"}]
    first = await client.responses.create(input=conversation, **options)
    reasoning = next(item for item in first.output if item.type == "reasoning")
    assert reasoning.encrypted_content
    assert first.store is False
    # As its guides do it: what came back goes in again as it is. Agents leave the text out: OpenAI gives none.
    if bare:
        reasoning.content = None
    conversation += first.output
    conversation += results(first)
    second = await client.responses.create(input=conversation, **options)
    assert second.output_text == "Rain."
    sent = last_sent(up, model)
    assert sent.index("The weather in Oslo?") < sent.index("Ask the tool.") < sent.index("fine in Oslo")
    for made in (first, second):
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made.id)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_custom_tool_is_called_answered_and_called_again(
    up: InProcess, client: openai.AsyncOpenAI, model: str, streamed: bool
) -> None:
    # Neither upstream knows custom tools: they are functions there.
    arguments = json.dumps({"input": PROGRAM})
    provider(up, model).enqueue(Script(tool_calls=(ToolCall("call_1", "run", arguments),)), Script(text="Done."))
    request: Any = {"model": model, "input": "run it", "tools": [RUN]}
    if streamed:
        heard = ""
        async with client.responses.stream(**request) as stream:
            async for event in stream:
                if event.type == "response.custom_tool_call_input.delta":
                    heard += event.delta
            first: Response = await stream.get_final_response()
    else:
        first = await client.responses.create(**request)
        heard = next(item.input for item in first.output if item.type == "custom_tool_call")
    (call,) = [item for item in first.output if item.type == "custom_tool_call"]
    assert (call.call_id, call.name, call.input) == ("call_1", "run", PROGRAM)
    assert heard == PROGRAM
    second = await client.responses.create(
        model=model,
        input=[{"type": "custom_tool_call_output", "call_id": call.call_id, "output": "ümläut"}],
        tools=[RUN],
        previous_response_id=first.id,
    )
    assert second.output_text == "Done."
    assert "ümläut" in last_sent(up, model)


@pytest.mark.parametrize("model", MODELS)
async def test_reasoning_and_its_effort(up: InProcess, client: openai.AsyncOpenAI, model: str) -> None:
    provider(up, model).script(
        Script(text="42", reasoning="six times seven", usage=Usage(7, 9, reasoning_tokens=5))
    )
    answer = await client.responses.create(model=model, input="?", reasoning={"effort": "high"})
    assert answer.output_text == "42"
    assert answer.reasoning is not None
    assert answer.reasoning.effort == "high"
    (item,) = [item for item in answer.output if item.type == "reasoning"]
    assert item.content is not None
    assert item.content[0].text == "six times seven"
    assert item.encrypted_content is None
    heard = ""
    async with client.responses.stream(model=model, input="?", reasoning={"effort": "high"}) as stream:
        async for event in stream:
            if event.type == "response.reasoning_text.delta":
                heard += event.delta
    assert heard == "six times seven"
    if model == "sim/alpha":
        assert up.alpha.calls[-1].body["reasoning_effort"] == "high"


async def test_what_agents_declare_unasked_does_not_keep_them_from_endpoints_that_know_functions_only(
    up: InProcess, client: openai.AsyncOpenAI
) -> None:
    """As Codex sends it."""
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
    unasked: Any = [
        WEATHER,
        {**RUN, "format": grammar},
        {"type": "namespace", "name": "agents", "description": "Others.", "tools": [{**WEATHER, "name": "spawn"}]},
        {"type": "tool_search", "execution": "client", "description": "Finds.", "parameters": {"type": "object"}},
        {"type": "web_search", "external_web_access": False},
    ]
    for model in MODELS:
        raw = await client.responses.with_raw_response.create(
            model=model,
            input="hello",
            tools=unasked,
            tool_choice="auto",
            store=False,
            include=["reasoning.encrypted_content"],
            reasoning={"summary": "auto"},
            extra_body={"client_metadata": {"thread_id": "1"}},
        )
        assert raw.parse().status == "completed"
        sent = provider(up, model).calls[-1].body
        assert [tool.get("name") or tool["function"]["name"] for tool in sent["tools"]] == ["weather", "run"]
        assert "client_metadata" not in sent
        ignored = {name.strip() for name in raw.headers["x-ignored-parameters"].split(",")}
        assert ignored == {
            "client_metadata",
            "reasoning.summary",
            "tools.format",
            "tools[2]",
            "tools[3]",
            "tools[4]",
        }


@pytest.mark.parametrize("model", ["alpha", "beta"])
async def test_the_pages_example_prints_an_answer_and_streams_the_next(up: InProcess, model: str) -> None:
    (example,) = blocks(section(PAGE, "The openai SDK"), "python")
    for shown, here in (("http://127.0.0.1:8080", up.http), ("smollm2-135m-instruct", f"sim/{model}")):
        assert shown in example
        example = example.replace(shown, here)
    provider(up, f"sim/{model}").enqueue(Script(text="The Loire."), Script(text="The Ebro."))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", example), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        printed, _ = await process.communicate()
    assert (process.returncode, printed.decode()) == (0, "The Loire.\nThe Ebro.")
    assert "The Loire." in last_sent(up, f"sim/{model}")


async def test_stored_responses_are_retrieved_listed_and_deleted(
    up: InProcess, client: openai.AsyncOpenAI
) -> None:
    said: Any = [{"role": "user", "content": f"message {number}"} for number in range(25)]
    made = await client.responses.create(model="sim/alpha", input=said, metadata={"team": "a"})
    assert as_sent(await client.responses.retrieve(made.id)) == as_sent(made)
    page = await client.responses.input_items.list(made.id, limit=10, order="asc")
    assert len(page.data) == 10
    texts = [json.loads(item.model_dump_json())["content"][0]["text"] async for item in page]
    assert texts == [f"message {number}" for number in range(25)], "the SDK asks for the pages that follow"

    def newest_first(sync: openai.OpenAI) -> list[str]:
        items = sync.responses.input_items.list(made.id, limit=7)
        return [json.loads(item.model_dump_json())["content"][0]["text"] for item in items]

    assert await in_thread(newest_first, up) == texts[::-1]
    await client.responses.delete(made.id)
    for call in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            await call(made.id)


async def test_a_foreground_response_is_neither_cancelled_nor_followed(
    up: InProcess, client: openai.AsyncOpenAI
) -> None:
    made = await client.responses.create(model="sim/alpha", input="hello")
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.cancel(made.id)
    assert "background" in caught.value.message
    with pytest.raises(openai.BadRequestError):
        await client.responses.retrieve(made.id, stream=True, starting_after=3)


async def test_a_background_response_is_polled_streamed_and_cancelled_as_openais_users_do(
    up: InProcess, client: openai.AsyncOpenAI
) -> None:
    up.alpha.script(Script(text="one two", first_byte_delay=0.2))
    waiting = await client.responses.create(model="sim/alpha", input="hello", background=True)
    assert waiting.status == "queued"
    while (made := await client.responses.retrieve(waiting.id)).status in ("queued", "in_progress"):
        await asyncio.sleep(0.05)
    assert (made.status, made.output_text) == ("completed", "one two")
    events = [event async for event in await client.responses.retrieve(waiting.id, stream=True, starting_after=1)]
    assert [event.sequence_number for event in events] == list(range(2, 2 + len(events)))
    assert events[-1].type == "response.completed"
    assert (await client.responses.cancel(waiting.id)).status == "completed"


ERRORS: list[tuple[dict[str, Any], type[openai.APIStatusError], str, str]] = [
    ({"temperature": 9}, openai.BadRequestError, "invalid_value", "temperature"),
    ({"input": []}, openai.BadRequestError, "invalid_value", "input"),
    ({"extra_body": {"frobnicate": 1}}, openai.BadRequestError, "unknown_parameter", "frobnicate"),
    ({"model": "nobody"}, openai.NotFoundError, "model_not_found", "model"),
    (
        {"previous_response_id": NOBODY},
        openai.BadRequestError,
        "previous_response_not_found",
        "previous_response_id",
    ),
    (
        {"input": [{"type": "function_call_output", "call_id": "call_1", "output": "x"}]},
        openai.BadRequestError,
        "invalid_value",
        "input[0].call_id",
    ),
]


@pytest.mark.parametrize(("fields", "kind", "code", "param"), ERRORS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_wrong_request_raises_the_sdks_own_exception(
    up: InProcess, fields: dict[str, Any], kind: type[openai.APIStatusError], code: str, param: str, stream: bool
) -> None:
    request = {"model": "sim/alpha", "input": "hello", "stream": stream, **fields}
    async with openai.AsyncOpenAI(base_url=f"{up.http}/v1", api_key="x", max_retries=2) as client:
        with pytest.raises(kind) as caught:
            await client.responses.create(**request)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id is not None
    assert up.alpha.calls == ()


async def test_an_id_that_is_not_there_raises_not_found(client: openai.AsyncOpenAI) -> None:
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError) as caught:
            await call(NOBODY)
        assert caught.value.request_id is not None


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (CONTEXT_LENGTH, openai.BadRequestError, "context_length_exceeded"),
        (rate_limited(None), openai.RateLimitError, "rate_limit_exceeded"),
        (SERVER_ERROR, openai.InternalServerError, "server_error"),
        (OVERLOADED, openai.InternalServerError, "server_error"),
    ],
    ids=["context", "rate", "server", "overloaded"],
)
async def test_a_providers_failure_raises_the_sdks_own_exception_and_one_plan_is_run(
    up: InProcess, model: str, stream: bool, fault: Fault, kind: type[openai.APIStatusError], code: str
) -> None:
    provider(up, model).script(Script(text="a", fault=fault))
    async with openai.AsyncOpenAI(base_url=f"{up.http}/v1", api_key="x", max_retries=2) as client:
        with pytest.raises(kind) as caught:
            await client.responses.create(model=model, input="hello", stream=stream)
    assert caught.value.code == code
    assert len(provider(up, model).calls) == 1


async def test_a_stream_that_is_cut_ends_in_a_failed_event_and_never_as_if_it_were_whole(
    up: InProcess, client: openai.AsyncOpenAI
) -> None:
    up.alpha.script(Script(text="one two three four", pace=0.02, fault=Cut(2)))
    stream = await client.responses.create(model="sim/alpha", input="hello", stream=True)
    events = [event async for event in stream]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "one two"
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.code == "server_error"
    assert "alpha" in last.response.error.message
    assert "response.completed" not in [event.type for event in events]
    assert (await client.responses.retrieve(last.response.id)).status == "failed"


async def test_the_stream_helper_has_no_final_response_of_a_cut_stream(
    up: InProcess, client: openai.AsyncOpenAI
) -> None:
    up.alpha.script(Script(text="one two three four", pace=0.02, fault=Cut(2)))
    async with client.responses.stream(model="sim/alpha", input="hello") as stream:
        with pytest.raises(RuntimeError, match="completed"):
            await stream.get_final_response()


async def test_leaving_a_stream_early_ends_the_upstream_call(up: InProcess, client: openai.AsyncOpenAI) -> None:
    up.alpha.script(Script(tokens=5000, pace=0.005))
    async with client.responses.stream(model="sim/alpha", input="hello") as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
    (call,) = await up.alpha.wait_for(lambda calls: calls[0].ended is not None)
    assert call.cancelled
    assert call.tokens_sent < 1000


async def test_routing_goes_in_the_extra_body_and_comes_back_in_headers(
    up: InProcess, client: openai.AsyncOpenAI
) -> None:
    raw = await client.responses.with_raw_response.create(
        model="sim/both",
        input="hello",
        extra_body={"provider": {"only": ["beta"]}},
        extra_headers={"x-request-id": "mine-2"},
    )
    assert raw.headers["x-provider-slug"] == "beta"
    assert raw.request_id == "mine-2"
    assert raw.parse().output_text
    assert up.alpha.calls == ()
    async with client.responses.with_streaming_response.create(
        model="sim/both", input="hello", stream=True, tools=[{"type": "web_search"}]
    ) as streamed:
        assert streamed.headers["x-provider-slug"] == "alpha"
        assert "tools" in streamed.headers["x-ignored-parameters"]


async def test_many_calls_at_once_get_their_own_answers(tmp_path: Path) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        if number % 2:
            return (await client.responses.create(model="sim/alpha", input=f"number {number}")).output_text
        async with client.responses.stream(model="sim/alpha", input=f"number {number}") as stream:
            return (await stream.get_final_response()).output_text

    # The usual times: a second is too short for 60 calls on a busy machine.
    async with running_service(tmp_path) as up, client_of(up) as client:
        up.alpha.script(Script(echo=True))
        answers = await asyncio.gather(*(one(client, number) for number in range(60)))
    assert answers == [f"number {number}" for number in range(60)]
