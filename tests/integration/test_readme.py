"""The commands of README.md and docs/ as they are written: only addresses, ports and models are replaced."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest
import yaml
from eurouter.v1 import chat_pb2, routing_pb2

from adapters.catalog import DEFAULT_CATALOG
from adapters.keys import is_key
from adapters.providers.simulator import Script
from service import demo, wire
from service.settings import Settings
from tests.support.pages import blocks, section
from tests.support.parts import ROOT, require
from tests.support.running import InProcess, Rows, ask, running_service, until

README = ROOT / "README.md"
BIN = Path(sys.executable).parent
FREE_PORTS = {f"EUROUTER_{door}__PORT": "0" for door in ("GRPC", "HTTP", "ADMIN")}
ANSWER = "Rhine, Danube and Loire."


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with running_service(tmp_path) as running:
        running.alpha.enqueue(Script(text=ANSWER, pace=0.05))
        yield running


def adapted(snippet: str, up: InProcess) -> str:
    """A snippet for `make run` as it has to be for this service."""
    assert "smollm2-135m-instruct" in snippet or "messages" not in snippet
    return (
        snippet.replace("127.0.0.1:50051", up.grpc)
        .replace("http://127.0.0.1:8080", up.http)
        .replace("smollm2-135m-instruct", "sim/alpha")
    )


async def shell(script: str, folder: Path, env: Mapping[str, str] | None = None) -> str:
    """Runs a shell block whose `.venv` is this one; what it printed. It must succeed."""
    venv = folder / ".venv"
    if not venv.exists():
        venv.symlink_to(BIN.parent)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", script),
        cwd=folder,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state"), **(env or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, f"{script}\n{out.decode()}{err.decode()}"
    return out.decode()


async def test_the_grpcurl_snippet_streams_an_answer(up: InProcess, tmp_path: Path) -> None:
    require("grpcurl", (BIN / "grpcurl").exists(), "it comes with `make setup` on x86-64")
    (snippet,) = blocks(section(README, "Call it"), "sh")
    printed = await shell(adapted(snippet, up), tmp_path)
    # One object after the other, each closed at the beginning of a line.
    chunks = [json.loads(f"{text}}}") for text in printed.split("\n}") if text.strip()]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", [])]
    pieces = [piece for choice in choices if (piece := choice.get("delta", {}).get("content"))]
    assert "".join(pieces) == ANSWER
    assert len(pieces) > 1


async def test_the_services_can_be_described_as_the_clients_page_says(up: InProcess, tmp_path: Path) -> None:
    require("grpcurl", (BIN / "grpcurl").exists(), "it comes with `make setup` on x86-64")
    text = (ROOT / "docs/clients/README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"`(grpcurl [^`]+)`", text)
    described = await shell(f".venv/bin/{adapted(snippet, up)}", tmp_path)
    assert "rpc StreamChatCompletion" in described


async def test_the_openai_snippet_prints_a_streamed_answer(up: InProcess, tmp_path: Path) -> None:
    (snippet,) = blocks(section(README, "Call it"), "python")
    program = tmp_path / "snippet.py"
    program.write_text(adapted(snippet, up), encoding="utf-8")
    assert await shell(".venv/bin/python -W error snippet.py", tmp_path) == ANSWER
    assert [call.body["stream"] for call in up.alpha.calls] == [True]


def test_the_snippets_name_the_model_that_make_run_serves() -> None:
    for snippet in (*blocks(section(README, "Call it"), "sh"), *blocks(section(README, "Call it"), "python")):
        assert f'"{demo.MODEL_ID.partition("/")[2]}"' in snippet


async def test_the_routing_example_finds_an_endpoint_in_the_catalogue_that_ships(tmp_path: Path) -> None:
    (snippet,) = blocks(section(README, "Route it"), "json")
    shipped = yaml.safe_load(DEFAULT_CATALOG.read_text(encoding="utf-8"))
    keys = {
        provider["auth"]["secret"].removeprefix("env:"): "sk-some-key-of-the-operator"
        for provider in shipped["providers"]
    }
    async with running_service(tmp_path, catalog=lambda _alpha, _beta: shipped, env=keys) as up:
        request = wire.parse(chat_pb2.CreateChatCompletionRequest, json.loads(snippet))
        answer = await up.routing.DryRunRouting(routing_pb2.DryRunRoutingRequest(request=request))
    assert [model.model for model in answer.models] == [request.model, *request.models]
    chosen = [endpoint for model in answer.models for endpoint in model.endpoints]
    assert chosen, answer
    rejected = {endpoint.filter for model in answer.models for endpoint in model.rejected}
    assert rejected <= {"data_residency", "max_retention_days"}, rejected


async def test_a_key_is_made_checked_and_served_as_the_readme_says(tmp_path: Path) -> None:
    require("openssl", shutil.which("openssl") is not None, "install openssl")
    text = section(README, "Run it for real")
    (settings,) = blocks(text, "yaml")
    (commands,) = blocks(text, "sh")
    pepper, create, check, serve = commands.strip().splitlines()
    config = tmp_path / "eurouter.yaml"
    config.write_text(settings, encoding="utf-8")

    kept = await shell(f'{pepper}\nprintf %s "$KEY_PEPPER"', tmp_path)
    env = {"KEY_PEPPER": kept, **FREE_PORTS}
    printed = await shell(create, tmp_path, env)
    (key,) = [word for word in printed.split() if is_key(word)]
    config.write_text(f"{settings}keys:\n{printed.partition('`keys:`')[2]}", encoding="utf-8")

    checked = await shell(check, tmp_path, env)
    assert yaml.safe_load(checked)["keys"][0]["owner"] == "team-a"
    assert yaml.safe_load(checked)["floor"]["data_residency"] == ["eu"]
    assert key[17:] not in checked
    assert kept not in checked

    log = tmp_path / "serve.log"
    await shell(f"{serve} 2>serve.log >&2 & echo $! >serve.pid", tmp_path, env)
    try:
        await until(lambda: "==> HTTP on " in log.read_text(), "it says where it listens", 30)
        (url,) = re.findall(r"==> HTTP on (\S+),", log.read_text())
        assert await statuses(url, key) == (401, 503)
    finally:
        os.kill(int((tmp_path / "serve.pid").read_text()), 15)
        await until(lambda: "server_stopped" in log.read_text(), "it drains and ends", 30)


async def statuses(url: str, key: str) -> tuple[int, int]:
    """What a chat gets without a key, and with it where no provider's key is set."""
    request = {"model": "gpt-oss-20b", "messages": [{"role": "user", "content": "Hello"}]}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/chat/completions", json=request) as without:
            pass
        headers = {"authorization": f"Bearer {key}"}
        async with session.post(f"{url}/chat/completions", json=request, headers=headers) as answer:
            assert (await answer.json())["error"]["reason"] == "NO_ENDPOINT_ALLOWED"
    return without.status, answer.status


async def test_a_self_hosted_server_in_three_lines_serves_the_models_that_it_lists(tmp_path: Path) -> None:
    (rows,) = (
        yaml.safe_load(block) for block in blocks(section(ROOT / "docs/catalogue.md", "The shortest"), "yaml")
    )

    def catalog(alpha: str, _beta: str) -> Rows:
        assert rows["providers"][0]["base_url"] == "http://127.0.0.1:8000/v1"
        rows["providers"][0]["base_url"] = f"{alpha}/v1"
        return {"providers": rows["providers"]}

    async with running_service(tmp_path, catalog=catalog) as up:
        await until(lambda: bool(up.service.catalog.current().models), "its models are found")
        up.alpha.enqueue(Script(text=ANSWER))
        answer = await up.chat.CreateChatCompletion(ask("my-gpu/sim-echo"))
        assert answer.choices[0].message.content == ANSWER


def test_the_settings_pages_example_is_a_settings_file(tmp_path: Path) -> None:
    (example, *_) = blocks((ROOT / "docs/settings.md").read_text(encoding="utf-8"), "yaml")
    config = tmp_path / "config.yaml"
    config.write_text(example.replace("64 hexadecimal digits", "ab" * 32), encoding="utf-8")
    settings = Settings.load(config, {})
    assert settings.keys[0].owner == "team-a"
    assert settings.floor.data_residency


def assert_both_were_shown(said: str) -> None:
    queued = re.search(r"==> (resp_[0-9a-f]{36}) is queued, and its caller has left", said)
    assert queued is not None, said
    assert f"/v1/responses/{queued[1]}?stream=true'" in said
    assert re.search(r"==> (completed|incomplete), with event \d+; ", said)
    assert re.search(r"==> ok: an answer of \d+ pieces came over gRPC, and one was made in the background", said)


async def test_without_a_model_the_demo_shows_the_simulators_answer_and_says_so(tmp_path: Path) -> None:
    # What `make smoke` runs, on free ports.
    env = {"EUROUTER_MODEL_PYTHON": str(tmp_path / "no-python"), **FREE_PORTS}
    said = await shell(".venv/bin/eurouter serve --demo --once 2>&1", tmp_path, env)
    assert "using the SIMULATOR in its place" in said
    assert f"==> asking {demo.SIMULATED_ID} over gRPC" in said
    assert_both_were_shown(said)


async def test_the_demo_shows_an_answer_of_the_real_model(tmp_path: Path, model_python: Path) -> None:
    env = {"EUROUTER_MODEL_PYTHON": str(model_python), **FREE_PORTS}
    said = await shell(".venv/bin/eurouter serve --demo --once 2>&1", tmp_path, env)
    assert "SIMULATOR" not in said
    assert f"==> asking {demo.MODEL_ID} over gRPC" in said
    assert_both_were_shown(said)


async def test_the_benchs_options_are_those_of_its_page(tmp_path: Path) -> None:
    page = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    named = set(re.findall(r"-m bench[^\n`]*?(--[a-z]+)", page))
    shown = await shell(f"cd {ROOT} && {sys.executable} -m bench --help", tmp_path)
    assert {"--quick", "--only", "--servers", "--rounds", "--profile"} <= named
    assert named <= set(re.findall(r"--[a-z]+", shown))
