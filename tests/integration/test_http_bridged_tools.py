"""Tools that an endpoint can't say, through the door and real sockets, over an Anthropic-shaped upstream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.providers.simulator import Script, ToolCall
from tests.support.http_door import CHAT, Door, body, events, http_door

CODE = 'print("ümläut 🎉")\n'
GRAMMAR = {"type": "grammar", "grammar": {"definition": "start: /.+/", "syntax": "lark"}}
EXEC = {"type": "custom", "custom": {"name": "exec", "description": "Runs code", "format": GRAMMAR}}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SEARCH = {"type": "web_search"}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with http_door(tmp_path) as opened:
        opened.up.beta.script(
            Script(
                tool_calls=(
                    ToolCall("toolu_1", "exec", json.dumps({"input": CODE})),
                    ToolCall("toolu_2", "weather", '{"at":"Oslo"}'),
                )
            )
        )
        yield opened


def sent(door: Door) -> dict[str, Any]:
    """The last request that the Anthropic-shaped upstream got."""
    found = door.up.beta.calls[-1].body
    assert isinstance(found, dict)
    return found


async def test_a_custom_tool_over_another_wire_answers_with_a_custom_call(door: Door) -> None:
    answer = await door.post(body("sim/beta", tools=[EXEC, WEATHER]))
    assert answer.status == 200
    (choice,) = answer.json["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"] == [
        {"id": "toolu_1", "type": "custom", "custom": {"name": "exec", "input": CODE}},
        {"id": "toolu_2", "type": "function", "function": {"name": "weather", "arguments": '{"at":"Oslo"}'}},
    ]
    assert answer.headers["x-ignored-parameters"] == "tools.custom.format.grammar"
    (written, _) = sent(door)["tools"]
    assert written["name"] == "exec"
    assert written["input_schema"]["required"] == ["input"]
    assert "start: /.+/" in written["description"]


async def test_it_streams_the_same(door: Door) -> None:
    # Read by hand: OpenAI's schema of a chunk has no custom calls, though OpenAI streams them.
    request = body("sim/beta", tools=[EXEC, WEATHER], stream=True)
    async with door.session.post(door.up.http + CHAT, json=request) as response:
        data = [event.removeprefix(b"data: ") async for event in events(response)]
    assert data.pop() == b"[DONE]"
    deltas = [choice["delta"] for chunk in map(json.loads, data) for choice in chunk["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [call["type"] for call in calls if "type" in call] == ["custom", "function"]
    assert "".join(call["custom"]["input"] for call in calls if call["index"] == 0) == CODE


async def test_the_loop_goes_on_with_what_the_tool_gave_back(door: Door) -> None:
    first = (await door.post(body("sim/beta", tools=[EXEC]))).json["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "ümläut"}
    call = {**first, "tool_calls": first["tool_calls"][:1]}
    messages = [{"role": "user", "content": "run it"}, call, result]
    choice = {"type": "custom", "custom": {"name": "exec"}}
    answer = await door.post({"model": "sim/beta", "messages": messages, "tools": [EXEC], "tool_choice": choice})
    assert answer.status == 200
    request = sent(door)
    assert request["messages"][1]["content"] == [
        {"type": "tool_use", "id": "toolu_1", "name": "exec", "input": {"input": CODE}}
    ]
    assert request["tool_choice"] == {"type": "tool", "name": "exec"}


async def test_a_tool_that_a_provider_runs_is_left_out_and_named(door: Door) -> None:
    answer = await door.post(body("sim/beta", tools=[WEATHER, SEARCH], parallel_tool_calls=False))
    assert answer.status == 200
    assert answer.headers["x-ignored-parameters"] == "tools[1]"
    assert [tool["name"] for tool in sent(door)["tools"]] == ["weather"]
    alone = await door.post(body("sim/beta", tools=[SEARCH], tool_choice="auto", parallel_tool_calls=False))
    assert alone.headers["x-ignored-parameters"] == "tools[0]"
    assert not {"tools", "tool_choice"} & sent(door).keys()


async def test_the_endpoint_that_has_the_tool_comes_first_however_dear(door: Door) -> None:
    door.up.alpha.script(Script(text="searched"))
    answer = await door.post(body("sim/reverse", tools=[SEARCH]))
    assert answer.headers["x-provider-slug"] == "alpha"
    assert "x-ignored-parameters" not in answer.headers


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"tools": [SEARCH], "tool_choice": SEARCH}, "tools[0]"),
        ({"tools": [WEATHER, SEARCH], "provider": {"require_parameters": True}}, "tools[1]"),
        ({"tools": [EXEC], "provider": {"require_parameters": True}}, "tools[0]"),
    ],
)
async def test_what_binds_is_refused_by_its_path(door: Door, fields: dict[str, Any], path: str) -> None:
    answer = await door.post(body("sim/beta", **fields))
    assert answer.status == 400
    assert path in answer.error["message"]
