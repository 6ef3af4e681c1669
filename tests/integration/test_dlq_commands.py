"""`eurouter dlq` as it is typed: on a real broker, beside a service or with none running."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from service.dlq_text import WIDTH
from service.edge.kafka.rejections import Rejection
from tests.support.dead_letters import SUBMIT, Pile, submitted
from tests.support.kafka_clients import Kafka, Topics
from tests.support.parts import ROOT
from tests.support.responses_door import responses_door
from tests.support.running import PROVIDER_KEYS


@dataclass
class Said:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


async def dlq(settings: Path, *arguments: str) -> Said:
    """Types `eurouter dlq` with these arguments."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "dlq", *arguments, "--config", str(settings)),
        cwd=ROOT,
        env={**os.environ, **PROVIDER_KEYS},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return Said(process.returncode or 0, out.decode(), err.decode())


@pytest.fixture
async def pile(kafka: Kafka, topics: Topics) -> Pile:
    return Pile(kafka, await topics.create("dlq", partitions=2))


@pytest.fixture
def settings(pile: Pile, tmp_path: Path) -> Path:
    """Settings of a service that does not run."""
    path = tmp_path / "settings.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "kafka": {"bootstrap_servers": pile.kafka.bootstrap, "names": {"dlq": pile.topic}},
                "database": {"url": f"sqlite:///{tmp_path / 'responses.db'}"},
            }
        )
    )
    return path


@pytest.mark.slow
async def test_a_record_that_nobody_signed_is_found_and_becomes_a_job_of_whom_the_operator_names(
    kafka: Kafka, topics: Topics, tmp_path: Path
) -> None:
    names = {name: topics.name(name) for name in ("submit", "jobs", "results", "dlq")}
    groups = {"intake_group": topics.name("intake"), "wake_group": topics.name("workers")}
    section: dict[str, Any] = {"bootstrap_servers": kafka.bootstrap, "topics": "create", "partitions": 2}
    async with responses_door(tmp_path, {"kafka": {**section, "names": names, **groups}}) as door:
        producer = kafka.producer()
        await producer.start()
        try:
            async with asyncio.timeout(30):
                while names["submit"] not in await _topics(kafka):
                    await asyncio.sleep(0.1)
            value = orjson.dumps({"model": "sim/alpha", "input": "Name three rivers."})
            await producer.send_and_wait(names["submit"], value, headers=[("correlation-id", b"17")])
        finally:
            await producer.stop()
        file = door.up.upstreams.settings_file
        async with asyncio.timeout(60):
            while "unauthenticated" not in (said := await dlq(file, "list", "--json")).out:
                await asyncio.sleep(0.2)
        (letter,) = map(orjson.loads, said.lines)
        assert (letter["original_topic"], letter["owner"]) == (names["submit"], "")
        refused = await dlq(file, "redrive", letter["id"])
        assert (refused.code, refused.err) == (1, "")
        assert refused.lines[0].startswith(f"{letter['id']}  unauthenticated: ")
        assert refused.lines[1] == "jobs now: 0; refused: 1"
        made = await dlq(file, "redrive", letter["id"], "--vouched-owner", "local")
        assert (made.code, made.err) == (0, "")
        response_id = made.lines[0].removeprefix(f"{letter['id']}  ").removesuffix("  as local")
        async with asyncio.timeout(30):
            while (await door.call("GET", f"/{response_id}")).json["status"] != "completed":
                await asyncio.sleep(0.1)
        (result,) = await _records(kafka, names["results"])
        assert (result.key, dict(result.headers)["correlation-id"]) == (response_id.encode(), b"17")
        again = await dlq(file, "redrive", "--reason", "unauthenticated", "--vouched-owner", "local")
        assert again.lines == [
            f"{letter['id']}  {response_id}  as local (there already)",
            "jobs now: 1; refused: 0",
        ]


async def _topics(kafka: Kafka) -> list[str]:
    async with kafka.admin() as admin:
        return list(await admin.list_topics())


async def _records(kafka: Kafka, topic: str) -> list[Any]:
    async with asyncio.timeout(30):
        while not (found := await kafka.records(topic)):
            await asyncio.sleep(0.2)
    return found


async def test_a_list_fits_the_terminal_newest_first(settings: Path, pile: Pile) -> None:
    topic = "teams.with.very.long.names.of.topics.that.go.on"
    made = await pile.put([submitted(n, topic=topic) for n in range(2)], message="model: " + "no such model " * 20)
    made += await pile.put([submitted(7)], Rejection.FOREIGN_REPLY_TOPIC, "", partition=1, message="a\nb\x1b[31m")
    said = await dlq(settings, "list")
    assert (said.code, said.err) == (0, "")
    head, *rows = said.lines
    assert re.split(r"  +", head) == ["ID", "TIME (UTC)", "REASON", "OWNER", "FROM", "MESSAGE"]
    assert [row.split()[0] for row in rows] == made[::-1]
    assert max(map(len, said.lines)) <= WIDTH
    assert re.fullmatch(
        rf"1:0 +\d\d-\d\d \d\d:\d\d:\d\d  foreign_reply_topic  - +{SUBMIT}:2:7 +a b\\x1b\[31m", rows[0]
    )
    assert "….of.topics.that.go.on:2:1  model: no such" in rows[1]
    assert rows[1].endswith("…")
    few = await dlq(settings, "list", "--owner", "team-a", "--reason", "unknown_model", "--limit", "1")
    assert [line.split()[0] for line in few.lines[1:-1]] == [made[1]]
    assert few.lines[-1] == "these are the newest 1: for more raise --limit"
    assert (await dlq(settings, "list", "--topic", "elsewhere")).out == "no dead letters\n"


async def test_show_prints_what_was_submitted_and_nothing_that_a_terminal_obeys(
    settings: Path, pile: Pile
) -> None:
    text, other = await pile.put([submitted(1, "Grüße\x1b[2J\n".encode()), submitted(2, b"\x00\xff", key=None)])
    (missing,) = await pile.put([submitted(3)], whole=False)
    said = await dlq(settings, "show", text)
    assert (said.code, said.err) == (0, "")
    assert f"from:       {SUBMIT}:2:1" in said.lines
    assert "submitted:  2026-09-21T14:13:20Z" in said.lines
    assert "key:        order-1" in said.lines
    assert "header:     correlation-id: 00 ff (no text)" in said.lines
    assert "secret" not in said.out
    assert said.out.endswith("value:      12 bytes\n\nGrüße\\x1b[2J\n\n")
    shown = (await dlq(settings, "show", other)).lines
    assert "key:        - (none)" in shown
    assert shown[-1] == "00 ff (no text)"
    gone = (await dlq(settings, "show", missing)).lines
    assert gone[-1] == f"value:      none here; it has {len(submitted(3).value or b'')} bytes"
    assert gone[-2].startswith("incomplete: ")


async def test_without_a_service_letters_are_submitted_by_filters_and_a_dry_run_submits_none(
    settings: Path, pile: Pile
) -> None:
    made = await pile.put([submitted(n, {"model": "gone", "input": "x"}) for n in range(3)])
    dry = await dlq(settings, "redrive", "--owner", "team-a", "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    assert dry.lines == [
        *(f"{one}  would be submitted  as team-a" for one in made[::-1]),
        "would be submitted: 3; refused: 0",
    ]
    refused = await dlq(settings, "redrive", "--owner", "team-a", "--limit", "2")
    assert refused.code == 1
    assert [line.partition(":")[0] for line in refused.lines[:1]] == ["0"]
    assert all("unknown_model: " in line for line in refused.lines[:2])
    assert refused.lines[2:] == ["jobs now: 0; refused: 2", "these are the newest 2: for more raise --limit"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "0:99"], 1, "there is no letter 0:99 (any more): `eurouter dlq list` shows those there are"),
        (["show", "first"], 1, "'first' is no id of a letter: `eurouter dlq list` shows them, such as 3:41"),
        (["redrive", "0:1", "0:x"], 1, "'0:x' is no id of a letter: `eurouter dlq list` shows them, such as 3:41"),
        (["list", "--reason", "nonsense"], 1, "--reason: must be one of bad_signature, expired, "),
        (["redrive", "--owner", "a", "--vouched-owner", "b"], 2, "--vouched-owner is for those without an owner"),
        (["redrive"], 2, "which letters? Name IDs, or use --owner, --reason or --topic"),
        (["redrive", "0:1", "--owner", "a"], 2, "IDs say which letters: leave out --owner, "),
        (["list", "--limit", "0"], 2, "must be a number from 1 to 9999999"),
    ],
)
async def test_a_wrong_command_says_what_to_do(settings: Path, arguments: list[str], code: int, said: str) -> None:
    left = await dlq(settings, *arguments)
    assert (left.code, left.out) == (code, "")
    assert said in left.err
    assert "Traceback" not in left.err
    if code == 1:
        assert left.err.count("\n") == 1


async def test_kafka_that_is_not_there_is_one_line(settings: Path, tmp_path: Path) -> None:
    for section, said in (
        ({}, "there is no Kafka: set kafka.bootstrap_servers\n"),
        ({"bootstrap_servers": "127.0.0.1:1"}, "Kafka at 127.0.0.1:1: connection refused\n"),
    ):
        settings.write_text(yaml.safe_dump({"kafka": section}))
        left = await dlq(settings, "list")
        assert (left.code, left.out) == (1, "")
        assert left.err.startswith(said)
        assert left.err.count("\n") == 1
