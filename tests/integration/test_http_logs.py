"""Logs of a service that is called over HTTP, at the most talkative level: no prompt, no answer, no key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import pytest

from adapters.keys import hash_secret, make_key, public_id
from adapters.providers.simulator import (
    INVALID_KEY,
    SERVER_ERROR,
    Cut,
    ErrorIn200,
    Fault,
    Garbage,
    HttpError,
    Reason,
    Script,
    ToolCall,
    rate_limited,
)
from tests.support.http_door import CHAT
from tests.support.running import ALPHA_KEY, BETA_KEY, Child, Rows, running_child, two_dialects

PROMPT = "PROMPT-OF-SOMEBODY"
ANSWER = "ANSWER-OF-THE-MODEL"
PEPPER = "PEPPER-of-more-than-sixteen-characters"
FAULTS: tuple[Fault | None, ...] = (
    None,
    SERVER_ERROR,
    rate_limited(60),
    INVALID_KEY,
    Cut(1),
    ErrorIn200(1, message=f"about {PROMPT}"),
    Garbage(1, f"data: {ANSWER} {{not json\n\n".encode()),
    Garbage(0, f"{ANSWER} \xff".encode()),
    HttpError(400, Reason.INVALID_REQUEST, f"you said {PROMPT}"),
)

PRICE = {"prompt": 1, "completion": 1}
FORMS = ("whole", "stream")


def a_model_for_each_fault(alpha: str, beta: str) -> Rows:
    """So that no cool-down spares a later fault its call."""
    rows = two_dialects(alpha, beta)
    rows["models"] += [
        {
            "id": f"{form}/{number}-{slug}",
            "endpoints": [{"provider": slug, "model": "one", "price": PRICE}],
            "input_modalities": ["text", "image"],
        }
        for form in FORMS
        for number in range(len(FAULTS))
        for slug in ("alpha", "beta")
    ]
    return rows


def markers(key: str) -> dict[str, str]:
    return {
        "the prompt": PROMPT,
        "the answer": ANSWER,
        "the pepper": PEPPER,
        "the caller's key": key,
        "the key's secret": key[16:],
        "alpha's key": ALPHA_KEY,
        "beta's key": BETA_KEY,
    }


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_neither_prompts_nor_answers_nor_keys_are_logged(tmp_path: Path, log_format: str) -> None:
    key = make_key()
    row = {"id": public_id(key), "hash": hash_secret(key, PEPPER.encode()), "owner": "team"}
    settings = {
        "log": {"level": "debug", "format": log_format},
        "key_pepper": "env:PEPPER",
        "keys": [row],
        "http": {"max_body_bytes": 20_000},
    }
    env = {"PEPPER": PEPPER, "PYTHONASYNCIODEBUG": "1"}
    async with running_child(tmp_path, settings, a_model_for_each_fault, env) as up:
        async with aiohttp.ClientSession(up.http, headers={"authorization": f"Bearer {key}"}) as session:
            for number, fault in enumerate(FAULTS):
                await _ask_everything(up, session, number, fault)
            await _ask_wrongly(session, key)
        await _speak_no_http(up, key)
        assert await up.stop() == 0
        logged = up.logged()
    assert logged.count("request_finished") > 40
    assert "http_malformed" in logged
    assert "Traceback" not in logged
    assert "crashed" not in logged
    found = [name for name, marker in markers(key).items() if marker in logged]
    assert found == []


async def _ask_everything(up: Child, session: aiohttp.ClientSession, number: int, fault: Fault | None) -> None:
    call = ToolCall("c1", "f", json.dumps({"said": ANSWER}))
    script = Script(text=f"{ANSWER} {ANSWER} {ANSWER}", reasoning=ANSWER, tool_calls=(call,), fault=fault)
    for slug, simulator in (("alpha", up.alpha), ("beta", up.beta)):
        simulator.script(script)
        simulator.forget_calls()
        for form in FORMS:
            await _post(session, _body(f"{form}/{number}-{slug}", stream=form == "stream"))
        assert len(simulator.calls) == len(FORMS)


def _body(model: str, **fields: object) -> dict[str, object]:
    image = {"type": "image_url", "image_url": {"url": f"https://a.example/{PROMPT}.png"}}
    content = [{"type": "text", "text": PROMPT}, image]
    tool = {"type": "function", "function": {"name": "f", "description": PROMPT}}
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": content}]
    return {"model": model, "messages": messages, "tools": [tool], "user": PROMPT, **fields}


async def _ask_wrongly(session: aiohttp.ClientSession, key: str) -> None:
    wrong: list[Mapping[str, object]] = [
        _body(PROMPT),
        _body("sim/alpha", temperature=PROMPT),
        _body("sim/alpha", **{PROMPT: PROMPT}),
        _body("sim/alpha", rule_name=PROMPT),
        _body("sim/alpha", metadata={PROMPT: 5}),
        _body("sim/alpha", stop=[PROMPT] * 5),
        _body("sim/alpha", padding=PROMPT * 2000),
    ]
    for body in wrong:
        await _post(session, body)
    for data in (PROMPT.encode(), f'{{"messages": "{PROMPT}'.encode(), b'"%b"' % PROMPT.encode()):
        async with session.post(CHAT, data=data) as response:
            assert response.status == 400
    for path in (
        f"/v1/models/{PROMPT}",
        f"/v1/models?page_token={PROMPT}",
        f"/{PROMPT}",
        f"/v1/{PROMPT}?a={PROMPT}",
    ):
        async with session.get(path) as response:
            assert response.status in (400, 404)
    other = {"authorization": f"Bearer {key[:-1]}_", "x-request-id": f"not ok {PROMPT}"}
    async with session.post(CHAT, json=_body("sim/alpha"), headers=other) as response:
        assert response.status == 401


async def _post(session: aiohttp.ClientSession, body: Mapping[str, object]) -> None:
    async with session.post(CHAT, json=body) as response:
        await response.read()
        assert response.status != 500


async def _speak_no_http(up: Child, key: str) -> None:
    """What a parser that can't read a request would quote."""
    host, port = up.http.removeprefix("http://").split(":")
    header = f"authorization: Bearer {key}".encode()
    for head in (
        b"POST %b HTTP/1.1\r\nhost: a\r\n%b\x01\r\n\r\n" % (CHAT.encode(), header),
        b"POST %b HTTP/1.1\r\nhost: a\r\n%b%b\r\n\r\n" % (CHAT.encode(), header, b" " * 9000 + b"x"),
        b"POST %b HTTP/1.1\r\nhost: a\r\n%b\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx"
        % (CHAT.encode(), header),
        b"POST %b HTTP/1.1\r\nhost: a\r\n%b\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b"
        % (CHAT.encode(), header, len(PROMPT), PROMPT.encode()),
        b"%b %b\r\n\r\n" % (PROMPT.encode(), header),
        b"POST %b HTTP/1.1\r\nhost: a\r\n%b\r\ntransfer-encoding: chunked\r\n\r\n%b\r\n"
        % (CHAT.encode(), header, PROMPT.encode()),
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head)
        async with asyncio.timeout(5):
            assert (await reader.read(4096)).split(b" ")[1] == b"400"
        writer.close()
