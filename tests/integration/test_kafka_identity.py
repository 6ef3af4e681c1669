"""Whose a record is, on a real Kafka: by its topic, a signature, a header that was switched on; and redrives."""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import grpc
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eurouter.v1 import jobs_pb2

from adapters.keys import hash_secret, make_key, public_id
from service.edge.kafka import names
from service.edge.kafka.ids import response_id_of
from service.edge.kafka.signatures import sign
from tests.support.kafka_clients import Kafka
from tests.support.kafka_records import KEY, OTHER_KEY
from tests.support.kafka_world import KafkaWorld, Sent, asked, kafka_world
from tests.support.running import two_dialects

PREFIX: Final = f"test-{os.getpid()}-identity"

pytestmark = pytest.mark.asyncio(loop_scope="module")

PEPPER: Final = "a pepper for tests only, long enough"
TEAM_B, ADMIN = make_key(), make_key()
LOCAL: Final = make_key()


def _row(key: str, owner: str, **fields: object) -> dict[str, object]:
    return {"id": public_id(key), "hash": hash_secret(key, PEPPER.encode()), "owner": owner, **fields}


def _public(key: Ed25519PrivateKey) -> str:
    return b64encode(key.public_key().public_bytes_raw()).decode()


SETTINGS: Final[dict[str, Any]] = {
    "key_pepper": "env:KEY_PEPPER",
    "keys": [_row(TEAM_B, "team-b"), _row(LOCAL, "local"), _row(ADMIN, "ops", admin=True)],
    "owners": [
        {
            "name": "team-b",
            "public_keys": [{"id": "b1", "key": _public(KEY)}],
            "reply_topics": [f"{PREFIX}.urgent"],
            "results_topic": f"{PREFIX}.team-b",
        },
        {
            "name": "team-c",
            "public_keys": [{"id": "c1", "key": _public(OTHER_KEY)}],
            # Of which there is no endpoint here.
            "floor": {"eu_owned": True},
        },
    ],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KafkaWorld]:
    folder = tmp_path_factory.mktemp("identity")
    also, env = ("team-b", "urgent"), {"KEY_PEPPER": PEPPER}
    async with kafka_world(folder, kafka, PREFIX, SETTINGS, env=env, also=also) as opened:
        yield opened
        await opened.settled()


def by(key: str) -> dict[str, str]:
    return {"x-api-key": key}


def signed(
    world: KafkaWorld,
    value: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    by: Ed25519PrivateKey = KEY,
    owner: str = "team-b",
    key_id: str = "b1",
    topic: str = "submit",
) -> list[tuple[str, bytes]]:
    """The headers of a record that an owner signed."""
    until = datetime.fromtimestamp(time.time() + 600, UTC).isoformat()
    pairs = [(name, text.encode()) for name, text in {names.EXPIRES_AT: until, **(headers or {})}.items()]
    signature = sign(by, owner, world.name(topic), None, value, pairs)
    return [*pairs, (names.KEY_ID, key_id.encode()), (names.SIGNATURE, signature)]


VALUE: Final = b'{"model": "sim/alpha", "input": "signed"}'


async def submit(world: KafkaWorld, value: bytes = VALUE, headers: Any = (), partition: int | None = None) -> Sent:
    return await world.submit(value, headers, topic="submit", partition=partition)


async def refused(world: KafkaWorld, value: bytes, headers: Any) -> tuple[str, str]:
    """Reason and owner of the letter."""
    letter = await world.letter(await submit(world, value, headers))
    assert names.SIGNATURE not in letter.headers
    return letter.headers[names.DLQ_REASON].decode(), letter.headers.get(names.DLQ_OWNER, b"").decode()


async def test_a_record_of_a_bound_topic_is_its_owners_and_no_other_reads_it(world: KafkaWorld) -> None:
    told = await world.result(await world.submit(asked()))
    assert (await world.door.call("GET", f"/{told.id}", headers=by(LOCAL))).json == told.json
    assert (await world.door.call("GET", f"/{told.id}", headers=by(TEAM_B))).status == 404


async def test_a_signed_record_on_the_shared_topic_is_its_signers(world: KafkaWorld) -> None:
    told = await world.result(await submit(world, headers=signed(world, VALUE, {"idempotency-key": "b-1"})))
    assert told.topic == world.name("team-b")
    assert told.id == response_id_of("team-b", "b-1")
    assert (await world.door.call("GET", f"/{told.id}", headers=by(TEAM_B))).json == told.json
    assert (await world.door.call("GET", f"/{told.id}", headers=by(LOCAL))).status == 404


async def test_a_copy_of_a_signed_record_is_the_same_job(world: KafkaWorld) -> None:
    headers = signed(world, VALUE)
    # Only records of one partition are read in the order in which they were sent.
    first, copy = (
        await submit(world, headers=headers, partition=0),
        await submit(world, headers=headers, partition=0),
    )
    told = await world.result(first)
    await world.result(await submit(world, headers=signed(world, VALUE, {"idempotency-key": "b-2"})))
    assert (world.results(copy), world.letters(copy)) == ([], [])
    assert [one.source for one in world.results(told.id)] == [first]
    world.sent.remove(copy)


async def test_results_go_to_the_reply_topic_that_the_owner_may_name(world: KafkaWorld) -> None:
    headers = signed(world, VALUE, {"reply-topic": world.name("urgent")})
    assert (await world.result(await submit(world, headers=headers))).topic == world.name("urgent")


async def test_a_foreign_reply_topic_is_refused(world: KafkaWorld) -> None:
    for topic in (world.name("jobs"), world.name("results"), "somebody.elses"):
        headers = signed(world, VALUE, {"reply-topic": topic})
        assert await refused(world, VALUE, headers) == ("foreign_reply_topic", "team-b")
    letter = await world.letter(await world.submit(asked(), {"reply-topic": world.name("urgent")}))
    assert letter.headers[names.DLQ_REASON] == b"foreign_reply_topic"


async def test_what_no_signature_covers_is_refused(world: KafkaWorld) -> None:
    other = VALUE.replace(b"signed", b"forged")
    assert await refused(world, other, signed(world, VALUE)) == ("bad_signature", "")
    assert await refused(world, VALUE, signed(world, VALUE, by=OTHER_KEY)) == ("bad_signature", "")
    assert await refused(world, VALUE, signed(world, VALUE, key_id="c1")) == ("bad_signature", "")
    assert await refused(world, VALUE, signed(world, VALUE, key_id="nobodys")) == ("bad_signature", "")
    assert await refused(world, VALUE, signed(world, VALUE, topic="requests")) == ("bad_signature", "")
    more = [*signed(world, VALUE), ("eurouter-priority", b"high")]
    assert await refused(world, VALUE, more) == ("bad_signature", "")
    half = [pair for pair in signed(world, VALUE) if pair[0] != names.SIGNATURE]
    assert await refused(world, VALUE, half) == ("unauthenticated", "")


async def test_a_record_of_nobody_is_refused_and_a_header_alone_makes_nobody_somebody(world: KafkaWorld) -> None:
    assert await refused(world, VALUE, ()) == ("unauthenticated", "")
    assert await refused(world, VALUE, {"x-owner": "team-c"}) == ("unauthenticated", "")


async def test_the_filters_of_an_owner_hold_for_its_records(world: KafkaWorld) -> None:
    headers = signed(world, VALUE, by=OTHER_KEY, owner="team-c", key_id="c1")
    assert await refused(world, VALUE, headers) == ("not_allowed", "team-c")


async def test_a_trusted_header_names_the_owner_as_long_as_it_is_switched_on(world: KafkaWorld) -> None:
    await world.configure(trusted_owner_header="x-owner")
    told = await world.result(await submit(world, headers={"X-Owner": "team-b"}))
    assert told.topic == world.name("team-b")
    assert (await world.door.call("GET", f"/{told.id}", headers=by(TEAM_B))).status == 200
    # A signature that is wrong is not mended by it.
    forged = [*signed(world, VALUE, by=OTHER_KEY), ("x-owner", b"team-b")]
    assert await refused(world, VALUE, forged) == ("bad_signature", "")
    await world.configure(trusted_owner_header=None)
    assert await refused(world, VALUE, {"x-owner": "team-b"}) == ("unauthenticated", "")


async def test_letters_are_listed_and_submitted_again_by_an_admin_alone(world: KafkaWorld) -> None:
    jobs, admin = world.door.up.jobs, (("x-api-key", ADMIN),)
    headers = {"correlation-id": "again", "idempotency-key": "b-9"}
    value = VALUE.replace(b"sim/alpha", b"sim/later")
    signed_headers = signed(world, value, headers)
    sent = await submit(world, value, signed_headers)
    unknown = await world.letter(sent)
    assert unknown.headers[names.DLQ_REASON] == b"unknown_model"
    wanted = jobs_pb2.ListDeadLettersRequest(owner="team-b", reasons=["unknown_model"], with_content=True)
    for key in (TEAM_B, LOCAL):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await jobs.ListDeadLetters(wanted, metadata=(("x-api-key", key),))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    (letter,) = (await jobs.ListDeadLetters(wanted, metadata=admin)).dead_letters
    assert (letter.original_topic, letter.original_partition, letter.original_offset) == (
        sent.topic,
        sent.partition,
        sent.offset,
    )
    assert (letter.value, letter.owner, letter.id) == (value, "team-b", f"{unknown.partition}:{unknown.offset}")
    rows = two_dialects(world.door.up.alpha.url, world.door.up.beta.url)
    rows["models"].append({**rows["models"][0], "id": "sim/later"})
    world.door.up.upstreams.write_catalog(rows)

    async def redriven() -> bool:
        asked_for = jobs_pb2.RedriveDeadLettersRequest(ids=[letter.id])
        (one,) = (await jobs.RedriveDeadLetters(asked_for, metadata=admin)).letters
        assert one.response_id or one.reason == "unknown_model"
        return bool(one.response_id)

    await world.until(redriven, "the new catalogue is read")
    told = await world.result(response_id_of("team-b", "b-9"))
    assert told.topic == world.name("team-b")
    assert told.headers["correlation-id"] == b"again"
    assert told.source == sent
    (again,) = (
        await jobs.RedriveDeadLetters(jobs_pb2.RedriveDeadLettersRequest(ids=[letter.id]), metadata=admin)
    ).letters
    assert (again.response_id, again.repeated) == (told.id, True)
    # A letter and a result, by an operator's wish.
    world.sent.remove(sent)
