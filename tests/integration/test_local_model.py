"""The real local model: it answers on every path that we use, survives a kill, and never outlives its owner."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.local_model import LocalModel, LocalModelError, LocalModelUnavailable
from tests.support.parts import ROOT

WEATHER = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOLS = [{"type": "function", "function": WEATHER}]


class Events:
    """Collects lifecycle events; a test can wait for one."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Mapping[str, object]]] = []
        self._news = asyncio.Condition()

    def __call__(self, name: str, values: Mapping[str, object]) -> None:
        self.seen.append((name, values))

    def names(self) -> list[str]:
        return [name for name, _ in self.seen]

    async def until(self, name: str, count: int) -> None:
        async with asyncio.timeout(30):
            while self.names().count(name) < count:
                await asyncio.sleep(0.05)


@pytest.fixture
async def model(model_python: Path) -> AsyncIterator[LocalModel]:
    local = LocalModel(model_python)
    await local.start()
    yield local
    await local.stop()


def body(**fields: Any) -> dict[str, Any]:
    return {"model": LocalModel.model, "temperature": 0, "max_tokens": 8, **fields}


async def post(model: LocalModel, path: str, request: dict[str, Any]) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=model.url, timeout=60, trust_env=False) as client:
        answer = await client.post(path, json=request)
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = answer.json()
    return read


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    # An orphan that nobody reaps stays as a zombie: it is dead all the same.
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_it_answers_chat_streams_messages_and_tool_calls_in_one_process(model: LocalModel) -> None:
    hello = [{"role": "user", "content": "Say hello."}]

    chat = await post(model, "/v1/chat/completions", body(messages=hello))
    assert chat["model"] == "smollm2-135m-instruct"
    assert chat["choices"][0]["message"]["content"].strip()
    assert 0 < chat["usage"]["completion_tokens"] <= 8

    message = await post(model, "/v1/messages", body(messages=hello))
    assert message["type"] == "message"
    assert message["content"][0]["text"].strip()

    # The same prompt at temperature 0: the stream must say what the whole answer said.
    request = body(messages=hello, stream=True)
    pieces, lines = [], []
    async with (
        httpx.AsyncClient(base_url=model.url, timeout=60, trust_env=False) as client,
        client.stream("POST", "/v1/chat/completions", json=request) as stream,
    ):
        async for line in stream.aiter_lines():
            lines.append(line)
            if line.startswith("data: {"):
                pieces += [choice["delta"].get("content") or "" for choice in json.loads(line[6:])["choices"]]
    assert "data: [DONE]" in lines
    assert "".join(pieces) == chat["choices"][0]["message"]["content"]
    assert sum(map(bool, pieces)) > 1


async def test_it_calls_a_tool_and_uses_the_result(model: LocalModel) -> None:
    asked = await post(model, "/v1/chat/completions", body(messages=QUESTION, tools=TOOLS, max_tokens=64))
    assert asked["choices"][0]["finish_reason"] == "tool_calls"
    [call] = asked["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}

    turns = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": '{"sky": "sunny", "celsius": 21}'},
    ]
    told = await post(model, "/v1/chat/completions", body(messages=turns, tools=TOOLS, max_tokens=32))
    assert told["choices"][0]["finish_reason"] == "stop"
    assert "sunny" in told["choices"][0]["message"]["content"]


async def test_an_answer_without_a_limit_ends_at_the_cap(model_python: Path) -> None:
    local = LocalModel(model_python, max_tokens=16)
    await local.start()
    try:
        story = [{"role": "user", "content": "Tell me a very long story about the sea."}]
        told = await post(local, "/v1/chat/completions", {"messages": story})
    finally:
        await local.stop()
    assert told["usage"]["completion_tokens"] == 16
    assert told["choices"][0]["finish_reason"] == "length"


async def test_a_killed_model_comes_back_under_the_same_address(model_python: Path) -> None:
    events = Events()
    local = LocalModel(model_python, on_event=events)
    await local.start()
    try:
        url, first = local.url, local.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await events.until("local_model_ready", 2)
        assert local.url == url
        assert local.pid not in (None, first)
        assert (await post(local, "/v1/chat/completions", body(messages=QUESTION)))["choices"]
    finally:
        await local.stop()
    assert [name.removeprefix("local_model_") for name in events.names()] == [
        "starting", "ready", "died", "starting", "ready", "stopped",
    ]  # fmt: skip
    assert events.seen[2][1]["exit_code"] == -signal.SIGKILL


async def test_stop_ends_the_process_and_may_be_repeated(model_python: Path) -> None:
    local = LocalModel(model_python)
    await local.start()
    pid = local.pid
    assert pid is not None
    await local.stop()
    await local.stop()
    assert not alive(pid)
    assert local.pid is None


async def test_the_model_dies_with_its_owner_even_when_that_is_killed(model_python: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from adapters.local_model import LocalModel\n"
        "async def main():\n"
        "    model = LocalModel(Path(sys.argv[1]))\n"
        "    await model.start()\n"
        "    print(model.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, model_python], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert owner.stdout is not None
        child = int(await asyncio.to_thread(owner.stdout.readline))
        assert alive(child)
    finally:
        owner.kill()
        owner.communicate()
    async with asyncio.timeout(10):
        while alive(child):
            await asyncio.sleep(0.05)


async def test_a_taken_port_is_an_error_with_the_output_of_the_process(model_python: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        local = LocalModel(model_python, port=taken.getsockname()[1])
        with pytest.raises(LocalModelError, match=r"end of its output:\n.+"):
            await local.start()
    assert local.pid is None


async def test_a_missing_python_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LocalModelUnavailable, match=r"nowhere/python is missing: run `make setup`"):
        await LocalModel(tmp_path / "nowhere" / "python").start()


async def test_a_python_without_the_packages_is_told_from_a_crash() -> None:
    with pytest.raises(LocalModelUnavailable, match="package xllamacpp can't be used") as caught:
        await LocalModel(Path(sys.executable)).start()
    assert "\n" not in str(caught.value)
    assert "simulator" in str(caught.value)


async def test_a_child_that_never_answers_is_given_up_and_ended(tmp_path: Path) -> None:
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\necho 'still loading' >&2\nexec sleep 60\n", encoding="utf-8")
    silent.chmod(0o755)
    local = LocalModel(silent, start_timeout=0.5)
    with pytest.raises(LocalModelError, match=r"within 0\.5 s; the end of its output:\nstill loading"):
        await local.start()
    assert local.pid is None
