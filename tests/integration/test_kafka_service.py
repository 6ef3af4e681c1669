"""Records of every form go in by a real Kafka, become jobs, and come out as results that say what they answer."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import pytest_asyncio
from eurouter.v1 import chat_pb2, response_object_pb2
from eurouter.v1 import responses_pb2 as pb

from adapters.providers.simulator import HttpError, Reason, Script
from service import wire
from service.edge.kafka.ids import response_id_of
from tests.support import openai_schema
from tests.support.background import follow
from tests.support.kafka_clients import Kafka
from tests.support.kafka_world import KafkaWorld, Told, asked, kafka_world
from tests.support.running import ask, ask_response

PREFIX: Final = f"test-{os.getpid()}-service"

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON: Final = {"content-type": "application/json"}
PROTOBUF: Final = {"content-type": "application/protobuf"}
CHAT: Final = {"eurouter-api": "chat"}
FRAME: Final = b"\x00\x00\x00\x00\x2a\x00"
"""Of schema 42, its first message."""
TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaWorld]:
    """One service for all; in the end every record that was submitted must have come to one thing."""
    async with kafka_world(tmp_path_factory.mktemp("service"), kafka, PREFIX) as opened:
        yield opened
        await opened.settled()


def chat(text: str, **fields: object) -> dict[str, Any]:
    return {"model": "sim/alpha", "messages": [{"role": "user", "content": text}], **fields}


def line(custom_id: str, url: str, body: object) -> dict[str, object]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def rendered(message: Any) -> Any:
    """As the HTTP door writes it."""
    return json.loads(wire.render_bytes(message))


RESPONSES: Final = {
    "JSON": (json.dumps(asked(text="as JSON")).encode(), JSON),
    "JSON without a content type": (json.dumps(asked(text="as JSON")).encode(), {}),
    "protobuf": (ask_response(text="as protobuf").SerializeToString(), PROTOBUF),
    "framed protobuf": (FRAME + ask_response(text="framed").SerializeToString(), {}),
    "Batch line": (json.dumps(line("row-7", "/v1/responses", asked(text="a line"))).encode(), JSON),
}
CHATS: Final = {
    "JSON": (json.dumps(chat("as JSON")).encode(), {**JSON, **CHAT}),
    "protobuf": (ask(text="as protobuf").SerializeToString(), {**PROTOBUF, **CHAT}),
    "framed protobuf": (FRAME + ask(text="framed").SerializeToString(), {**PROTOBUF, **CHAT}),
    "Batch line": (json.dumps(line("row-8", "/v1/chat/completions", chat("a line"))).encode(), {}),
}


@pytest.mark.parametrize("form", RESPONSES)
async def test_a_responses_request_of_each_form_becomes_a_job_whose_result_is_what_get_response_shows(
    world: KafkaWorld, form: str
) -> None:
    value, headers = RESPONSES[form]
    told = await world.result(await world.submit(value, headers, key=b"order-17"))
    shown = (await world.door.call("GET", f"/{told.id}")).json
    assert shown["status"] == "completed"
    if "protobuf" in form:
        assert told.headers["content-type"] == b"application/protobuf; proto=eurouter.v1.Response"
        assert told.value is not None
        made = response_object_pb2.Response.FromString(told.value)
        assert made == await world.door.up.responses.GetResponse(pb.GetResponseRequest(response_id=told.id))
        assert rendered(made) == shown
    else:
        assert told.headers["content-type"] == b"application/json"
        assert told.json == shown
    assert shown["output"][0]["content"][0]["text"] == _asked_text(value)


@pytest.mark.parametrize("form", CHATS)
async def test_a_chat_request_of_each_form_gives_a_completion_and_is_read_as_a_response(
    world: KafkaWorld, form: str
) -> None:
    value, headers = CHATS[form]
    told = await world.result(await world.submit(value, headers))
    if "protobuf" in form:
        assert told.headers["content-type"] == b"application/protobuf; proto=eurouter.v1.ChatCompletion"
        assert told.value is not None
        whole = chat_pb2.ChatCompletion.FromString(told.value)
        completion = rendered(whole)
    else:
        assert told.headers["content-type"] == b"application/json"
        completion = told.json
    assert openai_schema.problems(openai_schema.WHOLE, completion) == []
    text = _asked_text(value)
    assert completion["choices"][0]["message"]["content"] == text
    assert completion["choices"][0]["finish_reason"] == "stop"
    # `call` holds it to the schema of a response, and so does the channel.
    shown = (await world.door.call("GET", f"/{told.id}")).json
    assert (shown["status"], shown["output"][0]["content"][0]["text"]) == ("completed", text)
    followed = await follow(world.door, told.id)
    assert followed.response == shown
    read = await world.door.up.responses.GetResponse(pb.GetResponseRequest(response_id=told.id))
    assert rendered(read) == shown


async def test_a_result_carries_what_its_submitter_knows_it_by(world: KafkaWorld) -> None:
    before = time.time()
    sent = await world.submit(
        asked(),
        {"correlation-id": b"\x00 order 17 \xff", "traceparent": TRACE, "content-type": "application/json"},
        key=b"\xf0key",
    )
    told = await world.result(sent)
    trace = told.headers["traceparent"].decode()
    # A span of ours in the caller's trace.
    assert (trace[:36], trace[-3:]) == (TRACE[:36], TRACE[-3:])
    assert dict(told.headers) == {
        "content-type": b"application/json",
        "eurouter-status": b"completed",
        "eurouter-attempt": b"1",
        "eurouter-version": b"1",
        "eurouter-inline": b"true",
        "correlation-id": b"\x00 order 17 \xff",
        "eurouter-source-key": b"\xf0key",
        "eurouter-source-topic": world.name("requests").encode(),
        "eurouter-source-partition": b"%d" % sent.partition,
        "eurouter-source-offset": b"%d" % sent.offset,
        "traceparent": trace.encode(),
    }
    assert told.topic == world.name("results")
    assert told.id == told.json["id"]
    assert before - 1 <= told.json["created_at"] <= time.time()


async def test_the_custom_id_of_a_line_comes_back_as_its_correlation_id_unless_a_header_names_one(
    world: KafkaWorld,
) -> None:
    value = line("row-9", "/v1/responses", asked())
    first, second = await world.submit(value), await world.submit(value, {"correlation-id": "mine"})
    assert (await world.result(first)).headers["correlation-id"] == b"row-9"
    assert (await world.result(second)).headers["correlation-id"] == b"mine"


async def test_a_wake_up_holds_the_id_alone(world: KafkaWorld) -> None:
    told = await world.result(await world.submit(asked()))
    wakes = world.name("jobs")

    def woken() -> list[Told]:
        return [wake for wake in world.reader.of(wakes) if wake.id == told.id]

    await world.reader.until(lambda: bool(woken()), "the wake-up")
    assert {(wake.value, tuple(wake.headers)) for wake in woken()} == {(told.id.encode(), ())}


async def test_with_stream_true_deltas_are_kept_for_followers_and_else_they_are_not(world: KafkaWorld) -> None:
    streamed = await world.result(await world.submit(asked(text="one two three", stream=True)))
    plain = await world.result(await world.submit(asked(text="one two three")))
    of_chat = await world.result(await world.submit(chat("one two three", stream=True), CHAT))
    for told, deltas in ((streamed, True), (plain, False), (of_chat, True)):
        followed = await follow(world.door, told.id)
        assert ("response.output_text.delta" in followed.types) is deltas
        assert followed.text == ("one two three" if deltas else "")
        assert followed.types[-1] == "response.completed"


async def test_a_job_is_followed_while_it_runs(world: KafkaWorld) -> None:
    mine = "resp_" + "0123456789abcdef0123456789abcdef0123"
    world.door.up.alpha.enqueue(Script(tokens=20, pace=0.05))
    sent = await world.submit(asked(stream=True), {"eurouter-response-id": mine})
    await world.until(lambda: _is_there(world, mine), "it is accepted")
    call = world.door.up.responses.FollowResponse(pb.FollowResponseRequest(response_id=mine))
    seen = [event async for event in call]
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    deltas = [event.output_text_delta.delta for event in seen if event.WhichOneof("event") == "output_text_delta"]
    # A busy process gathers some of the twenty.
    assert 1 < len(deltas) <= 20
    assert "".join(deltas) == seen[-1].completed.response.output[0].message.content[0].output_text.text
    told = await world.result(sent)
    assert (told.id, told.json["output"][0]["id"]) == (mine, seen[-1].completed.response.output[0].message.id)


async def test_the_id_of_a_response_is_known_before_its_record_is_read(world: KafkaWorld) -> None:
    told = await world.result(await world.submit(asked(), {"idempotency-key": "order-18"}))
    assert told.id == response_id_of("local", "order-18")


async def test_a_record_that_comes_twice_under_a_key_is_one_job(world: KafkaWorld) -> None:
    headers = {"idempotency-key": "order-19"}
    first = await world.submit(asked(text="once"), headers)
    told = await world.result(first)
    again = await world.submit(asked(text="once"), headers)
    last = await world.submit(asked(text="later"))
    await world.result(last)
    assert world.results(again) == []
    assert world.letters(again) == []
    assert [one.source for one in world.results(told.id)] == [first]
    # It is the first one's job: nothing more will come of it.
    world.sent.remove(again)


async def test_priorities_come_from_the_header_or_the_tier_and_the_group_cancels_them_all(
    world: KafkaWorld,
) -> None:
    later = {"eurouter-run-at": _in(3600), "eurouter-group": "night"}
    wanted = {
        "high": {"eurouter-priority": "high"},
        "bulk": {"eurouter-priority": "bulk"},
        "normal": {},
    }
    sent = {name: await world.submit(asked(), {**later, **headers}) for name, headers in wanted.items()}
    sent["flex"] = await world.submit(asked(service_tier="flex"), later)
    sent["priority"] = await world.submit(asked(service_tier="priority"), later)

    async def all_there() -> bool:
        return len(await _jobs(world)) == len(sent)

    await world.until(all_there, "all are accepted")
    found = sorted(job["priority"] for job in await _jobs(world))
    assert found == ["bulk", "bulk", "high", "high", "normal"]
    answer = await world.door.call("POST", "/v1/jobs/cancel", json={"group": "night"})
    assert answer.json["cancelled_count"] == len(sent)
    for one in sent.values():
        told = await world.result(one)
        assert told.headers["eurouter-status"] == b"cancelled"
        assert told.json == (await world.door.call("GET", f"/{told.id}")).json


async def test_nothing_runs_before_its_time(world: KafkaWorld) -> None:
    began = time.time()
    told = await world.result(await world.submit(asked(), {"eurouter-run-at": _in(2)}))
    assert told.json["completed_at"] >= int(began) + 1
    assert time.time() - began > 1


@pytest.mark.parametrize("api", ["responses", "chat"])
async def test_a_job_that_fails_is_told_as_a_response_with_its_error(world: KafkaWorld, api: str) -> None:
    value, headers = (asked("sim/beta"), {}) if api == "responses" else (chat("hi", model="sim/beta"), CHAT)
    world.door.up.beta.enqueue(Script(text="never", fault=HttpError(400, Reason.INVALID_REQUEST)))
    told = await world.result(await world.submit(value, headers))
    assert told.headers["eurouter-status"] == b"failed"
    assert (told.json["object"], told.json["status"]) == ("response", "failed")
    assert told.json["error"]["message"]
    read = await world.door.up.responses.GetResponse(pb.GetResponseRequest(response_id=told.id))
    assert told.json == rendered(read)


def _asked_text(value: bytes) -> str:
    for text in ("as JSON", "as protobuf", "framed", "a line"):
        if text.encode() in value:
            return text
    raise AssertionError(value)


def _in(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()


async def _jobs(world: KafkaWorld) -> list[dict[str, Any]]:
    answer = await world.door.call("GET", "/v1/jobs?group=night&state=queued")
    jobs: list[dict[str, Any]] = answer.json["jobs"]
    return jobs


async def _is_there(world: KafkaWorld, response_id: str) -> bool:
    await asyncio.sleep(0)
    return (await world.door.call("GET", f"/{response_id}")).status == 200
