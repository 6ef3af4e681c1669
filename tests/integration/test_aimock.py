"""A second opinion on wire formats: npm's aimock plays the providers, which our own simulator does elsewhere.

Its authors read the providers' documents, not our code. What it says is no proof of what a provider says.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.aimock import prepare
from tests.support import parts
from tests.support.every_door import DOORS, QUESTION, refused, said
from tests.support.http_door import Door, body
from tests.support.running import InProcess, Rows, free_ports, running_service

pytestmark = pytest.mark.slow

# Dialect, the path below aimock's address, quirks. Of Mistral it has nothing of its own.
WIRES: Final[tuple[tuple[str, str, Rows], ...]] = (
    ("openai_chat", "/v1", {}),
    ("openai_responses", "/v1", {}),
    ("anthropic", "/v1", {}),
    ("gemini", "/v1beta", {}),
    ("bedrock", "", {}),
    ("azure", "", {"api_version": "2024-10-21"}),
)
DIALECTS: Final = tuple(name for name, *_ in WIRES)
TEXT: Final = 'A warm coat, “wool” and 🧤: "two" layers.\nAnd boots.'
THOUGHT: Final = "Oslo is cold in winter; say so."
CITY: Final = {"city": "Århus", "days": 3}
USAGE: Final = {
    "prompt_tokens": 41,
    "completion_tokens": 9,
    "total_tokens": 50,
    "input_tokens": 41,
    "output_tokens": 9,
    "promptTokenCount": 41,
    "candidatesTokenCount": 9,
    "totalTokenCount": 50,
}
FAILURES: Final = {
    "busy-529": (529, "overloaded_error"),
    "busy-503": (503, "service_unavailable"),
    "limited-429": (429, "rate_limit_error"),
    "broken-500": (500, "api_error"),
}
# aimock goes by the model's name.
ANSWERS: Final[dict[str, Rows]] = {
    "says": {"content": TEXT, "usage": USAGE},
    "stops": {"content": "The list goes on", "finishReason": "length"},
    "calls": {"toolCalls": [{"name": "get_weather", "arguments": json.dumps(CITY)}]},
    "thinks": {"content": TEXT, "reasoning": THOUGHT},
    **{
        name: {"status": status, "error": {"message": "aimock was told to", "type": kind}}
        for name, (status, kind) in FAILURES.items()
    },
}
TOOL: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        },
    },
}


@dataclass(frozen=True)
class Aimock:
    """The running program."""

    url: str

    async def asked(self, session: aiohttp.ClientSession) -> list[str]:
        """The paths of all calls so far, oldest first."""
        async with session.get(f"{self.url}/__aimock/journal") as response:
            journal: list[Any] = await response.json()
        return [str(entry["path"]) for entry in journal]


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aimock]:
    """aimock as a process of its own, on a free port of loopback."""
    node = shutil.which("node")
    there = node is not None and prepare.is_ready()
    parts.require("npm's aimock", there, "install Node.js 20 or newer with npm, and run the tests by `make test`")
    folder = tmp_path_factory.mktemp("aimock")
    fixtures = [{"match": {"model": model}, "response": answer} for model, answer in ANSWERS.items()]
    (folder / "fixtures.json").write_text(json.dumps({"fixtures": fixtures}), encoding="utf-8")
    (port,) = free_ports(1)
    command = [str(node), str(prepare.PROGRAM), "--port", str(port), "--fixtures", str(folder / "fixtures.json")]
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen([*command, "--strict"], cwd=folder, stdout=output, stderr=output)
    try:
        _wait_for(process, port, folder / "output.log")
        yield Aimock(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    due = time.monotonic() + 20
    while time.monotonic() < due and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"aimock does not listen:\n{log.read_text(errors='replace')[-2000:]}")


def catalogue(url: str) -> Rows:
    """`DIALECT/ANSWER` for each of both, and the fallbacks of the tests."""

    def endpoint(dialect: str, model: str, price: int = 1) -> Rows:
        return {"provider": dialect, "model": model, "price": {"prompt": price, "completion": price}}

    return {
        "providers": [
            {"slug": name, "dialect": name, "base_url": url + path, **({"quirks": quirks} if quirks else {})}
            for name, path, quirks in WIRES
        ],
        "models": [
            *(
                {"id": f"{dialect}/{model}", "endpoints": [endpoint(dialect, model)]}
                for dialect in DIALECTS
                for model in ANSWERS
            ),
            {"id": "falls/back", "endpoints": [endpoint("anthropic", "busy-529"), endpoint("bedrock", "says", 2)]},
        ],
    }


@pytest.fixture
async def up(tmp_path: Path, aimock: Aimock) -> AsyncIterator[InProcess]:
    async with running_service(tmp_path, catalog=lambda alpha, beta: catalogue(aimock.url)) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_its_answers_are_told_with_their_usage_through_every_door(
    dialect: str, up: InProcess, session: aiohttp.ClientSession
) -> None:
    for door in DOORS:
        told = await said(up, session, door, f"{dialect}/says")
        assert (told.text, told.finish, told.tokens[:2]) == (TEXT, "stop", (41, 9)), door
        assert told.decision["x-provider-slug"] == dialect


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_its_answers_that_were_cut_at_their_limit_say_so(
    dialect: str, up: InProcess, session: aiohttp.ClientSession
) -> None:
    for door in ("chat HTTP", "chat gRPC, streamed"):
        told = await said(up, session, door, f"{dialect}/stops")
        assert (told.text, told.finish) == ("The list goes on", "length"), door


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_its_tool_calls_have_their_names_and_arguments_whole_and_streamed(
    dialect: str, up: InProcess, session: aiohttp.ClientSession
) -> None:
    door, request = Door(up, session), body(f"{dialect}/calls", QUESTION, tools=[TOOL])
    answer = await door.post(request)
    (choice,) = answer.json["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", CITY)
    streamed = await door.stream(request)
    assert streamed.error is None
    choices = [choice for chunk in streamed.chunks for choice in chunk["choices"]]
    pieces = [piece["function"] for each in choices for piece in each["delta"].get("tool_calls", ())]
    assert "".join(piece.get("name", "") for piece in pieces) == "get_weather"
    assert json.loads("".join(piece.get("arguments", "") for piece in pieces)) == CITY
    assert [each["finish_reason"] for each in choices if each["finish_reason"]] == ["tool_calls"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_its_reasoning_is_told_apart_from_the_text(
    dialect: str, up: InProcess, session: aiohttp.ClientSession
) -> None:
    door, request = Door(up, session), body(f"{dialect}/thinks", QUESTION)
    message = (await door.post(request)).json["choices"][0]["message"]
    streamed = await door.stream(request)
    deltas = [choice["delta"] for chunk in streamed.chunks for choice in chunk["choices"]]
    assert (message["content"], streamed.text) == (TEXT, TEXT)
    assert message["reasoning"] == THOUGHT
    assert "".join(delta.get("reasoning") or "" for delta in deltas) == THOUGHT


@pytest.mark.parametrize("door", DOORS)
async def test_its_overloaded_anthropic_falls_back_to_its_bedrock(
    door: str, up: InProcess, session: aiohttp.ClientSession, aimock: Aimock
) -> None:
    before = len(await aimock.asked(session))
    told = await said(up, session, door, "falls/back")
    assert (told.text, told.decision["x-provider-slug"]) == (TEXT, "bedrock")
    method = "converse-stream" if "streamed" in door else "converse"
    assert (await aimock.asked(session))[before:] == ["/v1/messages", f"/model/says/{method}"]


REASONS: Final = {
    "busy-529": "PROVIDER_UNAVAILABLE",
    "busy-503": "PROVIDER_UNAVAILABLE",
    "limited-429": "PROVIDER_RATE_LIMITED",
    "broken-500": "PROVIDER_UNAVAILABLE",
}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_its_failures_are_called_by_their_names(
    dialect: str, up: InProcess, session: aiohttp.ClientSession
) -> None:
    for model, reason in REASONS.items():
        told = await refused(up, session, "chat HTTP", f"{dialect}/{model}")
        assert told.reason == reason, model
