"""The scripts around foreign clients: they see what is wrong, and the page says which versions were tried."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from adapters.providers.simulator import Call
from tests.clients.responses import codex, talk
from tests.clients.run import CLIENTS, Client, latest
from tests.support.parts import ROOT

SAID: dict[str, Any] = {
    "plain": "Hello there.",
    "streamed": "one two three four",
    "tools": "Fine in Oslo and Rome.",
    "tools_streamed": "Fine in Oslo and Rome.",
    "parsed": {"city": "Bergen", "country": "Norway"},
    "continued": "Still here.",
    "cut": "SomeError",
}
LOOP = ("The weather?", "Ask the tool.", "fine in Oslo", "fine in Rome")
TOLD = ((), (), (), LOOP, (), LOOP, (), ("Say hello.", "Hello there.", "And now?"), ())


def call(*texts: str, tools: tuple[str, ...] = ()) -> Call:
    body = {"messages": [{"role": "user", "content": text} for text in texts], "tools": list(tools)}
    return Call("POST", "/v1", MappingProxyType({}), body, "one", 0.0, 1.0, 200, False, 1, True, 0.0, 1.0)


def test_a_conversation_as_it_must_be_has_no_problems() -> None:
    assert talk.problems(SAID, [call(*texts) for texts in TOLD]) == []


@pytest.mark.parametrize("step", SAID)
def test_each_step_that_went_wrong_is_named(step: str) -> None:
    (problem,) = talk.problems({**SAID, step: ""}, [call(*texts) for texts in TOLD])
    assert problem.startswith(f"{step}: ")


@pytest.mark.parametrize("number", [3, 5, 7])
def test_what_a_provider_was_not_told_is_named(number: int) -> None:
    for at, lost in enumerate(TOLD[number]):
        told = [(*texts[:at], *texts[at + 1 :]) if place == number else texts for place, texts in enumerate(TOLD)]
        (problem,) = talk.problems(SAID, [call(*texts) for texts in told])
        assert repr(lost) in problem
    assert len(talk.problems(SAID, [call(*texts[::-1]) for texts in TOLD])) == 3


def test_a_hidden_retry_is_seen() -> None:
    assert talk.problems(SAID, [call()] * 10) == ["10 calls upstream instead of 9"]


def events(*types: str, text: str = "All done.") -> str:
    message = {"type": "item.completed", "item": {"type": "agent_message", "text": text}}
    return "\n".join(map(json.dumps, [message, *({"type": name} for name in types)]))


@pytest.fixture
def turn(tmp_path: Path) -> list[Call]:
    """The calls of a turn that was as it must be, with its files written."""
    (tmp_path / "shell.txt").write_text("written by the shell\n")
    (tmp_path / "patched.txt").write_text("written by the patch\n")
    last = call("Do it.", "Look first.", "call_1", "written by the shell", "call_2", "patched.txt")
    return [call(tools=("apply_patch",)), call(), last]


def test_a_turn_of_codex_as_it_must_be_has_no_problems(turn: list[Call], tmp_path: Path) -> None:
    assert codex.problems(codex.KNOWN, tmp_path, events("turn.completed"), turn) == []


def test_each_fault_of_a_turn_is_named(turn: list[Call], tmp_path: Path) -> None:
    done = events("turn.completed")
    for printed, calls, said in (
        (events(), turn, "not completed"),
        (events("turn.completed", text="Sorry."), turn, "last words"),
        (done, turn[:2], "2 calls"),
        (done, [*turn[:2], call("Do it.")], "'Look first.'"),
        (done, [call(), *turn[1:]], "apply_patch"),
        (done, [call(tools=("apply_patch", "web_search")), *turn[1:]], "web_search"),
    ):
        (problem,) = codex.problems(codex.KNOWN, tmp_path, printed, calls)
        assert said in problem
    (tmp_path / "shell.txt").unlink()
    assert len(codex.problems(codex.KNOWN, tmp_path, done, turn)) == 1
    assert codex.problems_of_a_cut(0, "turn.failed")
    assert not codex.problems_of_a_cut(1, "turn.failed")


def test_the_newest_versions_are_those_without_a_pin() -> None:
    assert {client.slug: latest(client).packages for client in CLIENTS} == {
        "openai-agents": ("openai-agents",),
        "langchain-openai": ("langchain-openai",),
        "pydantic-ai": ("pydantic-ai-slim[openai]",),
        "ai-sdk": ("ai", "@ai-sdk/openai", "zod"),
        "codex": ("@openai/codex",),
    }


@pytest.mark.parametrize("client", CLIENTS, ids=[client.slug for client in CLIENTS])
def test_the_page_names_the_version_that_is_run(client: Client) -> None:
    page = (ROOT / "docs" / "clients" / "responses.md").read_text(encoding="utf-8")
    package = client.packages[0]
    name, version = package.split("==") if client.is_python else (package[0] + package[1:].split("@")[0], "")
    version = version or package.rpartition("@")[2]
    assert f"{name.partition('[')[0]} {version}" in page
