"""Responses over HTTP on the embedded database: made, streamed, continued, read, listed and deleted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.providers.simulator import SERVER_ERROR, Cut, Script, ToolCall, Usage
from tests.support import responses_schema
from tests.support.responses_door import ResponsesDoor, asked, responses_door

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
BRIDGED_TEXT = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
MODELS = ("sim/alpha", "sim/beta")


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[ResponsesDoor]:
    async with responses_door(tmp_path) as opened:
        yield opened


def both(door: ResponsesDoor, script: Script) -> None:
    door.up.alpha.script(script)
    door.up.beta.script(script)


def texts(messages: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(message["role"], message.get("content")) for message in messages]


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
@pytest.mark.parametrize("model", MODELS)
async def test_a_whole_response_is_what_both_descriptions_ask_and_can_be_read_again(
    door: ResponsesDoor, prefix: str, model: str
) -> None:
    both(door, Script(text="Hello there", usage=Usage(7, 3, cached_tokens=2)))
    answer = await door.create(asked(model, metadata={"team": "a"}), f"{prefix}/responses")
    assert answer.status == 200
    made = answer.json
    assert made["status"] == "completed"
    assert made["output"][0]["content"][0]["text"] == "Hello there"
    assert (made["usage"]["input_tokens"], made["usage"]["output_tokens"]) == (7, 3)
    assert made["usage"]["input_tokens_details"]["cached_tokens"] == 2
    assert made["metadata"] == {"team": "a"}
    assert made["store"] is True
    assert answer.headers["x-model-used"] == model
    again = await door.call("GET", f"{prefix}/responses/{made['id']}")
    assert again.json == made


@pytest.mark.parametrize("model", MODELS)
async def test_a_bridged_text_answer_is_streamed_as_openai_streams_it(door: ResponsesDoor, model: str) -> None:
    both(door, Script(text="one two three"))
    followed = await door.stream(asked(model))
    assert followed.done
    seen = [t for i, t in enumerate(followed.types) if i == 0 or followed.types[i - 1] != t]
    assert seen == BRIDGED_TEXT
    assert followed.text == "one two three"
    created = followed.events[0]["response"]
    assert (created["status"], created["output"]) == ("in_progress", [])
    assert (created["id"], created["model"]) == (followed.response["id"], followed.response["model"])
    stored = await door.call("GET", f"/{followed.response['id']}")
    assert stored.json == followed.response


async def test_reasoning_comes_before_the_message_and_shifts_its_output_index(door: ResponsesDoor) -> None:
    both(door, Script(reasoning="let me think", text="done"))
    for model in MODELS:
        followed = await door.stream(asked(model))
        assert [item["type"] for item in followed.response["output"]] == ["reasoning", "message"]
        delta = next(e for e in followed.events if e["type"] == "response.output_text.delta")
        assert delta["output_index"] == 1
        assert delta["item_id"] == followed.response["output"][1]["id"]


async def test_a_conversation_goes_on_at_another_provider_with_all_that_went_before(door: ResponsesDoor) -> None:
    both(door, Script(text="Paris."))
    first = (await door.create(asked("sim/alpha", "Capital of France?", instructions="Be brief."))).json
    second = (
        await door.create(
            asked("sim/beta", "And of Spain?", previous_response_id=first["id"], instructions="Now be long.")
        )
    ).json
    third = await door.stream(asked("sim/alpha", "And of Italy?", previous_response_id=second["id"]))
    assert third.response["previous_response_id"] == second["id"]
    sent = door.up.alpha.calls[-1].body["messages"]
    assert texts(sent) == [
        ("user", "Capital of France?"),
        ("assistant", "Paris."),
        ("user", "And of Spain?"),
        ("assistant", "Paris."),
        ("user", "And of Italy?"),
    ], "instructions are not inherited"
    assert "Now be long." in json.dumps(door.up.beta.calls[-1].body["system"])


async def test_a_tool_loop_binds_the_output_to_its_call(door: ResponsesDoor) -> None:
    for model, upstream in zip(MODELS, (door.up.alpha, door.up.beta), strict=True):
        both(
            door,
            Script(tool_calls=(ToolCall("call_1", "weather", '{"city":"Paris"}'), ToolCall("call_2", "weather"))),
        )
        first = (await door.create(asked(model, "Weather?", tools=[WEATHER]))).json
        calls = [item for item in first["output"] if item["type"] == "function_call"]
        assert [(c["name"], c["arguments"]) for c in calls] == [("weather", '{"city":"Paris"}'), ("weather", "{}")]
        both(door, Script(text="Sunny."))
        outputs = [
            {"type": "function_call_output", "call_id": call["call_id"], "output": f"sun {n}"}
            for n, call in enumerate(calls)
        ]
        second = (await door.create(asked(model, outputs, tools=[WEATHER], previous_response_id=first["id"]))).json
        assert second["output"][-1]["content"][0]["text"] == "Sunny."
        sent = json.dumps(upstream.calls[-1].body["messages"])
        assert sent.index("sun 0") < sent.index("sun 1")


async def test_store_false_keeps_nothing(door: ResponsesDoor) -> None:
    made = (await door.create(asked(store=False))).json
    assert made["store"] is False
    gone = await door.call("GET", f"/{made['id']}")
    assert (gone.status, gone.error["reason"]) == (404, "RESPONSE_NOT_FOUND")
    after = await door.create(asked(previous_response_id=made["id"]))
    assert (after.status, after.error["code"]) == (400, "previous_response_not_found")
    assert after.error["param"] == "previous_response_id"
    assert len(door.up.alpha.calls) == 1, "nothing was sent for a conversation that is not there"


async def test_a_deleted_response_is_gone_and_so_is_what_was_built_on_it(door: ResponsesDoor) -> None:
    first = (await door.create(asked())).json
    second = (await door.create(asked(previous_response_id=first["id"]))).json
    deleted = await door.call("DELETE", f"/{first['id']}")
    assert deleted.json == {"id": first["id"], "object": "response", "deleted": True}
    assert (await door.call("GET", f"/{first['id']}")).status == 404
    assert (await door.call("DELETE", f"/{first['id']}")).status == 404
    assert (await door.call("GET", f"/{second['id']}")).status == 200
    broken = await door.create(asked(previous_response_id=second["id"]))
    assert broken.error["reason"] == "PREVIOUS_RESPONSE_NOT_FOUND"
    assert "not whole" in broken.error["message"]


async def test_input_items_are_listed_in_pages_both_ways(door: ResponsesDoor) -> None:
    said = [{"role": "user", "content": f"message {n}"} for n in range(5)]
    made = (await door.create(asked(text=said))).json
    whole = (await door.call("GET", f"/{made['id']}/input_items?order=asc")).json
    assert [item["content"][0]["text"] for item in whole["data"]] == [f"message {n}" for n in range(5)]
    for item in whole["data"]:
        responses_schema.check_item(item)
    ids = [item["id"] for item in whole["data"]]
    assert len(set(ids)) == 5
    assert (whole["first_id"], whole["last_id"], whole["has_more"]) == (ids[0], ids[-1], False)
    newest = (await door.call("GET", f"/{made['id']}/input_items?limit=2")).json
    assert [item["id"] for item in newest["data"]] == [ids[4], ids[3]]
    assert newest["has_more"] is True
    rest = (await door.call("GET", f"/{made['id']}/input_items?limit=2&after={ids[3]}")).json
    assert [item["id"] for item in rest["data"]] == [ids[2], ids[1]]
    for query, field in (("limit=0", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("after=no", "after")):
        wrong = await door.call("GET", f"/{made['id']}/input_items?{query}")
        assert (wrong.status, wrong.error["param"]) == (400, field)


async def test_an_item_reference_stands_for_the_stored_item(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(text="Paris."))
    first = (await door.create(asked(text="Capital of France?"))).json
    asked_again = [
        {"type": "item_reference", "id": first["output"][0]["id"]},
        {"role": "user", "content": "Are you sure?"},
    ]
    second = await door.create(asked(text=asked_again))
    assert second.status == 200, second.raw
    assert texts(door.up.alpha.calls[-1].body["messages"]) == [("assistant", "Paris."), ("user", "Are you sure?")]
    stranger = [{"type": "item_reference", "id": "msg_68a1b2c3"}, {"role": "user", "content": "?"}]
    refused = await door.create(asked(text=stranger))
    assert (refused.status, refused.error["param"]) == (400, "input[0].id")


async def test_a_failure_before_the_first_output_is_a_status_and_nothing_is_stored(door: ResponsesDoor) -> None:
    both(door, Script(fault=SERVER_ERROR))
    assert (await door.create(asked())).status == 503
    assert (await door.create(asked(stream=True))).status == 503


async def test_a_cut_after_the_first_output_is_told_as_failed_and_read_again_as_failed(
    door: ResponsesDoor,
) -> None:
    both(door, Script(text="one two three four five", fault=Cut(after_tokens=3)))
    for model in MODELS:
        followed = await door.stream(asked(model))
        assert followed.done
        assert followed.types[-1] == "response.failed"
        assert followed.response["status"] == "failed"
        assert followed.response["error"]["code"] == "server_error"
        assert followed.response["output"][0]["status"] == "incomplete"
        stored = await door.call("GET", f"/{followed.response['id']}")
        assert stored.json == followed.response
        onward = await door.create(asked(model, previous_response_id=followed.response["id"]))
        assert (onward.status, onward.error["reason"]) == (400, "WRONG_STATE")


async def test_a_limit_ends_in_incomplete_and_can_be_continued(door: ResponsesDoor) -> None:
    both(door, Script(text="one two", finish_reason="length"))
    for model in MODELS:
        followed = await door.stream(asked(model, max_output_tokens=16))
        assert followed.types[-1] == "response.incomplete"
        assert followed.response["incomplete_details"] == {"reason": "max_output_tokens"}
        assert followed.response["completed_at"] is None
        assert (await door.create(asked(model, previous_response_id=followed.response["id"]))).status == 200


async def test_a_client_that_leaves_ends_the_upstream_call_and_nothing_is_stored(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(tokens=500, pace=0.02))
    url = door.up.http + "/v1/responses"
    async with door.session.post(url, json=asked(stream=True)) as response:
        line = await response.content.readuntil(b"\n\n")
        made = json.loads(line.partition(b"data: ")[2])["response"]["id"]
    await door.up.alpha.wait_for(lambda calls: calls[-1].cancelled)
    assert (await door.call("GET", f"/{made}")).status == 404


async def test_what_needs_storage_is_refused_where_nothing_may_be_kept(
    door: ResponsesDoor, tmp_path: Path
) -> None:
    zero = {"provider": {"max_retention_days": 0}}
    for field, value in (("store", True), ("previous_response_id", "resp_" + "0" * 36)):
        refused = await door.create({**asked(), **zero, field: value})
        assert (refused.status, refused.error["param"]) == (400, field)
        assert "provider.max_retention_days" in refused.error["message"]


async def test_foreground_responses_are_neither_followed_nor_cancelled(door: ResponsesDoor) -> None:
    made = (await door.create(asked())).json
    for method, path in (("GET", f"/{made['id']}?stream=true"), ("POST", f"/{made['id']}/cancel")):
        answer = await door.call(method, path)
        assert (answer.status, answer.error["reason"]) == (400, "WRONG_STATE")
    for method, path in (("GET", "/resp_no?stream=true"), ("POST", f"/resp_{'1' * 36}/cancel"), ("GET", "/x")):
        answer = await door.call(method, path)
        assert (answer.status, answer.error["reason"]) == (404, "RESPONSE_NOT_FOUND")


async def test_what_is_too_large_or_too_deep_to_be_continued_is_told_as_too_long(tmp_path: Path) -> None:
    limits = {"responses": {"max_chain_depth": 2, "max_chain_bytes": 20_000}}
    async with responses_door(tmp_path, limits) as door:
        large = (await door.create(asked(text="z" * 21_000))).json
        refused = await door.create(asked(previous_response_id=large["id"]))
        assert (refused.status, refused.error["reason"]) == (400, "CONVERSATION_TOO_LONG")
        assert "20000 bytes" in refused.error["message"]
        last: dict[str, Any] = {}
        for _ in range(3):
            last = (await door.create(asked(previous_response_id=last.get("id")))).json
        refused = await door.create(asked(previous_response_id=last["id"]))
        assert (refused.status, refused.error["reason"]) == (400, "CONVERSATION_TOO_LONG")
        assert "would bring along more than 2 responses" in refused.error["message"]


async def test_a_failing_database_is_named_in_the_log_and_never_to_a_caller(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    where = {"database": {"url": f"sqlite:///{tmp_path / 'file' / 'responses.db'}"}}
    async with responses_door(tmp_path, where) as door:
        with capture_logs() as logs:
            refused = await door.create(asked())
            followed = await door.stream(asked())
        assert (refused.status, refused.error["reason"]) == (503, "STORE_UNAVAILABLE")
        assert (followed.last["type"], followed.last["code"]) == ("error", "not_stored")
        assert str(tmp_path) not in refused.error["message"] + followed.last["message"]
        told = [line["error"] for line in logs if line["event"] == "store_failed"]
        assert len(told) == 2
        assert all(str(tmp_path) in error for error in told)
        assert (await door.create(asked(store=False))).status == 200


@pytest.mark.parametrize("path", ["compact", "input_tokens"])
async def test_a_path_that_is_no_id_of_a_response_is_an_api_that_is_not_offered(
    door: ResponsesDoor, path: str
) -> None:
    answer = await door.call("POST", f"/{path}", json={})
    assert (answer.status, answer.error["reason"]) == (404, "API_NOT_OFFERED")


async def test_two_services_on_one_database_continue_each_others_conversations(tmp_path: Path) -> None:
    database = {"database": {"url": f"sqlite:///{tmp_path / 'shared.db'}"}}
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    async with responses_door(folders[0], database) as a, responses_door(folders[1], database) as b:
        first = (await a.create(asked(text="one"))).json
        second = (await b.create(asked(text="two", previous_response_id=first["id"]))).json
        third = await a.stream(asked(text="three", previous_response_id=second["id"]))
        assert third.last["type"] == "response.completed"
        said = [content for role, content in texts(a.up.alpha.calls[-1].body["messages"]) if role == "user"]
        assert said == ["one", "two", "three"]


async def test_many_calls_at_once_are_all_stored(door: ResponsesDoor) -> None:
    answers = await asyncio.gather(*(door.create(asked(text=f"n {n}")) for n in range(40)))
    ids = [answer.json["id"] for answer in answers]
    assert len(set(ids)) == 40
    again = await asyncio.gather(*(door.call("GET", f"/{one}") for one in ids))
    assert [one.json["id"] for one in again] == ids
