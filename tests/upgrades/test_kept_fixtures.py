"""What earlier releases stored and sent, read by today's code."""

from __future__ import annotations

import asyncio
import lzma
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from adapters.database import migrate as migrations
from adapters.database.revisions import HEAD
from adapters.database.url import parse_url
from adapters.providers.simulator import Script
from service.domain.consuming import Record
from service.edge.kafka import names
from service.edge.kafka.dead_letters import read_dead_letter
from tests.support import parts, postgres
from tests.support.responses_door import ResponsesDoor, asked
from tests.upgrades.kept import body_of, changes, published, read
from tests.upgrades.making import CONTENTS, asks, rendering, sums, waiting
from tests.upgrades.messages import BY_NAME, unknown_fields
from tests.upgrades.releases import (
    FIXTURES,
    KEPT,
    POSTGRES,
    SQLITE,
    at_tag,
    fields_of,
    is_tagged,
    log_of,
    read_json,
    restore_postgres,
    told,
    versions,
    with_bytes,
)
from tests.upgrades.world import MODEL, opened, over, working

VERSIONS = versions()
MESSAGES = sorted(FIXTURES.glob("*/messages/*/*.binpb"))


@pytest.fixture(params=["sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest, version: str, tmp_path: Path) -> str:
    """A copy of the database that a release left."""
    if request.param == "sqlite":
        file = tmp_path / "old.db"
        file.write_bytes(lzma.decompress((FIXTURES / version / SQLITE).read_bytes()))
        return f"sqlite:///{file}"
    parts.require("psql", (postgres.binaries() or Path()).joinpath("psql").exists(), postgres.HOW)
    url = str(request.getfixturevalue("postgres_url"))
    restore_postgres(url, FIXTURES / version / POSTGRES)
    return url


def of(version: str, name: str) -> dict[str, Any]:
    return read_json(FIXTURES / version / name)


def test_there_are_fixtures_of_a_release() -> None:
    assert VERSIONS
    assert MESSAGES


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_release_left_is_as_it_was(version: str) -> None:
    lines = (FIXTURES / version / KEPT).read_text().splitlines()
    said = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    assert said == sums(FIXTURES / version)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_list_of_what_a_release_left_is_the_one_that_was_tagged(version: str) -> None:
    if is_tagged(version):
        assert (FIXTURES / version / KEPT).read_text() == at_tag(version, FIXTURES / version / KEPT)


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: "/".join(path.parts[-4:]))
def test_a_stored_message_is_read_without_loss_and_written_as_it_was(path: Path) -> None:
    body = path.read_bytes()
    message: Message = BY_NAME[path.name.split(".", 1)[1].removesuffix(".binpb")].FromString(body)
    assert list(unknown_fields(message)) == []
    assert MessageToDict(message) == read_json(path.with_suffix(".json"))
    assert type(message).FromString(message.SerializeToString()) == message
    assert len(message.SerializeToString()) == len(body)


def test_a_field_that_nobody_knows_is_found_wherever_it_stands() -> None:
    body = BY_NAME["eurouter.v1.StoredResponseBody"]()
    inner: Any = body
    inner.response.id = "resp_1"
    inner.response.MergeFromString(b"\xfa\x3f\x01x")
    assert list(unknown_fields(body)) == ["response.1023"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"a": {"b": [{"c": 1, "new": 2}, None]}, "new": []}, []),
        ({"a": {"new": 1}}, [".a.b is gone"]),
        ({"a": {"b": [{"c": 1}]}}, [".a.b has 1 elements, not 2"]),
        ({"a": {"b": [{"c": 1}, None, {}]}}, [".a.b has 3 elements, not 2"]),
        ({"a": {"b": [{"c": "1"}, None]}}, [".a.b[0].c is '1', not 1"]),
        ({"a": {"b": [{"c": 1}, {}]}}, [".a.b[1] is {}, not None"]),
        ({"a": []}, [".a is [], not {'b': [{'c': 1}, None]}"]),
    ],
)
def test_a_field_may_be_added_to_what_was_kept_and_nothing_else_may_change(found: object, said: list[str]) -> None:
    assert list(changes({"a": {"b": [{"c": 1}, None]}}, found)) == said


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_response_of_an_older_database_reads_as_it_did(
    kept: str, version: str, tmp_path: Path
) -> None:
    before = await asyncio.to_thread(migrations.status, parse_url(kept))
    async with opened(tmp_path, kept) as door:
        for name, expected in of(version, "responses.json").items():
            found = await told(door, expected["response"]["id"])
            assert list(changes(expected, found)) == [], (name, before)
    assert (await asyncio.to_thread(migrations.status, parse_url(kept))).revision == HEAD


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_older_conversation_goes_on_and_older_keys_hold(kept: str, version: str, tmp_path: Path) -> None:
    before = of(version, "responses.json")
    async with opened(tmp_path, kept) as door:
        for name in ("third", "after tool", "emulated", "media", "job next"):
            previous = before[name]["response"]["id"]
            await _goes_on(door, previous)
        job = before["job"]["response"]
        request = {"model": MODEL, "input": "job", "background": True}
        again = await door.create(request, headers={"idempotency-key": "order-17"})
        assert again.json["id"] == job["id"]
        other = await door.create({**request, "input": "not job"}, headers={"idempotency-key": "order-17"})
        assert other.status == 422


async def _goes_on(door: ResponsesDoor, previous: str) -> None:
    door.up.alpha.script(Script(echo=True))
    answer = await door.create(asked(text="And now?", previous_response_id=previous))
    assert answer.status == 200, answer.raw
    assert answer.json["output"][-1]["content"][0]["text"] == "And now?"
    sent = door.up.alpha.calls[-1].body["messages"]
    items = await door.call("GET", f"/{previous}/input_items?order=asc")
    assert len(sent) > len(items.json["data"]) + 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_jobs_that_an_older_version_left_are_worked_on_to_their_end(
    kept: str, version: str, tmp_path: Path
) -> None:
    before = of(version, "responses.json")
    async with opened(tmp_path, kept) as door:
        door.up.alpha.script(Script(text="Done by another version."))
        jobs = {name: before[name]["response"]["id"] for name in ("queued", "queued stream", "lost")}
        async with working(door):
            assert {name: await over(door, job) for name, job in jobs.items()} == dict.fromkeys(jobs, "completed")
        types = [event["type"] for event in await log_of(door, jobs["lost"])]
        assert types.count("response.restarted") == 1
        assert types[-1] == "response.completed"
        (message,) = (await door.call("GET", f"/{jobs['queued']}")).json["output"]
        assert message["content"][0]["text"] == "Done by another version."


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_an_older_version_left_to_publish_is_published_as_it_would_have_been(
    kept: str, version: str, tmp_path: Path
) -> None:
    async with opened(tmp_path, kept) as door:
        rows = await waiting(door)
    for content in CONTENTS:
        expected = list(of(version, f"published-{content}.json").values())
        messages = [rendering(content)(row, small=False) for row in rows]
        found = [fields_of(message) for message in messages if message is not None]
        assert list(changes([*map(read, expected)], [*map(read, found)])) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_that_was_submitted_to_an_older_version_asks_for_the_same(version: str) -> None:
    expected = of(version, "asks.json")
    for name, fields in of(version, "submitted.json").items():
        assert list(changes(expected[name], asks(Record(**with_bytes(fields))))) == [], name


@pytest.mark.parametrize("version", VERSIONS)
def test_what_an_older_version_published_can_be_read(version: str) -> None:
    submitted = [Record(**with_bytes(one)) for one in of(version, "submitted.json").values()]
    seen: set[str] = set()
    for name, fields in of(version, "published-full.json").items():
        kind, message = name.partition(" ")[2], with_bytes(fields)
        seen.add(kind)
        headers = dict(message["headers"])
        if kind == "dead_letter":
            record = Record(message["topic"], 0, 0, 0, message["key"], message["value"], message["headers"])
            letter = read_dead_letter(record)
            assert letter is not None
            assert letter.original in submitted
        elif kind == "result" and headers[names.CONTENT_TYPE].startswith(b"application/protobuf"):
            assert not list(unknown_fields(published(message)))
        elif kind == "result":
            assert body_of(message)["object"] in ("response", "chat.completion")
        elif kind == "tombstone":
            assert message["value"] is None
    assert seen == {"wake", "result", "tombstone", "dead_letter"}
