"""What a release stores and sends, made by its own code: one response of each kind, one record of each form.

All of it happens at NOW, with ids that are counted: what is made twice is the same.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from eurouter.v1 import chat_pb2, responses_pb2

import service.bootstrap
import service.edge.calls
import service.engine
import service.job_engine
from adapters.providers.simulator import HttpError, Script, Stall, ToolCall
from adapters.providers.simulator.script import Reason
from service import wire
from service.domain.consuming import Record
from service.edge.kafka import names
from tests.support.http_door import events
from tests.support.kafka_records import KEY, LATER, TOPIC, record, signed
from tests.support.responses_door import ResponsesDoor, asked, responses_door
from tests.support.running import two_dialects

PIXEL: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Final = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}
FORM: Final = {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}
OSLO: Final = '{"city":"Oslo"}'
PARTS: Final = [
    {"type": "input_text", "text": "What is this?"},
    {"type": "input_image", "image_url": PIXEL, "detail": "low"},
    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQK"},
]
MODEL: Final = "sim/alpha"
SECONDS: Final = 30.0

_NOBODY: Final = "127.0.0.1:1"
"""There is no broker: what is to be published waits."""


def sections(url: str) -> dict[str, Any]:
    """The settings: nobody works on jobs by himself, and Kafka is there but for its brokers."""
    return {
        "database": {"url": url},
        "jobs": {"here": False, "lease_seconds": 3},
        "responses": {"retention_days": 36500},
        "log": {"level": "error"},
        "kafka": {
            "bootstrap_servers": _NOBODY,
            "topics": "check",
            "intake": [{"topic": TOPIC, "owner": "local", "results_topic": "team-a.results"}],
        },
        "owners": [
            {
                "name": "team-b",
                "public_keys": [{"id": "b1", "key": _public_key()}],
            },
            {"name": "local", "reply_topics": ["team-a.urgent"]},
        ],
    }


def catalogue(alpha: str, beta: str) -> dict[str, Any]:
    """Two dialects; beta's row has forms emulated."""
    rows = two_dialects(alpha, beta)
    rows["providers"][1] |= {
        "refuses": ["response_format.json_schema"],
        "emulates": ["response_format.json_schema"],
    }
    return rows


@asynccontextmanager
async def opened(folder: Path, url: str) -> AsyncIterator[ResponsesDoor]:
    """A service on the database, on which nobody works on jobs unless `working` says so."""
    async with responses_door(folder, sections(url), catalogue) as door:
        yield door


@asynccontextmanager
async def working(door: ResponsesDoor) -> AsyncIterator[None]:
    """Meanwhile a worker works; in the end it is gone as if it were lost: it hands nothing back."""
    worker = door.up.service.worker()
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker._hand_back = _nothing  # type: ignore[method-assign]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def over(door: ResponsesDoor, response_id: str) -> str:
    """Its status, once it is over."""
    async with asyncio.timeout(SECONDS):
        while (status := str((await door.call("GET", f"/{response_id}")).json["status"])) in _GOING_ON:
            await asyncio.sleep(0.02)
    return status


_GOING_ON: Final = ("queued", "in_progress")


async def fill(door: ResponsesDoor) -> dict[str, str]:
    """Makes one of each kind; the ids by name."""
    made = await _answered(door)
    async with working(door):
        made |= await _jobs(door)
        await _by_kafka(door)
        made["lost"] = await _lost(door)
    made |= await _waiting(door)
    return made


async def _answered(door: ResponsesDoor) -> dict[str, str]:
    made: dict[str, str] = {}

    async def create(name: str, script: Script, **fields: Any) -> None:
        upstream = door.up.beta if fields.get("model") == "sim/beta" else door.up.alpha
        upstream.enqueue(script)
        answer = await door.create({"model": MODEL, "input": "hello", **fields})
        assert answer.status == 200, (name, answer.raw)
        made[name] = str(answer.json["id"])

    rivers = {"input": "Name three rivers.", "metadata": {"of": "fixtures"}}
    await create("plain", Script(text="Danube, Rhine, Elbe."), **rivers)
    await create("next", Script(text="The Danube."), input="The longest?", previous_response_id=made["plain"])
    await create("third", Script(text="Vienna."), input="A city on it?", previous_response_id=made["next"])
    await create("tool", Script(tool_calls=(_call("weather"),)), input="Weather in Oslo?", tools=[WEATHER])
    output = [{"type": "function_call_output", "call_id": "call_1", "output": '{"degrees":-3}'}]
    await create(
        "after tool", Script(text="Cold."), input=output, tools=[WEATHER], previous_response_id=made["tool"]
    )
    await create("reasoned", Script(reasoning="Two and two.", text="Four."), reasoning={"effort": "low"})
    await create("media", Script(text="A pixel."), input=[{"role": "user", "content": PARTS}])
    await create("cut short", Script(text="Once upon", finish_reason="length"), max_output_tokens=16)
    await create("refused", Script(refusal="I won't."))
    await create("formed", Script(text=OSLO), input="Which city?", text=FORM)
    await create("emulated", Script(tool_calls=(_call("place"),)), model="sim/beta", text=FORM)
    door.up.alpha.enqueue(Script(text="Streamed and kept."))
    made["streamed"] = str((await door.stream(asked(text="Stream it."))).response["id"])
    return made


def _call(name: str) -> ToolCall:
    return ToolCall("call_1", name, OSLO)


async def _jobs(door: ResponsesDoor) -> dict[str, str]:
    made: dict[str, str] = {}

    async def create(name: str, script: Script, status: str, **fields: Any) -> None:
        door.up.alpha.enqueue(script)
        headers = fields.pop("headers", {})
        answer = await door.create({"model": MODEL, "input": name, "background": True, **fields}, headers=headers)
        assert answer.status == 200, (name, answer.raw)
        made[name] = str(answer.json["id"])
        assert await over(door, made[name]) == status, name

    labels = {"idempotency-key": "order-17", "eurouter-priority": "high", "eurouter-group": "nightly"}
    await create("job", Script(text="Done."), "completed", headers=labels)
    await create("job next", Script(text="Done, too."), "completed", previous_response_id=made["job"])
    await create("job with tool", Script(tool_calls=(_call("weather"),)), "completed", tools=[WEATHER])
    await create("failed job", Script(fault=HttpError(400, Reason.INVALID_REQUEST)), "failed")
    cut = Script(text="Once", finish_reason="length")
    await create("short job", cut, "incomplete", max_output_tokens=16)
    await create("deleted job", Script(text="Gone."), "completed")
    assert (await door.call("DELETE", f"/{made.pop('deleted job')}")).status == 200
    door.up.alpha.enqueue(Script(reasoning="Slowly.", text="Streamed by a worker."))
    streamed = await door.stream(asked(text="Stream it.", background=True))
    return made | {"streamed job": str(streamed.response["id"])}


async def _by_kafka(door: ResponsesDoor) -> None:
    """The records that are jobs are worked on, so that their results wait; the others are dead letters."""
    acceptance = door.up.service.acceptance()
    door.up.alpha.script(Script(echo=True))
    for name, one in submitted().items():
        outcome = await acceptance.accept([one])
        assert (outcome.accepted, outcome.rejected) == ((0, 1) if name.startswith("dead") else (1, 0)), (
            name,
            outcome,
        )
        async with asyncio.timeout(SECONDS):
            while await _at_work(door):
                await asyncio.sleep(0.02)


async def _at_work(door: ResponsesDoor) -> bool:
    """Whether any job of anybody's is not over."""
    stats = await door.up.service.database.jobs.queue_stats(None)
    return any(one.runnable or one.in_progress for one in stats.values())


async def _lost(door: ResponsesDoor) -> str:
    """A job whose worker is gone after output could be seen."""
    door.up.alpha.enqueue(Script(text="It begins and never", fault=Stall(after_tokens=3)))
    response_id = await _begun(door, "Begin.")
    database = door.up.service.database
    async with asyncio.timeout(SECONDS):
        while len((await database.jobs.events("local", response_id, -1, 100)).events) < 5:
            await asyncio.sleep(0.02)
    return response_id


async def _begun(door: ResponsesDoor, text: str) -> str:
    """The id of a job whose deltas are kept, by a stream that is left after its first event."""
    body = {**asked(text=text, background=True), "stream": True}
    async with door.session.post(f"{door.up.http}/v1/responses", json=body) as response:
        async for event in events(response):
            if data := event.partition(b"data: ")[2]:
                return str(json.loads(data)["response"]["id"])
    raise AssertionError("a stream without an event")


async def _waiting(door: ResponsesDoor) -> dict[str, str]:
    made = {}
    for name in ("queued", "cancelled"):
        answer = await door.create(asked(text=name, background=True), headers={"idempotency-key": name})
        assert answer.status == 200, answer.raw
        made[name] = str(answer.json["id"])
    assert (await door.call("POST", f"/{made['cancelled']}/cancel")).status == 200
    return made | {"queued stream": await _begun(door, "Later.")}


def submitted() -> dict[str, Record]:
    """Records of every form that are jobs, and some that are none, by name."""
    message = wire.parse(responses_pb2.CreateResponseRequest, {"model": MODEL, "input": "By protobuf."})
    completion = {"model": MODEL, "messages": [{"role": "user", "content": "By chat."}]}
    chat = wire.parse(chat_pb2.CreateChatCompletionRequest, completion)
    line = {
        "custom_id": "line-1",
        "method": "POST",
        "url": "/v1/responses",
        "body": {"model": MODEL, "input": "A line."},
    }
    chat_line = {"custom_id": "line-2", "method": "POST", "url": "/v1/chat/completions", "body": completion}
    json_type, protobuf = {names.CONTENT_TYPE: "application/json"}, {names.CONTENT_TYPE: "application/protobuf"}
    every = {
        **json_type,
        names.IDEMPOTENCY_KEY: "order-18",
        names.PRIORITY: "bulk",
        names.GROUP: "nightly",
        names.CORRELATION_ID: "correlation-18",
        names.REPLY_TOPIC: "team-a.urgent",
        names.EXPIRES_AT: LATER,
        names.TRACEPARENT: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    body = {"model": MODEL, "input": "By JSON."}
    made = {
        "json": record(body, headers=json_type),
        "json-every-header": record(body, headers=every),
        "json-bare": record(body, key=None),
        "json-streamed": record({**body, "stream": True}, headers=json_type),
        "protobuf": record(message.SerializeToString(), headers=protobuf),
        "framed": record(b"\x00\x00\x00\x00\x07\x00" + message.SerializeToString(), headers=protobuf),
        "line": record(line),
        "line-chat": record(chat_line),
        "chat-json": record(completion, headers={**json_type, names.API: "chat"}),
        "chat-protobuf": record(chat.SerializeToString(), headers={**protobuf, names.API: "chat"}),
        "signed-json": signed(body, key=b"signed"),
        "dead-cut": record(b'{"model": "si', headers=json_type),
        "dead-model": record({**body, "model": "nobody/knows"}, headers=json_type),
        "dead-null": record(b"x", headers=json_type | {names.API: "images"}),
    }
    # One record at each place, as in a topic.
    return {
        name: Record(
            topic=one.topic, partition=one.partition, offset=offset, timestamp_ms=one.timestamp_ms, key=one.key,
            value=one.value, headers=one.headers,
        )
        for offset, (name, one) in enumerate(made.items())
    }  # fmt: skip


def nothing_by_lot(patch: pytest.MonkeyPatch) -> None:
    """From here on ids are numbers from 1 on, and those of traces all the same."""
    numbers = count(1)

    def next_id() -> str:
        return f"{next(numbers):036x}"

    for module in (service.engine, service.job_engine, service.bootstrap):
        patch.setattr(module, "new_id", next_id)
    patch.setattr(service.edge.calls, "getrandbits", lambda bits: (1 << bits) // 3)


async def _nothing() -> None:
    pass


def _public_key() -> str:
    return b64encode(KEY.public_key().public_bytes_raw()).decode()
