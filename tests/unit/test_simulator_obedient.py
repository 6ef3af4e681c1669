"""The simulator's model that does by rule what a request asks for, whichever wire the request came over."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import jsonschema
import pytest

from adapters.providers.simulator import Cut, Script, Simulator, Usage
from adapters.providers.simulator.model_names import script_of
from adapters.providers.simulator.obedient import Obedient

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "wet": {"type": "boolean"},
        "places": {"type": "array", "items": {"type": "number"}, "minItems": 2},
        "more": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        "kind": {"const": "x"},
    },
    "required": ["city", "days", "unit", "wet", "places", "more", "kind"],
    "additionalProperties": False,
}
CHAT_TOOLS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("a", "b")]
FLAT_TOOLS = [{"type": "function", "name": name, "parameters": SCHEMA} for name in ("a", "b")]
MESSAGES_TOOLS = [{"name": name, "input_schema": SCHEMA} for name in ("a", "b")]


def asked(*said: str, **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": "sim-obey", "messages": [{"role": "user", "content": text} for text in said], **fields}


def obeyed(body: dict[str, Any], script: Script | None = None) -> Script:
    return Obedient().script(script or Script(obey=True), body)


def text_of(script: Script) -> str:
    return "".join(script.text_tokens())


def test_it_says_what_users_said() -> None:
    assert text_of(obeyed(asked("I am Ada.", "Who am I?"))) == "The simulator was told: I am Ada. / Who am I?"
    assert text_of(obeyed({"input": "hello"})) == "The simulator was told: hello"


def test_an_open_assistant_turn_is_gone_on_with() -> None:
    body = asked("Capital?")
    body["messages"].append({"role": "assistant", "content": "The capital"})
    assert text_of(obeyed(body)).startswith("The capital and so on")


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        (CHAT_TOOLS, {"type": "function", "function": {"name": "b"}}),
        (FLAT_TOOLS, {"type": "function", "name": "b"}),
        (MESSAGES_TOOLS, {"type": "tool", "name": "b"}),
    ],
    ids=["chat", "responses", "messages"],
)
def test_a_named_tool_is_called_with_arguments_that_fit(tools: list[Any], choice: Any) -> None:
    (call,) = obeyed(asked("one\ntwo", tools=tools, tool_choice=choice)).tool_calls
    assert call.name == "b"
    arguments = json.loads(call.arguments)
    jsonschema.validate(arguments, SCHEMA)
    assert arguments["city"] == "two"


@pytest.mark.parametrize("choice", ["required", {"type": "any"}])
def test_every_tool_is_called_where_one_must_be_and_several_may(choice: Any) -> None:
    body = asked("x", tools=CHAT_TOOLS, tool_choice=choice)
    calls = obeyed(body).tool_calls
    assert [call.name for call in calls] == ["a", "b"]
    assert len({call.id for call in calls}) == 2
    assert len(obeyed({**body, "parallel_tool_calls": False}).tool_calls) == 1
    serial = {"type": "any", "disable_parallel_tool_use": True}
    assert len(obeyed({**body, "tool_choice": serial}).tool_calls) == 1


@pytest.mark.parametrize("choice", ["auto", "none", {"type": "auto"}, None])
def test_no_tool_is_called_that_need_not_be(choice: Any) -> None:
    script = obeyed(asked("x", tools=CHAT_TOOLS, tool_choice=choice))
    assert not script.tool_calls
    assert text_of(script)


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ],
    ids=["chat", "responses", "messages"],
)
def test_structured_output_fits_its_schema(fields: dict[str, Any]) -> None:
    jsonschema.validate(json.loads(text_of(obeyed(asked("x", **fields)))), SCHEMA)


def test_json_mode_is_an_object() -> None:
    assert json.loads(text_of(obeyed(asked("x", response_format={"type": "json_object"})))) == {"simulated": True}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_a_limit_cuts_reasoning_and_text_and_calls(name: str) -> None:
    script = obeyed(asked("x y z", **{name: 3}))
    assert (script.counted_usage().completion_tokens, script.finish()) == (3, "length")
    thinking = obeyed(asked("x y z", reasoning_effort="low", **{name: 3}))
    assert (text_of(thinking), thinking.counted_usage().reasoning_tokens, thinking.finish()) == ("", 3, "length")
    calling = obeyed(asked("x", reasoning_effort="low", tools=CHAT_TOOLS, tool_choice="required", **{name: 3}))
    assert not calling.tool_calls


@pytest.mark.parametrize("stop", ["two", ["nowhere", "two"]])
def test_a_stop_ends_the_text_before_it(stop: Any) -> None:
    script = obeyed(asked("one two three", stop=stop))
    assert text_of(script) == "The simulator was told: one "
    assert script.finish() == "stop"


def test_it_thinks_when_asked_to() -> None:
    assert obeyed(asked("x", reasoning_effort="low")).reasoning
    assert obeyed({"input": "x", "reasoning": {"effort": "high"}}).reasoning
    assert obeyed(asked("x", thinking={"type": "enabled"})).reasoning
    assert not obeyed(asked("x", reasoning_effort="none")).reasoning
    assert not obeyed(asked("x")).reasoning


def test_what_an_earlier_prompt_began_with_counts_as_cached() -> None:
    obedient = Obedient()

    def counted(*said: str) -> Usage:
        return obedient.script(Script(obey=True), asked(*said)).counted_usage()

    first = counted("one")
    assert (first.cached_tokens, first.prompt_tokens > 0) == (0, True)
    longer = counted("one", "two")
    assert 0 < longer.cached_tokens == first.prompt_tokens < longer.prompt_tokens
    assert counted("other", "two").cached_tokens == 0


def test_pace_faults_and_scripted_counts_stay() -> None:
    script = obeyed(asked("x"), Script(obey=True, pace=0.1, fault=Cut(1), usage=Usage(5, 6)))
    assert (script.pace, script.fault, script.usage) == (0.1, Cut(1), Usage(5, 6))
    assert script_of("sim-obey-fault-cut-2") == Script(obey=True, fault=Cut(2))


async def test_it_answers_over_every_wire() -> None:
    chat = asked("hello", tools=CHAT_TOOLS, tool_choice="required")
    flat = {"model": "sim-obey", "input": "hello", "tools": FLAT_TOOLS, "tool_choice": "required"}
    messages = asked("hello", max_tokens=500, tools=MESSAGES_TOOLS, tool_choice={"type": "any"})
    bodies = {"/v1/chat/completions": chat, "/v1/responses": flat, "/v1/messages": messages}
    async with Simulator() as simulator, aiohttp.ClientSession() as session:
        for path, body in bodies.items():
            for stream in (False, True):
                async with session.post(simulator.url + path, json={**body, "stream": stream}) as response:
                    assert response.status == 200
                    told = await response.text()
                    assert told.count("call_sim00000000000000000001")
                    assert "celsius" in told or stream
