"""Several providers behind one service, each in its own wire format: fallbacks, filters, moving conversations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Final

import aiohttp
import orjson
import pytest

from adapters.providers.registry import DIALECTS
from adapters.providers.simulator import (
    CONTEXT_LENGTH,
    OVERLOADED,
    SERVER_ERROR,
    UNAVAILABLE,
    Cut,
    ErrorIn200,
    Fault,
    HttpError,
    Script,
    Simulator,
    ToolCall,
    Usage,
)
from tests.support.every_door import DOORS, QUESTION, refused, said
from tests.support.http_door import Door, body
from tests.support.running import InProcess, Rows, running_service
from tests.support.tool_loops import DOORS as LOOP_DOORS
from tests.support.tool_loops import Loop, loop_through

# Provider, dialect, the path below its simulator's address, region.
PROVIDERS: Final = (
    ("openai", "openai_chat", "/v1", "us"),
    ("openai-responses", "openai_responses", "/v1", "us"),
    ("claude", "anthropic", "/v1", "us"),
    ("gemini", "gemini", "/v1beta", "us"),
    ("bedrock", "bedrock", "", "eu"),
    ("azure", "azure", "/openai/v1", "se"),
    ("mistral", "mistral", "/mistral/v1", "fr"),
)
SLUGS: Final = tuple(slug for slug, *_ in PROVIDERS)
EUROPEAN: Final = ("bedrock", "azure", "mistral")
# In Bedrock's way of writing a model's name, from which its dialect tells whose model it is.
CLAUDE_THERE: Final = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
USAGE: Final = Usage(100, 20, cached_tokens=40)
# Per million: 60 tokens at 2, 40 from the cache at 0.2, 20 at 10.
COST: Final = (Decimal("0.000328"), "EUR")
# What Google takes in the place of a signature, and what the simulator signs with as whomever.
UNSIGNED: Final = "skip_thought_signature_validator"
SIGNATURE: Final = "c2lnbmVkIGJ5IHRoZSBzaW11bGF0b3IsIG5vdCBieSBhIG1vZGVs"
ANY_DOOR: Final = pytest.mark.parametrize("door", DOORS)
Upstreams = Mapping[str, Simulator]


def catalogue(urls: Mapping[str, str]) -> Rows:
    """`all/SLUG` is at one provider; the others are named after what they are for, first endpoint first."""

    def endpoint(slug: str, price: int = 2, **more: object) -> Rows:
        name = CLAUDE_THERE if slug == "bedrock" else "one"
        prices = {"prompt": price, "completion": 5 * price, "cache_read": price / 10}
        return {"provider": slug, "model": name, "price": prices, **more}

    def model(name: str, *slugs: str) -> Rows:
        return {"id": name, "endpoints": [endpoint(slug, at) for at, slug in enumerate(slugs, 1)]}

    lengths = {"claude": 200_000, "bedrock": 100_000, "openai": 200_000, "gemini": 1_000_000}
    return {
        "currency": "EUR",
        "providers": [
            {
                "slug": slug,
                "dialect": dialect,
                "base_url": urls[slug] + path,
                "facts": {"regions": {"value": [region], "source": "a contract", "verified_on": "2026-11-22"}},
            }
            for slug, dialect, path, region in PROVIDERS
        ],
        "models": [
            *({"id": f"all/{slug}", "endpoints": [endpoint(slug)]} for slug in SLUGS),
            model("some/claude", "claude", "bedrock"),
            model("some/everywhere", *SLUGS),
            {
                "id": "some/long",
                "endpoints": [
                    endpoint(slug, at, context_length=length)
                    for at, (slug, length) in enumerate(lengths.items(), 1)
                ],
            },
            *(model(f"first/{slug}", slug, *(other for other in SLUGS if other != slug)) for slug in SLUGS),
        ],
    }


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    async with AsyncExitStack() as stack:
        yield {slug: await stack.enter_async_context(Simulator()) for slug in SLUGS}


@pytest.fixture
async def up(tmp_path: Path, upstreams: Upstreams) -> AsyncIterator[InProcess]:
    rows = catalogue({slug: upstream.url for slug, upstream in upstreams.items()})
    async with running_service(tmp_path, catalog=lambda alpha, beta: rows) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def asked(upstreams: Upstreams) -> dict[str, int]:
    """How many calls each provider got, those without any left out."""
    return {slug: len(upstream.calls) for slug, upstream in upstreams.items() if upstream.calls}


def test_every_dialect_has_a_provider_here() -> None:
    assert {dialect for _, dialect, *_ in PROVIDERS} == set(DIALECTS)


@pytest.mark.parametrize("slug", SLUGS)
async def test_every_dialect_answers_through_every_door_with_usage_finish_and_cost(
    slug: str, up: InProcess, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    upstreams[slug].script(Script(text=("A warm", " coat", " 🧥."), usage=USAGE))
    for door in DOORS:
        told = await said(up, session, door, f"all/{slug}")
        assert (told.text, told.finish, told.tokens, told.cost) == (
            "A warm coat 🧥.",
            "stop",
            (100, 20, 40),
            COST,
        ), door
        assert told.decision["x-provider-slug"] == slug
    assert asked(upstreams) == {slug: len(DOORS)}
    assert all(call.finished and call.status == 200 for call in upstreams[slug].calls)


@pytest.mark.parametrize("slug", SLUGS)
async def test_every_dialect_says_when_an_answer_was_cut_at_its_limit(
    slug: str, up: InProcess, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    upstreams[slug].script(Script(text="A warm", finish_reason="length", usage=USAGE))
    for door in DOORS:
        told = await said(up, session, door, f"all/{slug}")
        finish = "length" if door.startswith("chat") else "max_output_tokens"
        assert (told.text, told.finish, told.cost) == ("A warm", finish, COST), door


@ANY_DOOR
@pytest.mark.parametrize("fault", [OVERLOADED, ErrorIn200()], ids=["529", "in a 200"])
async def test_an_overloaded_anthropic_falls_back_to_bedrock_before_the_first_token(
    fault: Fault, door: str, up: InProcess, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    upstreams["claude"].script(Script(text="Sandals.", fault=fault))
    upstreams["bedrock"].script(Script(text=("A ", "coat."), usage=USAGE))
    told = await said(up, session, door, "some/claude")
    assert (told.text, told.finish, told.tokens) == ("A coat.", "stop", (100, 20, 40))
    assert told.decision["x-provider-slug"] == "bedrock"
    assert told.decision["x-fallback-count"] == "1"
    assert asked(upstreams) == {"claude": 1, "bedrock": 1}
    (first,), (second,) = upstreams["claude"].calls, upstreams["bedrock"].calls
    assert (first.path, first.model) == ("/v1/messages", "one")
    assert second.model == CLAUDE_THERE
    assert second.path.endswith("/converse-stream" if "streamed" in door else "/converse")
    assert first.body["messages"] == [{"role": "user", "content": QUESTION}]
    assert second.body["messages"] == [{"role": "user", "content": [{"text": QUESTION}]}]


@pytest.mark.parametrize("fault", [ErrorIn200(after_tokens=2), Cut(2)], ids=["overloaded", "cut"])
async def test_an_anthropic_stream_that_fails_after_its_first_token_never_begins_anew_at_bedrock(
    fault: Fault, up: InProcess, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    upstreams["claude"].script(Script(text="A warm coat it is", fault=fault, pace=0.01))
    streamed = await Door(up, session).stream(body("some/claude"))
    assert streamed.text == "A warm"
    assert streamed.error is not None
    assert streamed.error["endpoints"][0]["endpoint"] == "claude/some/claude"
    assert not streamed.done
    assert asked(upstreams) == {"claude": 1}


@ANY_DOOR
async def test_an_eu_only_request_whose_endpoints_are_down_says_why_and_touches_no_other(
    door: str, up: InProcess, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    upstreams["bedrock"].script(Script(fault=UNAVAILABLE))
    upstreams["azure"].script(Script(fault=SERVER_ERROR))
    await upstreams["mistral"].refuse_connections()
    told = await refused(up, session, door, "some/everywhere", provider={"data_residency": "eu"})
    assert told.status == ("503" if "HTTP" in door else "UNAVAILABLE")
    assert told.reason == "PROVIDER_UNAVAILABLE"
    assert set(told.endpoints) == {f"{slug}/some/everywhere" for slug in EUROPEAN}
    assert told.endpoints["bedrock/some/everywhere"].startswith("overloaded: ")
    assert told.endpoints["azure/some/everywhere"].startswith("server_error: ")
    assert told.endpoints["mistral/some/everywhere"].startswith("connect: ")
    assert asked(upstreams) == {"bedrock": 1, "azure": 1}


async def test_an_eu_only_request_is_answered_by_the_one_that_is_up(
    up: InProcess, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    for slug in ("bedrock", "azure"):
        upstreams[slug].script(Script(fault=UNAVAILABLE))
    upstreams["mistral"].script(Script(text="Un manteau."))
    residency = {"data_residency": "eu"}
    told = await said(up, session, "chat HTTP, streamed", "some/everywhere", provider=residency)
    assert told.text == "Un manteau."
    assert told.decision["x-provider-slug"] == "mistral"
    assert set(asked(upstreams)) == set(EUROPEAN)


@ANY_DOOR
async def test_a_prompt_that_is_too_long_falls_to_the_endpoint_with_a_longer_context(
    door: str, up: InProcess, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    upstreams["claude"].script(Script(fault=CONTEXT_LENGTH))
    upstreams["gemini"].script(Script(text="All of it.", usage=USAGE))
    told = await said(up, session, door, "some/long")
    assert (told.text, told.decision["x-provider-slug"]) == ("All of it.", "gemini")
    assert asked(upstreams) == {"claude": 1, "gemini": 1}, "no other has more room"


@pytest.mark.parametrize("slug", SLUGS)
async def test_a_prompt_that_is_too_long_for_the_longest_is_the_callers_error(
    slug: str, up: InProcess, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    upstreams[slug].script(Script(fault=CONTEXT_LENGTH))
    for door in DOORS:
        told = await refused(up, session, door, f"all/{slug}")
        assert told.status in ("400", "INVALID_ARGUMENT")
        assert told.reason == "CONTEXT_LENGTH_EXCEEDED"


# How each ends an answer that its filter stopped; the last is what Bedrock's guardrails say.
STOPPED: Final = (
    *((slug, "content_filter") for slug in SLUGS if slug not in ("mistral", "openai-responses")),
    ("bedrock", "guardrail_intervened"),
)


@pytest.mark.parametrize(("slug", "finish"), STOPPED)
async def test_an_answer_that_a_providers_filter_stopped_is_told_as_such_and_nobody_else_is_asked(
    slug: str, finish: str, up: InProcess, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    upstreams[slug].script(Script(text="Once upon", finish_reason=finish, usage=USAGE))
    for door in DOORS:
        told = await said(up, session, door, f"first/{slug}")
        assert (told.text, told.finish) == ("Once upon", "content_filter"), door
    assert asked(upstreams) == {slug: len(DOORS)}


def error(**said: object) -> bytes:
    """OpenAI's form of an error."""
    return orjson.dumps({"error": said})


# The forms of learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter and OpenAI's error codes.
REJECTED: Final = {
    "azure": error(
        message="The response was filtered due to the prompt triggering the content management policy.",
        type=None,
        param="prompt",
        code="content_filter",
        status=400,
        innererror={"code": "ResponsibleAIPolicyViolation"},
    ),
    "openai": error(
        message="Invalid prompt: it was flagged as potentially violating our usage policy.",
        type="invalid_request_error",
        param=None,
        code="content_policy_violation",
    ),
}


@ANY_DOOR
@pytest.mark.parametrize("slug", REJECTED)
async def test_a_prompt_that_one_providers_filter_rejects_is_sent_to_no_other(
    slug: str, door: str, up: InProcess, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    upstreams[slug].script(Script(fault=HttpError(400, body=REJECTED[slug])))
    told = await refused(up, session, door, f"first/{slug}")
    assert told.status == ("400" if "HTTP" in door else "INVALID_ARGUMENT")
    assert told.reason == "CONTENT_POLICY"
    assert asked(upstreams) == {slug: 1}


@pytest.fixture(params=LOOP_DOORS)
def loop(request: pytest.FixtureRequest, up: InProcess, session: aiohttp.ClientSession) -> Loop:
    return loop_through(request.param, up, session)


OSLO, ROME, AARHUS = (
    ToolCall(f"id_{at}", "get_weather", f'{{"city":"{city}"}}')
    for at, city in enumerate(("Oslo", "Rome", "Århus"))
)


def use(call: ToolCall) -> Rows:
    """The call as Anthropic has it in a history."""
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": orjson.loads(call.arguments)}


async def test_a_tool_loop_begins_at_anthropic_goes_on_at_gemini_and_ends_at_anthropic(
    loop: Loop, upstreams: Upstreams
) -> None:
    claude, gemini = upstreams["claude"], upstreams["gemini"]
    looks = Script(text="Looking.", reasoning=("First ", "the weather."), tool_calls=(OSLO, ROME))
    claude.enqueue(looks, Script(text="Coats."))
    gemini.enqueue(Script(reasoning="One more city.", tool_calls=(AARHUS,)))
    await loop.ask("all/claude", "What to wear?")
    await loop.give("all/gemini", "5 °C", "25 °C")
    await loop.give("all/claude", "7 °C")

    (moved,) = gemini.calls
    user, called, results = moved.body["contents"]
    assert user == {"role": "user", "parts": [{"text": "What to wear?"}]}
    text, *parts = called["parts"]
    assert text == {"text": "Looking."}
    told = [(part["functionCall"]["id"], part["functionCall"]["args"]) for part in parts]
    assert told == [("id_0", {"city": "Oslo"}), ("id_1", {"city": "Rome"})]
    assert {part.get("thoughtSignature") for part in parts} <= {None, UNSIGNED}
    answers = [part["functionResponse"] for part in results["parts"]]
    assert [(each["id"], each["name"]) for each in answers] == [("id_0", OSLO.name), ("id_1", ROME.name)]
    assert SIGNATURE not in orjson.dumps(moved.body).decode()
    assert "First the weather" not in orjson.dumps(moved.body).decode()

    begun, back = claude.calls
    assert begun.body["messages"] == [{"role": "user", "content": "What to wear?"}]
    question, own, given, foreign, given_last = back.body["messages"]
    assert question == begun.body["messages"][0]
    assert own["content"] == [
        {"type": "thinking", "thinking": "First the weather.", "signature": SIGNATURE},
        {"type": "text", "text": "Looking."},
        use(OSLO),
        use(ROME),
    ]
    assert [block["tool_use_id"] for block in given["content"]] == ["id_0", "id_1"]
    assert foreign["content"] == [use(AARHUS)]
    assert [block["tool_use_id"] for block in given_last["content"]] == ["id_2"]
    assert asked(upstreams) == {"claude": 2, "gemini": 1}


async def test_a_tool_loop_begins_at_gemini_goes_on_at_claude_on_bedrock_and_ends_at_gemini(
    loop: Loop, upstreams: Upstreams
) -> None:
    gemini, bedrock = upstreams["gemini"], upstreams["bedrock"]
    gemini.enqueue(Script(reasoning="Weather first.", tool_calls=(OSLO, ROME)), Script(text="Coats."))
    bedrock.enqueue(Script(text="One more.", reasoning="Århus as well.", tool_calls=(AARHUS,)))
    await loop.ask("all/gemini", "What to wear?")
    await loop.give("all/bedrock", "5 °C", "25 °C")
    await loop.give("all/gemini", "7 °C")

    (moved,) = bedrock.calls
    _, called, results = moved.body["messages"]
    assert [block["toolUse"]["toolUseId"] for block in called["content"]] == ["id_0", "id_1"]
    assert [block["toolUse"]["input"] for block in called["content"]] == [{"city": "Oslo"}, {"city": "Rome"}]
    assert [block["toolResult"]["toolUseId"] for block in results["content"]] == ["id_0", "id_1"]
    assert SIGNATURE not in orjson.dumps(moved.body).decode()

    _, own, _, foreign, _ = gemini.calls[1].body["contents"]
    signed = [(part["functionCall"]["id"], part.get("thoughtSignature")) for part in own["parts"]]
    assert signed == [("id_0", SIGNATURE), ("id_1", None)]
    text, call = foreign["parts"]
    assert text == {"text": "One more."}
    assert call["functionCall"] == {"id": "id_2", "name": AARHUS.name, "args": {"city": "Århus"}}
    assert call.get("thoughtSignature") in (None, UNSIGNED)


async def test_what_claude_signed_at_anthropic_goes_with_the_conversation_to_claude_on_bedrock(
    loop: Loop, upstreams: Upstreams
) -> None:
    upstreams["claude"].enqueue(Script(reasoning="First the weather.", tool_calls=(OSLO,)))
    upstreams["bedrock"].enqueue(Script(text="A coat."))
    await loop.ask("all/claude", "What to wear?")
    await loop.give("all/bedrock", "5 °C")
    (moved,) = upstreams["bedrock"].calls
    _, called, results = moved.body["messages"]
    thought, use_there = called["content"]
    told = {"text": "First the weather.", "signature": SIGNATURE}
    assert thought == {"reasoningContent": {"reasoningText": told}}
    assert use_there["toolUse"]["toolUseId"] == "id_0"
    assert results["content"][0]["toolResult"]["toolUseId"] == "id_0"
