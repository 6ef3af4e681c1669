"""The programs of examples/kafka, and the commands of README.md and docs/kafka.md, on a real broker.

Only addresses, models and numbers of jobs are replaced. What needs kcat is not run here.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import pytest
from aiohttp import web

from adapters.providers.simulator import Simulator
from tests.support.kafka import KafkaCluster
from tests.support.kafka_clients import Kafka, Topics
from tests.support.pages import blocks, section
from tests.support.parts import ROOT
from tests.support.running import until

EXAMPLES: Final = ROOT / "examples" / "kafka"
BIN: Final = Path(sys.executable).parent
FREE_PORTS: Final = {f"EUROUTER_{door}__PORT": "0" for door in ("GRPC", "HTTP", "ADMIN")}
ID: Final = "resp_" + "0" * 35
BROKER: Final = "127.0.0.1:9092"


async def run(script: str, folder: Path, env: Mapping[str, str] | None = None) -> str:
    """Runs a block of a page in `folder`; what it printed. It must succeed."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", script),
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(90):
        out, err = await process.communicate()
    assert process.returncode == 0, f"{script}\n{out.decode()}\n{err.decode()}"
    return out.decode()


def checkout(folder: Path, broker: str, upstream: str = "") -> Path:
    """A folder in which the pages' commands find what they name, with this broker and this simulator."""
    (folder / ".venv").symlink_to(BIN.parent)
    shutil.copytree(EXAMPLES, folder / "examples" / "kafka", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder / "examples" / "kafka").iterdir():
        text = path.read_text(encoding="utf-8").replace(BROKER, broker)
        path.write_text(
            text.replace("http://127.0.0.1:9000", upstream or "http://127.0.0.1:9000"), encoding="utf-8"
        )
    return folder


@asynccontextmanager
async def serving(command: str, folder: Path, env: Mapping[str, str]) -> AsyncIterator[str]:
    """Runs a page's `eurouter serve …` while the context lasts; where its HTTP door is."""
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euc", f"exec {command}"),
            cwd=folder,
            env={**os.environ, **FREE_PORTS, "XDG_STATE_HOME": str(folder / "state"), **env},
            stdout=output,
            stderr=output,
        )
    try:
        await until(lambda: "==> HTTP on " in log.read_text() or process.returncode is not None, "it serves", 60)
        assert process.returncode is None, log.read_text()
        (url,) = re.findall(r"==> HTTP on (\S+)/v1,", log.read_text())
        yield url
    finally:
        process.terminate()
        async with asyncio.timeout(60):
            await process.wait()


async def answers(session: aiohttp.ClientSession, url: str, model: str) -> bool:
    """Whether the running service has read of the model by now."""
    body = {"model": model, "messages": [{"role": "user", "content": "?"}]}
    async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
        return answer.status == HTTPStatus.OK


async def counts(url: str, group: str) -> dict[str, int]:
    async with aiohttp.ClientSession() as session:
        query = {"group": group, "counts": "true", "page_size": "1"}
        async with session.get(f"{url}/v1/jobs", params=query) as answer:
            body = await answer.json()
    return {one["state"]: one["count"] for one in body["counts"] if one["count"]}


async def test_the_quickstart_without_docker_works_as_it_is_typed(own_kafka: KafkaCluster, tmp_path: Path) -> None:
    commands = blocks(section(ROOT / "README.md", "Try it with Kafka"), "sh")
    (serve,) = (text.strip() for text in commands if "serve --demo" in text)
    (use,) = (text for text in commands if text.startswith(".venv/bin/python"))
    folder = checkout(tmp_path, own_kafka.bootstrap)
    # Without the model, which has tests of its own: the simulator takes its place.
    async with serving(serve, folder, {"EUROUTER_MODEL_PYTHON": str(tmp_path / "no-python")}):
        said = await run(use.replace("smollm2-135m-instruct", "sim-echo"), folder)
    assert "3 records to team-a.requests in " in said
    # The demo's own is the first.
    assert said.endswith("4 results: 4 completed\n")
    assert re.search(r"^completed  row-2: Tell me something about the number 2\.$", said, re.MULTILINE)


@pytest.mark.slow
async def test_ten_thousand_jobs_from_submission_to_the_last_failure_as_the_page_says(
    own_kafka: KafkaCluster, tmp_path: Path
) -> None:
    commands = blocks(section(ROOT / "docs" / "kafka.md", "Ten thousand jobs"), "sh")
    simulate, serve, use, look, mend = commands
    assert simulate == ".venv/bin/eurouter simulate\n"
    few = use.replace("10000", "60")
    async with Simulator() as upstream:
        folder = checkout(tmp_path, own_kafka.bootstrap, upstream.url)
        async with serving(serve.strip(), folder, {}) as url:
            assert (await run(few, folder)).endswith("60 results: 60 completed\n")
            # The same again makes nothing new.
            submit, _ = few.strip().splitlines()
            await run(submit, folder)
            looked = await run(look.replace("http://127.0.0.1:8080", url), folder)
            assert '{"count":60,"state":"completed"}' in looked
            assert looked.endswith('{"cancelled_count":0}')
            said = await mended(mend, folder, url)
            assert said.endswith("5 results: 5 completed\n")
            assert len(re.findall(r"^\d+:\d+ +resp_\w{36}  as local$", said, re.MULTILINE)) == 5
            for kind in ("chat", "batch"):
                program = f".venv/bin/python examples/kafka/submit.py --model small --kind {kind} --label {kind}"
                assert "3 records" in await run(program, folder)
                read = await run(".venv/bin/python examples/kafka/results.py --count 3", folder)
                assert "row-2: Tell me something about the number 2." in read
            assert await counts(url, "nightly") == {"completed": 60}


async def mended(commands: str, folder: Path, url: str) -> str:
    """Runs the block that mends a mistake, with the waits that a person's typing is."""
    submit, listing, *rest = commands.strip().splitlines()
    config = {"XDG_STATE_HOME": str(folder / "state")}
    said = await run(submit, folder, config)
    async with asyncio.timeout(60):
        while (listed := await run(listing, folder, config)).count("unknown_model") < 5:
            await asyncio.sleep(0.2)
    edit, redrive, results = rest
    said += listed + await run(edit, folder, config)
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while not await answers(session, url, "big"):
            await asyncio.sleep(0.2)
    return said + await run(redrive, folder, config) + await run(results, folder, config)


async def publish(kafka: Kafka, topic: str, *records: tuple[str, Any, dict[str, str]]) -> None:
    producer = kafka.producer()
    await producer.start()
    try:
        for key, value, headers in records:
            body = None if value is None else orjson.dumps(value)
            await producer.send_and_wait(
                topic, body, key.encode(), headers=[(name, text.encode()) for name, text in headers.items()]
            )
    finally:
        await producer.stop()


def result(version: int, **headers: str) -> dict[str, str]:
    given = {"content-type": "application/json", "eurouter-status": "completed", "eurouter-inline": "true"}
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return {**given, "eurouter-version": str(version), **named}


def answer(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}]
    return {"object": "response", "output": [{"type": "message", "content": content}], "error": None}


async def test_a_reader_drops_repeats_fetches_references_and_hears_of_deletions(
    kafka: Kafka, topics: Topics
) -> None:
    async def whole(request: web.Request) -> web.Response:
        assert request.headers["authorization"] == "Bearer eur_some"
        assert request.match_info["name"] == f"{ID}2"
        return web.json_response(answer("It was too large for a record."))

    app = web.Application()
    app.router.add_get("/v1/responses/{name}", whole)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    topic = await topics.create("results", 1)
    await publish(
        kafka,
        topic,
        (f"{ID}1", answer("Rhine."), result(1, correlation_id="one")),
        (f"{ID}1", answer("Rhine."), result(1, correlation_id="one")),
        (
            f"{ID}2",
            {"object": "response", "error": None},
            result(1, eurouter_inline="false", correlation_id="two"),
        ),
        (f"{ID}3", {"object": "response", "error": {"message": "no luck"}}, result(1, eurouter_status="failed")),
        (f"{ID}1", None, {"eurouter-version": "2"}),
        (f"{ID}1", answer("Rhine."), result(1, correlation_id="one")),
        (f"{ID}4", {"object": "chat.completion", "choices": [{"message": {"content": "Loire."}}]}, result(7)),
    )
    api = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"  # type: ignore[union-attr]
    try:
        said = await run(
            f"{sys.executable} {EXAMPLES}/results.py --bootstrap {kafka.bootstrap} --topic {topic} --api {api} "
            f"--group {topics.name('readers')} --count 5",
            ROOT,
            {"EUROUTER_KEY": "eur_some"},
        )
    finally:
        await runner.cleanup()
    assert said.splitlines() == [
        "completed  one: Rhine.",
        "completed  two: It was too large for a record.",
        f"failed     {ID}3: no luck",
        f"deleted    {ID}1: gone: forget what you know of it",
        f"completed  {ID}4: Loire.",
        "5 results: 3 completed, 1 deleted, 1 failed",
    ]


async def test_what_was_read_is_read_once_by_a_group(kafka: Kafka, topics: Topics) -> None:
    topic = await topics.create("results", 1)
    program = (
        f"{sys.executable} {EXAMPLES}/results.py --bootstrap {kafka.bootstrap} --topic {topic} "
        f"--group {topics.name('readers')}"
    )
    await publish(kafka, topic, (f"{ID}1", answer("Rhine."), result(1)))
    assert (await run(f"{program} --count 1", ROOT)).endswith("1 results: 1 completed\n")
    await publish(kafka, topic, (f"{ID}2", answer("Loire."), result(1)))
    said = await run(f"{program} --count 1", ROOT)
    assert "Loire." in said
    assert "Rhine." not in said


async def failed(command: str) -> tuple[int | None, str]:
    """Runs what is expected to fail: its exit code, and what it said of that."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", command), cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert b"submitted" not in out
    return process.returncode, err.decode()


@pytest.mark.slow
async def test_a_broker_or_a_topic_that_is_missing_is_one_line(kafka: Kafka, topics: Topics) -> None:
    missing = topics.name("missing")
    program = f"{sys.executable} {EXAMPLES}/submit.py --bootstrap"
    nowhere = "no broker at 127.0.0.1:1 lets us in: is it there, does it want TLS or a login?\n"
    assert await failed(f"{program} 127.0.0.1:1") == (1, f"not submitted: {nowhere}")
    said = await failed(f"{program} {kafka.bootstrap} --topic {missing}")
    assert said == (1, f"not submitted: there is no topic {missing}\n")
    code, told = await failed(f"{sys.executable} {EXAMPLES}/results.py --bootstrap 127.0.0.1:1")
    assert (code, told.splitlines()[-1]) == (1, nowhere.strip())


async def test_whoever_waits_for_results_in_vain_is_told_why_there_may_be_none(
    kafka: Kafka, topics: Topics
) -> None:
    topic = await topics.create("results", 1)
    program = f"{sys.executable} {EXAMPLES}/results.py --bootstrap {kafka.bootstrap} --topic {topic}"
    code, said = await failed(f"{program} --group {topics.name('readers')} --count 1 --idle 3")
    assert code == 1
    assert said.endswith("Or this group has read the results already\n")


async def test_the_examples_log_in_by_scram_over_tls(secure_kafka: KafkaCluster) -> None:
    from tests.support.kafka_security import PASSWORD, USER

    # Through the brokers' own listener, which asks for nothing.
    inside = Kafka(f"127.0.0.1:{secure_kafka.nodes[0].internal_port}")
    await inside.create("team-a.secure")
    try:
        login = f"--bootstrap {secure_kafka.bootstrap} --ca-file {secure_kafka.ca_file} --username {USER}"
        said = await run(
            f"{sys.executable} {EXAMPLES}/submit.py {login} --topic team-a.secure --count 2",
            ROOT,
            {"KAFKA_PASSWORD": PASSWORD},
        )
        assert "2 records to team-a.secure" in said
        assert len(await inside.records("team-a.secure")) == 2
    finally:
        await inside.delete("team-a.secure")
