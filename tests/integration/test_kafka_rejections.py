"""Records that are no jobs, on a real Kafka: each goes to the dead letters with its reason, its neighbours run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import getrandbits
from typing import Any, Final

import pytest
import pytest_asyncio

from service.edge.kafka import names
from service.edge.kafka.rejections import Rejection
from tests.support.kafka_batches import batch, send_batch
from tests.support.kafka_clients import Kafka
from tests.support.kafka_world import KafkaWorld, Sent, asked, kafka_world
from tests.support.running import ask_response

PREFIX: Final = f"test-{os.getpid()}-rejections"

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST: Final = 100_000
FIVE_MB: Final = 5_000_000
PROTOBUF: Final = {"content-type": "application/protobuf"}
MESSAGE: Final = ask_response(text="cut " * 20).SerializeToString()
TWICE: Final = [("eurouter-priority", b"high"), ("eurouter-priority", b"bulk")]

BAD: Final[dict[str, tuple[Rejection, object, Any]]] = {
    "no value": (Rejection.UNDECODABLE, b"", {}),
    "a truncated protobuf": (Rejection.UNDECODABLE, MESSAGE[:-7], PROTOBUF),
    "a truncated frame": (Rejection.UNDECODABLE, b"\x00\x00\x00\x01", {}),
    "a frame around nonsense": (Rejection.UNDECODABLE, b"\x00\x00\x00\x00\x01\x00\xff\xff", {}),
    "JSON that ends too soon": (Rejection.UNDECODABLE, b'{"model": "sim/alp', {}),
    "a list": (Rejection.UNDECODABLE, b"[]", {"content-type": "application/json"}),
    "a wrong content type": (Rejection.UNKNOWN_CONTENT_TYPE, asked(), {"content-type": "application/avro"}),
    "bytes of no form": (Rejection.UNKNOWN_CONTENT_TYPE, b"\x07\x08", {}),
    "another API": (Rejection.UNKNOWN_API, asked(), {"eurouter-api": "embeddings"}),
    "a line of another API": (
        Rejection.UNKNOWN_API,
        {"custom_id": "1", "method": "POST", "url": "/v1/embeddings", "body": {}},
        {},
    ),
    "too large": (Rejection.TOO_LARGE, asked(text="x" * MOST), {}),
    "5 MB": (Rejection.TOO_LARGE, b"x" * FIVE_MB, {}),
    "expired": (Rejection.EXPIRED, asked(), {"eurouter-expires-at": "2001-01-01T00:00:00Z"}),
    "a foreign reply topic": (Rejection.FOREIGN_REPLY_TOPIC, asked(), {"reply-topic": "somebody.elses"}),
    "an unknown model": (Rejection.UNKNOWN_MODEL, asked("sim/nobody"), {}),
    "no endpoint": (Rejection.NOT_ALLOWED, asked(provider={"only": ["beta"]}), {}),
    "an unknown priority": (Rejection.INVALID, asked(), {"eurouter-priority": "urgent"}),
    "two priorities": (Rejection.INVALID, asked(), TWICE),
    "a time that is none": (Rejection.INVALID, asked(), {"eurouter-run-at": "tomorrow"}),
    "an id that is none": (Rejection.INVALID, asked(), {"eurouter-response-id": "resp_1"}),
    "a header that is no text": (Rejection.INVALID, asked(), {"eurouter-group": b"\xff\xfe"}),
    "an unknown field": (Rejection.INVALID, asked(temprature=1), {}),
    "a wrong field": (Rejection.INVALID, asked(temperature="hot"), {}),
    "not kept": (Rejection.INVALID, asked(store=False), {}),
    "nothing to continue": (Rejection.INVALID, asked(previous_response_id="resp_" + "0" * 36), {}),
    "a chat without messages": (Rejection.INVALID, {"model": "sim/alpha"}, {"eurouter-api": "chat"}),
    "a chat that nobody called one": (Rejection.INVALID, {"model": "sim/alpha", "messages": []}, {}),
    "a group of too many letters": (Rejection.INVALID, asked(), {"eurouter-group": "g" * 129}),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaWorld]:
    settings = {"kafka": {"max_record_bytes": MOST}}
    async with kafka_world(tmp_path_factory.mktemp("bad"), kafka, PREFIX, settings) as opened:
        await kafka.configure(opened.name("requests"), {"max.message.bytes": str(FIVE_MB + 1_000_000)})
        yield opened
        await opened.settled()


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_record_is_a_dead_letter_as_it_came_and_its_neighbours_are_jobs(
    world: KafkaWorld, kind: str
) -> None:
    reason, value, headers = BAD[kind]
    began = int(time.time() * 1000)
    before = await world.submit(asked(), partition=0)
    bad = await world.submit(value, headers, key=b"order-22", partition=0)
    after = await world.submit(asked(), partition=0)
    letter = await world.letter(bad)
    told = {name: text.decode() for name, text in letter.headers.items() if name.startswith("eurouter-dlq-")}
    message, when = told.pop(names.DLQ_MESSAGE), int(told.pop(names.DLQ_TIMESTAMP))
    whole = value if isinstance(value, bytes) else json.dumps(value).encode()
    if kind == "5 MB":
        assert (told.pop(names.DLQ_VALUE_BYTES), letter.value) == (str(FIVE_MB), None)
    else:
        assert letter.value == whole
    assert told == {
        names.DLQ_TOPIC: world.name("requests"),
        names.DLQ_PARTITION: "0",
        names.DLQ_OFFSET: str(bad.offset),
        names.DLQ_REASON: reason.value,
        names.DLQ_GROUP: world.name("intake"),
        names.DLQ_OWNER: "local",
    }
    assert message
    assert began - 1000 <= when <= time.time() * 1000 + 1000
    assert letter.key == b"order-22"
    for neighbour in (before, after):
        assert (await world.result(neighbour)).headers["eurouter-status"] == b"completed"


async def test_another_request_under_a_key_is_never_dropped(world: KafkaWorld) -> None:
    headers = {"idempotency-key": "order-23"}
    first = await world.submit(asked(text="one"), headers)
    told = await world.result(first)
    letter = await world.letter(await world.submit(asked(text="another"), headers))
    assert letter.headers[names.DLQ_REASON] == b"identity_conflict"
    chosen = {"eurouter-response-id": f"resp_{getrandbits(144):036x}".replace("resp_4b41", "resp_0000")}
    await world.result(await world.submit(asked(text="one"), chosen))
    letter = await world.letter(await world.submit(asked(text="another"), chosen))
    assert letter.headers[names.DLQ_REASON] == b"identity_conflict"
    derived = {"eurouter-response-id": told.id}
    letter = await world.letter(await world.submit(asked(text="another"), derived))
    assert letter.headers[names.DLQ_REASON] == b"invalid"
    assert (await world.door.call("GET", f"/{told.id}")).json == told.json


async def test_two_requests_under_one_key_in_one_batch_are_a_job_and_a_letter(world: KafkaWorld) -> None:
    headers = [(b"idempotency-key", b"order-24")]
    values = [json.dumps(asked(text=f"number {number}")).encode() for number in range(2)]
    first, second = await _send(world, [(None, value, headers) for value in values])
    assert (await world.result(first)).headers["eurouter-status"] == b"completed"
    assert (await world.letter(second)).headers[names.DLQ_REASON] == b"identity_conflict"


async def test_a_header_whose_name_is_no_utf8_is_told_and_its_neighbours_are_jobs(world: KafkaWorld) -> None:
    value = json.dumps(asked()).encode()
    good, bad, last = await _send(
        world, [(b"1", value, []), (b"2", value, [(b"\xff\xfe", b"x")]), (b"3", value, [])]
    )
    letter = await world.letter(bad)
    assert (letter.headers[names.DLQ_REASON], letter.key) == (b"undecodable", b"2")
    for neighbour in (good, last):
        await world.result(neighbour)


async def test_a_record_that_expires_before_it_is_started_is_a_job_that_failed(world: KafkaWorld) -> None:
    # Long enough for the record to be read before.
    soon = time.time() + 3
    # Too short a time for any worker.
    moments = (datetime.fromtimestamp(one, UTC).isoformat() for one in (soon, soon + 0.000_05))
    times = dict(zip(("eurouter-run-at", "eurouter-expires-at"), moments, strict=True))
    told = await world.result(await world.submit(asked(), times))
    assert (told.headers["eurouter-status"], told.json["error"]["code"]) == (b"failed", "expired")


async def test_offsets_move_on_past_every_letter(world: KafkaWorld) -> None:
    async def nothing_left() -> bool:
        return await world.lag() == 0

    await world.until(nothing_left, "everything is committed")


async def _send(world: KafkaWorld, records: Any) -> list[Sent]:
    """Records that no producer of aiokafka's would send, in one batch of partition 1."""
    topic = world.name("requests")
    before = len([one for one in await world.kafka.records(topic) if one.partition == 1])
    await send_batch(world.kafka, topic, batch(records), 1)
    sent = [Sent(topic, 1, before + number) for number in range(len(records))]
    world.sent += sent
    return sent
