"""Nothing that a caller or a model says, and no key, stands in a log: at any level, in either format."""

from __future__ import annotations

import asyncio
from itertools import product
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from eurouter.v1 import chat_pb2
from grpc import aio

from adapters.keys import hash_secret, make_key, public_id
from adapters.providers.simulator import (
    CONTEXT_LENGTH,
    OVERLOADED,
    Cut,
    ErrorIn200,
    Garbage,
    HttpError,
    Reset,
    Script,
    SlowFirstByte,
    Stall,
    ToolCall,
    rate_limited,
)
from adapters.providers.simulator import Reason as Why
from service.wire import parse
from tests.support.running import ALPHA_KEY, BETA_KEY, Child, Rows, ask, running_child, two_dialects, until

PROMPT, ANSWER = "pr0mpt-marker", "answ3r-marker"
PEPPER = "a pepper for tests only, long enough"
KEY, STRANGER = make_key(), make_key()
SECRETS: Final = (PROMPT, ANSWER, PEPPER, KEY, KEY[16:], STRANGER, STRANGER[16:], ALPHA_KEY, BETA_KEY)
WORDS = (ANSWER, " and", " more", " words")

SCRIPTS: Final = (
    Script(text=WORDS),
    Script(text=WORDS, tool_calls=(ToolCall("c", "f", f'{{"{ANSWER}": 1}}'),)),
    Script(text=WORDS, tool_calls=(ToolCall("c", "f", f"{ANSWER} is no JSON"),)),
    *(Script(text=WORDS, fault=fault) for fault in (Cut(2), Stall(2), Garbage(2), ErrorIn200(2), Reset(2))),
    *(
        Script(text=WORDS, fault=fault)
        for fault in (Cut(0), Garbage(0, ANSWER.encode()), ErrorIn200(), Reset(None))
    ),
    Script(fault=SlowFirstByte(30)),
    Script(fault=Garbage(0, b'data: {"id": 1, "choices": "' + ANSWER.encode() + b'"}\n\n')),
    *(
        Script(fault=HttpError(status, why, message=f"{PROMPT} {ANSWER} api key provided: {ALPHA_KEY}"))
        for status, why in (
            (400, Why.INVALID_REQUEST),
            (401, Why.INVALID_KEY),
            (404, Why.NOT_FOUND),
            (418, Why.FORBIDDEN),
            (500, Why.SERVER_ERROR),
        )
    ),
    *(Script(fault=fault) for fault in (rate_limited(30), OVERLOADED, CONTEXT_LENGTH)),
    Script(fault=HttpError(500, body=f"<html>{PROMPT}{ALPHA_KEY}</html>".encode())),
)

TOOLS: Final = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
BAD: Final[tuple[dict[str, Any], ...]] = (
    {"model": PROMPT},
    {"top_p": 9},
    {"tool_choice": {"type": "function", "function": {"name": PROMPT}}},
    {
        "messages": [
            {
                "role": "assistant",
                "tool_calls": [{"id": "x", "type": "function", "function": {"name": "f", "arguments": PROMPT}}],
            }
        ]
    },
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:{PROMPT}"}}]}]},
    {"metadata": {PROMPT * 10: PROMPT}},
    {"user": PROMPT, "stop": [PROMPT] * 9},
)
BAD_JSON: Final = (
    b'{"messages": [{"role": "user", "content": "' + PROMPT.encode(),
    b'{"messages": "' + PROMPT.encode() + b'"}',
    b'{"' + PROMPT.encode() + b'": 1, "model": "sim/alpha", "messages": []}',
    b"\xff" + PROMPT.encode(),
)


WITH_KEY: Final = (("authorization", f"Bearer {KEY}"),)


KINDS: Final = ("grpc-whole", "grpc-stream", "http-whole", "http-stream")


def a_model_per_script(alpha: str, beta: str) -> Rows:
    """Each fault at its own endpoint, because an endpoint that failed cools down."""
    rows = two_dialects(alpha, beta)
    price = {"prompt": 1, "completion": 1}
    for kind, slug, n in product(KINDS, ("alpha", "beta"), range(len(SCRIPTS))):
        endpoint = {"provider": slug, "model": f"script-{n}", "price": price}
        rows["models"].append({"id": f"{kind}/{slug}-{n}", "endpoints": [endpoint]})
    return rows


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_no_prompt_no_answer_and_no_key_is_ever_logged(tmp_path: Path, log_format: str) -> None:
    row = {"id": public_id(KEY), "hash": hash_secret(KEY, PEPPER.encode()), "owner": "team-a"}
    settings = {
        "log": {"level": "debug", "format": log_format},
        "key_pepper": "env:KEY_PEPPER",
        "keys": [row],
        "upstream": {"first_byte_seconds": 1, "idle_seconds": 1},
        "drain": {"pause_seconds": 0, "finish_seconds": 0.2},
    }
    env = {"KEY_PEPPER": PEPPER}
    async with running_child(tmp_path, settings, a_model_per_script, env) as up, aiohttp.ClientSession() as web:
        for n, script in enumerate(SCRIPTS):
            up.alpha.script(script, f"script-{n}")
            up.beta.script(script, f"script-{n}")
        await asyncio.gather(over_grpc(up), over_http(up, web))
        assert len(up.alpha.calls) >= 4 * len(SCRIPTS) <= len(up.beta.calls)
        await ended_early(up, web)
        await edited_badly(up, {**settings, "keys": [{**row, "hash": KEY}], "key_pepper": PEPPER})
        held = asyncio.ensure_future(ending(up.chat.StreamChatCompletion(ask(text=PROMPT), metadata=WITH_KEY)))
        await up.alpha.wait_for(lambda calls: calls[-1].ended is None and calls[-1].tokens_sent > 0)
        await up.stop()
        await held
        logged = up.logged()
    assert logged.count("request_finished") > 8 * len(SCRIPTS)
    found = [secret for secret in SECRETS if secret in logged]
    assert not found, [line for line in logged.splitlines() if any(secret in line for secret in found)][:5]
    for sign in ("request_crashed", "Traceback", "INTERNAL"):
        assert sign not in logged, [line for line in logged.splitlines() if sign in line][:5]


async def ending(call: Any) -> str:
    """How a unary or a streaming call ended."""
    try:
        if hasattr(call, "read"):
            async for _ in call:
                pass
        else:
            await call
    except aio.AioRpcError as error:
        return str(error.code())
    except asyncio.CancelledError:
        return "cancelled"
    return "ok"


async def over_grpc(up: Child) -> None:
    """Every script and every bad request."""
    rpcs = (up.chat.CreateChatCompletion, up.chat.StreamChatCompletion)
    calls = [
        rpc(ask(f"{kind}/{slug}-{n}", PROMPT, tools=TOOLS), metadata=WITH_KEY)
        for kind, rpc in zip(KINDS[:2], rpcs, strict=True)
        for slug, n in product(("alpha", "beta"), range(len(SCRIPTS)))
    ]
    await asyncio.gather(*map(ending, calls))
    for rpc in rpcs:
        for bad in BAD:
            request = parse(chat_pb2.CreateChatCompletionRequest, body_of(bad))
            assert await ending(rpc(request, metadata=WITH_KEY)) != "ok"
        for key in (STRANGER, ALPHA_KEY):
            assert await ending(rpc(ask(text=PROMPT), metadata=(("x-api-key", key),))) != "ok"
    raw: Any = up.channel.unary_unary("/eurouter.v1.ChatService/CreateChatCompletion")
    assert await ending(raw(b"\xff\xff" + PROMPT.encode(), metadata=WITH_KEY)) != "ok"


async def over_http(up: Child, web: aiohttp.ClientSession) -> None:
    """The same over HTTP."""
    url, headers = f"{up.http}/v1/chat/completions", {"authorization": f"Bearer {KEY}"}
    bodies = [
        body_of({"model": f"{kind}/{slug}-{n}", "stream": kind == "http-stream", "tools": TOOLS})
        for kind, slug, n in product(KINDS[2:], ("alpha", "beta"), range(len(SCRIPTS)))
    ]
    await asyncio.gather(*(post(web, url, headers, json=body) for body in bodies))
    for bad in BAD:
        assert await post(web, url, headers, json=body_of(bad)) >= 400
    for data in BAD_JSON:
        assert await post(web, url, headers, data=data) == 400
    for key in (STRANGER, ALPHA_KEY):
        assert await post(web, url, {"x-api-key": key}, json=body_of({})) == 401
    assert await post(web, f"{up.http}/v1/{PROMPT}?key={KEY}", headers, data=b"{}") == 404


def body_of(fields: dict[str, Any]) -> dict[str, Any]:
    return {"model": "sim/alpha", "messages": [{"role": "user", "content": PROMPT}], **fields}


async def post(web: aiohttp.ClientSession, url: str, headers: dict[str, str], **body: Any) -> int:
    """The status; 0 when the connection broke."""
    try:
        async with web.post(url, headers=headers, **body) as answer:
            await answer.read()
            return answer.status
    except (aiohttp.ClientError, TimeoutError):
        return 0


async def ended_early(up: Child, web: aiohttp.ClientSession) -> None:
    """Clients that leave, and deadlines that pass."""
    up.alpha.script(Script(text=WORDS * 50, pace=0.2))
    for rpc in (up.chat.CreateChatCompletion, up.chat.StreamChatCompletion):
        assert "DEADLINE" in await ending(rpc(ask(text=PROMPT), metadata=WITH_KEY, timeout=0.1))
        call = rpc(ask(text=PROMPT), metadata=WITH_KEY)
        reading = asyncio.ensure_future(ending(call))
        await asyncio.sleep(0.1)
        call.cancel()
        assert await reading == "cancelled"
    short = {"timeout": aiohttp.ClientTimeout(total=0.1)}
    for stream in (False, True):
        body = body_of({"stream": stream})
        assert await post(web, f"{up.http}/v1/chat/completions", {"x-api-key": KEY}, json=body, **short) == 0


async def edited_badly(up: Child, settings: dict[str, Any]) -> None:
    """Secrets where none belong, in both files."""
    up.upstreams.write_settings(settings)
    up.upstreams.write_catalog({"providers": [{"slug": "x", "dialect": "y", "auth": {"secret": ALPHA_KEY}}]})

    def refused(file: str) -> bool:
        return any("condition_failed" in line and file in line for line in up.logged().splitlines())

    await until(lambda: refused("settings") and refused("catalog"), "both refused")
