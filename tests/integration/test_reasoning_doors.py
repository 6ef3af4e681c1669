"""Reasoning that its provider wants back, through every door: unchanged, or left out where others are asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.support.http_door import Door, body
from tests.support.played_upstream import PlayedUpstream, candidate, completion, message, played_upstream
from tests.support.running import InProcess, Rows, running_service
from tests.support.tool_loops import DOORS, Loop, loop_through, words

THOUGHT: Final = {
    "type": "thinking",
    "thinking": "  Füße? Zuerst das Wetter.\u2028\n\n\tThen “clothes”. 🌦\n",
    "signature": "EqQBCgYIBxgCIkD+/ab==",
}
HIDDEN: Final = {"type": "thinking", "thinking": "", "signature": "EmptyButSigned/+="}
REDACTED: Final = {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4a+=="}
TEXT: Final = {"type": "text", "text": "Let me look both up."}
OSLO: Final = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}
ROME: Final = {"type": "tool_use", "id": "toolu_2", "name": "get_weather", "input": {"city": "Rome"}}
LOOKS: Final = message(THOUGHT, HIDDEN, REDACTED, TEXT, OSLO, ROME, stop_reason="tool_use")
SAYS: Final = message({**THOUGHT, "signature": "Second=="}, {"type": "text", "text": "Coat for Oslo."})


def _price(each: int) -> Rows:
    return {"prompt": each, "completion": each}


def catalogue(url: str) -> Rows:
    def model(slug: str) -> Rows:
        return {"id": f"mix/{slug}", "endpoints": [{"provider": slug, "model": "claude-sonnet-4-5"}]}

    return {
        "providers": [
            {"slug": "claude", "dialect": "anthropic", "base_url": url},
            {"slug": "open", "dialect": "openai_chat", "base_url": url},
            {"slug": "gemini", "dialect": "gemini", "base_url": url},
            {
                "slug": "details",
                "dialect": "openai_chat",
                "base_url": url,
                "passthrough": ["messages.reasoning_details"],
            },
        ],
        "models": [
            model("claude"),
            model("open"),
            model("details"),
            model("gemini"),
            {
                "id": "mix/either",
                "efforts": {"low": "low", "xhigh": "max"},
                "endpoints": [
                    {"provider": "open", "model": "one", "efforts": {"low": "brief"}, "price": _price(1)},
                    {"provider": "claude", "model": "claude-opus-4-6", "price": _price(2)},
                ],
            },
        ],
    }


@pytest.fixture
async def upstream() -> AsyncIterator[PlayedUpstream]:
    async with played_upstream() as played:
        yield played


@pytest.fixture
async def up(tmp_path: Path, upstream: PlayedUpstream) -> AsyncIterator[InProcess]:
    async with running_service(tmp_path, catalog=lambda alpha, beta: catalogue(upstream.url)) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture(params=DOORS)
def loop(request: pytest.FixtureRequest, up: InProcess, session: aiohttp.ClientSession) -> Loop:
    return loop_through(request.param, up, session)


async def test_a_tool_loop_gives_anthropic_its_thinking_back_unchanged(
    loop: Loop, upstream: PlayedUpstream
) -> None:
    upstream.answers = [LOOKS, SAYS, message({"type": "text", "text": "Bye."})]
    await loop.ask("mix/claude", "What to wear in Oslo and Rome?")
    await loop.give("mix/claude", "5 °C", "25 °C")
    await loop.ask("mix/claude", "Thanks.")
    asked, answered, results = upstream.sent(1)["messages"]
    assert asked == {"role": "user", "content": "What to wear in Oslo and Rome?"}
    assert answered == {"role": "assistant", "content": LOOKS["content"]}
    assert [block["tool_use_id"] for block in results["content"]] == ["toolu_1", "toolu_2"]
    assert upstream.sent(2)["messages"][:2] == [asked, answered]
    assert upstream.sent(2)["messages"][3] == {"role": "assistant", "content": SAYS["content"]}


@pytest.mark.parametrize("door", [door for door in DOORS if door.startswith("responses")])
async def test_thinking_between_text_and_calls_comes_back_in_its_place(
    door: str, up: InProcess, session: aiohttp.ClientSession, upstream: PlayedUpstream
) -> None:
    between = {"type": "thinking", "thinking": "Rome as well.", "signature": "Between="}
    said = message(THOUGHT, TEXT, between, OSLO, stop_reason="tool_use")
    upstream.answers = [said, SAYS]
    loop = loop_through(door, up, session)
    await loop.ask("mix/claude", "What to wear in Oslo?")
    await loop.give("mix/claude", "5 °C")
    assert upstream.sent(1)["messages"][1]["content"] == said["content"]


async def test_another_provider_in_the_middle_gets_all_but_the_foreign_proofs_and_loses_nothing_of_them(
    loop: Loop, upstream: PlayedUpstream
) -> None:
    foreign = {"type": "reasoning.encrypted", "data": "T3BlbnM+", "format": "google-gemini-v1", "id": "call_9"}
    open_says = completion({"content": "Sandals for Rome.", "reasoning_details": [foreign]})
    upstream.answers = [LOOKS, SAYS, open_says, message({"type": "text", "text": "Bye."})]
    await loop.ask("mix/claude", "What to wear in Oslo and Rome?")
    await loop.give("mix/claude", "5 °C", "25 °C")
    await loop.ask("mix/open", "And in Rome?")
    await loop.ask("mix/claude", "Thanks.")

    to_open = words(upstream.received[2])
    for proof in ("EqQBCgYIBxgCIkD", "EmptyButSigned", "EmwKAhgBEgy3va3pzix", "Second==", "Zuerst"):
        assert proof not in to_open
    said = [message["content"] for message in upstream.sent(2)["messages"] if message["role"] == "assistant"]
    assert said == ["Let me look both up.", "Coat for Oslo."]
    calls = upstream.sent(2)["messages"][1]["tool_calls"]
    assert [call["id"] for call in calls] == ["toolu_1", "toolu_2"]

    back = upstream.sent(3)["messages"]
    assert "T3BlbnM+" not in words(upstream.received[3])
    assert back[1]["content"] == LOOKS["content"]
    assert back[3]["content"] == SAYS["content"]
    assert back[5] == {"role": "assistant", "content": "Sandals for Rome."}
    assert back[6] == {"role": "user", "content": "Thanks."}


async def test_proofs_that_belong_to_single_calls_come_back_with_their_calls(
    loop: Loop, upstream: PlayedUpstream
) -> None:
    def proof(data: str, **more: Any) -> dict[str, Any]:
        return {"type": "reasoning.encrypted", "data": data, "format": "google-gemini-v1", **more}

    def call(call_id: str, city: str) -> dict[str, Any]:
        return {
            "id": call_id,
            "type": "function",
            "function": {"name": "get_weather", "arguments": f'{{"city":"{city}"}}'},
        }

    first = completion(
        {
            "reasoning_details": [
                {"type": "reasoning.text", "text": "Weather first.", "format": "google-gemini-v1", "index": 0},
                proof("Rmlyc3Q+", id="call_1"),
                proof("U2Vjb25k/w==", id="call_2"),
            ],
            "tool_calls": [call("call_1", "Oslo"), call("call_2", "Rome")],
        },
        "tool_calls",
    )
    # On a text the proof has no id.
    second = completion({"content": "Coat.", "reasoning_details": [proof("T25UZXh0")]})
    upstream.answers = [first, second, completion({"content": "Bye."})]
    await loop.ask("mix/details", "What to wear?")
    await loop.give("mix/details", "5 °C", "25 °C")
    await loop.ask("mix/details", "Thanks.")

    def proofs(message: dict[str, Any]) -> list[tuple[str, str, str | None]]:
        details = message["reasoning_details"]
        return [(d["data"], d["format"], d.get("id")) for d in details if d["type"] == "reasoning.encrypted"]

    _, looked, *_ = upstream.sent(1)["messages"]
    form = "google-gemini-v1"
    assert proofs(looked) == [("Rmlyc3Q+", form, "call_1"), ("U2Vjb25k/w==", form, "call_2")]
    assert [each["id"] for each in looked["tool_calls"]] == ["call_1", "call_2"]
    said = upstream.sent(2)["messages"][4]
    assert (said["content"], proofs(said)) == ("Coat.", [("T25UZXh0", form, None)])


async def test_gemini_gets_each_thought_signature_back_on_the_part_that_had_it(
    loop: Loop, upstream: PlayedUpstream
) -> None:
    def call(city: str, signature: str) -> dict[str, Any]:
        return {"functionCall": {"name": "get_weather", "args": {"city": city}}, "thoughtSignature": signature}

    looks = candidate(
        {"text": "I need the weather.", "thought": True},
        call("Oslo", "Rmlyc3Q+/w=="),
        call("Rome", "U2Vjb25k+A=="),
    )
    says = candidate({"text": "A coat.", "thoughtSignature": "T25UZXh0"})
    upstream.answers = [looks, says, message({"type": "text", "text": "Bye."}), says]
    await loop.ask("mix/gemini", "What to wear?")
    await loop.give("mix/gemini", "5 °C", "25 °C")
    await loop.ask("mix/claude", "Thanks.")
    await loop.ask("mix/gemini", "Again?")

    def signed(content: dict[str, Any]) -> list[tuple[Any, str | None]]:
        return [
            (
                part["functionCall"]["args"] if "functionCall" in part else part["text"],
                part.get("thoughtSignature"),
            )
            for part in content["parts"]
        ]

    _, looked, _ = upstream.sent(1)["contents"]
    assert signed(looked) == [({"city": "Oslo"}, "Rmlyc3Q+/w=="), ({"city": "Rome"}, "U2Vjb25k+A==")]
    assert "Rmlyc3Q" not in words(upstream.received[2])
    assert "T25UZXh0" not in words(upstream.received[2])
    again = upstream.sent(3)["contents"]
    assert signed(again[1]) == signed(looked)
    assert signed(again[3]) == [("A coat.", "T25UZXh0")]
    assert signed(again[5]) == [("Bye.", None)]


async def test_a_stateless_responses_caller_sees_no_proof_unless_it_asks(
    up: InProcess, session: aiohttp.ClientSession, upstream: PlayedUpstream
) -> None:
    upstream.answers = [LOOKS]
    async with session.post(f"{up.http}/v1/responses", json={"model": "mix/claude", "input": "Hi"}) as response:
        shown = await response.text()
    assert response.status == 200
    assert "encrypted_content" not in shown
    assert "EqQBCgYIBxgCIkD" not in shown


async def test_an_effort_goes_to_the_endpoint_that_takes_it_and_in_its_own_words(
    up: InProcess, session: aiohttp.ClientSession, upstream: PlayedUpstream
) -> None:
    door = Door(up, session)
    upstream.answers = [completion({"content": "a"}), message({"type": "text", "text": "b"})]
    low = await door.post(body("mix/either", reasoning_effort="low"))
    most = await door.post(body("mix/either", reasoning={"effort": "xhigh"}))
    assert (low.headers["x-provider-slug"], most.headers["x-provider-slug"]) == ("open", "claude")
    assert upstream.sent(0)["reasoning_effort"] == "brief"
    assert upstream.sent(1)["output_config"] == {"effort": "max"}
    none = await door.post(body("mix/either", reasoning_effort="high"))
    assert none.status == 400
    assert none.error["param"] == "reasoning_effort"
    told = none.raw.decode()
    assert "high is not taken by claude/mix/either, open/mix/either; ask for one of low, xhigh" in told
    assert "takes the efforts low, xhigh; reasoning_effort asks for high" in told
    assert len(upstream.received) == 2
