"""Results that hold no answer, on a real Kafka: what is too large, and what operators keep out of topics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from eurouter.v1 import response_object_pb2
from eurouter.v1 import responses_pb2 as pb
from google.protobuf.json_format import MessageToDict

from adapters.providers.simulator import Script
from tests.support.background import ended
from tests.support.kafka_clients import Kafka, Topics
from tests.support.kafka_world import KafkaWorld, asked, kafka_world
from tests.support.running import ask

MOST: Final = 20_000


@pytest.fixture
async def world(kafka: Kafka, topics: Topics, tmp_path: Path) -> AsyncIterator[KafkaWorld]:
    settings = {"kafka": {"max_result_bytes": MOST}}
    async with kafka_world(tmp_path, kafka, topics.prefix, settings) as opened:
        yield opened
        await opened.settled()


async def test_what_is_too_large_for_a_record_is_a_reference_and_fetched_by_its_id(world: KafkaWorld) -> None:
    text = "y" * MOST
    world.door.up.alpha.enqueue(Script(text=text))
    told = await world.result(await world.submit(asked(), {"correlation-id": "large"}))
    assert (told.headers["eurouter-inline"], told.headers["correlation-id"]) == (b"false", b"large")
    assert told.value is not None
    assert len(told.value) < 1000
    whole = (await world.door.call("GET", f"/{told.id}")).json
    assert told.json == {name: whole[name] for name in ("id", "object", "status", "created_at", "model", "error")}
    assert whole["output"][0]["content"][0]["text"] == text


async def test_a_large_completion_of_a_chat_is_a_reference_to_its_response(world: KafkaWorld) -> None:
    # So large that it is not even read to be published.
    text = "z" * 3 * MOST
    world.door.up.alpha.enqueue(Script(text=text))
    value = ask().SerializeToString()
    told = await world.result(
        await world.submit(value, {"eurouter-api": "chat", "content-type": "application/protobuf"})
    )
    assert told.headers["content-type"] == b"application/protobuf; proto=eurouter.v1.Response"
    assert told.headers["eurouter-inline"] == b"false"
    assert told.value is not None
    reference = response_object_pb2.Response.FromString(told.value)
    assert set(MessageToDict(reference)) == {"id", "object", "status"}
    whole = await world.door.up.responses.GetResponse(pb.GetResponseRequest(response_id=told.id))
    assert whole.output[0].message.content[0].output_text.text == text


async def test_with_results_as_references_nothing_that_was_answered_is_in_a_topic(world: KafkaWorld) -> None:
    await world.configure(results_content="reference")
    told = await world.result(await world.submit(asked(text="a word of mine")))
    await world.configure(results_content="full")
    assert told.headers["eurouter-inline"] == b"false"
    assert b"a word of mine" not in (told.value or b"")
    assert (await ended(world.door, told.id))["output"][0]["content"][0]["text"] == "a word of mine"
