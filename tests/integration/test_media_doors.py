"""Images and files by address, through every door, at providers that take bytes only: fetched where a key may.

The host of the images listens on loopback, which only these tests let the service fetch from.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from eurouter.v1 import routing_pb2

from adapters.keys import hash_secret, make_key, public_id
from adapters.media.addresses import IpAddress, is_public
from adapters.providers.simulator import OVERLOADED, Script
from tests.integration.upstream_server import Answer, Peer, Server, serving
from tests.support.http_door import Door
from tests.support.responses_door import ResponsesDoor
from tests.support.running import InProcess, Rows, ask, ask_response, running_service, two_dialects, until

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PDF = b"%PDF-1.7\n" + bytes(range(256))
PNG_URI = f"data:image/png;base64,{b64encode(PNG).decode()}"
PEPPER = "a pepper for tests only, long enough"
MAY, MAY_NOT = make_key(), make_key()


async def media(peer: Peer) -> None:
    """/a.png and /b.pdf; everything else is not there."""
    body, kind = {"/a.png": (PNG, "image/png"), "/b.pdf": (PDF, "application/pdf")}.get(
        peer.head.split(" ")[1], (b"", "")
    )
    if not kind:
        await peer.whole(b"gone", "404 Not Found")
    else:
        await peer.whole(body, headers=f"content-type: {kind}\r\n")


def bytes_only(alpha: str, beta: str) -> Rows:
    """Both providers refuse addresses; beta is a fallback that takes them in the model sim/mixed."""
    rows = two_dialects(alpha, beta)
    rows["providers"][0]["refuses"] = ["image_url.url"]
    return rows


@dataclass
class World:
    """A running service and the host of the images."""

    up: InProcess
    host: Server
    session: aiohttp.ClientSession

    def image(self, path: str = "/a.png") -> str:
        return self.host.url + path

    def sent(self) -> dict[str, Any]:
        """The last request that provider alpha got."""
        body = self.up.alpha.calls[-1].body
        assert isinstance(body, dict)
        return body


def everybody(address: IpAddress) -> bool:
    return address.is_loopback or is_public(address)


@asynccontextmanager
async def world(
    folder: Path,
    *,
    answer: Answer = media,
    owner_may: bool = True,
    fetch_from: Callable[[IpAddress], bool] = everybody,
    keys: bool = False,
    **limits: object,
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(serving(answer))
        settings: dict[str, Any] = {"media": {"allow_http": True, "ports": [host.port], **limits}}
        if keys:
            settings["keys"] = [row(MAY, fetch_media=True), row(MAY_NOT)]
            settings["key_pepper"] = "env:KEY_PEPPER"
        else:
            settings["owners"] = [{"name": "local", "fetch_media": owner_may}]
        env = {"KEY_PEPPER": PEPPER}
        up = await stack.enter_async_context(
            running_service(folder, settings, bytes_only, env, fetch_from=fetch_from)
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield World(up, host, session)


def row(key: str, **more: object) -> dict[str, object]:
    return {"id": public_id(key), "hash": hash_secret(key, PEPPER.encode()), "owner": "team", **more}


def chat(url: str, model: str = "sim/alpha") -> dict[str, Any]:
    """A chat request with an image by its address."""
    content = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
    ]
    return {"model": model, "messages": [{"role": "user", "content": content}]}


def response(*parts: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"model": "sim/alpha", "input": [{"role": "user", "content": list(parts)}], **more}


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_image_by_address_reaches_a_provider_that_takes_bytes_only_over_http(
    tmp_path: Path, streamed: bool
) -> None:
    async with world(tmp_path) as w:
        w.up.alpha.script(Script(text="a cat"))
        door = Door(w.up, w.session)
        if streamed:
            assert (await door.stream(chat(w.image()))).text == "a cat"
        else:
            answer = await door.post(chat(w.image()))
            assert (answer.status, answer.headers.get("x-ignored-parameters")) == (200, None)
        (_, part) = w.sent()["messages"][0]["content"]
        assert part == {"type": "image_url", "image_url": {"url": PNG_URI, "detail": "low"}}
        assert len(w.host.peers) == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_it_does_over_grpc(tmp_path: Path, streamed: bool) -> None:
    async with world(tmp_path) as w:
        w.up.alpha.script(Script(text="a cat"))
        request = ask(**chat(w.image()))
        if streamed:
            chunks = [chunk async for chunk in w.up.chat.StreamChatCompletion(request)]
            text = "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)
        else:
            text = (await w.up.chat.CreateChatCompletion(request)).choices[0].message.content
        assert text == "a cat"
        assert w.sent()["messages"][0]["content"][1]["image_url"]["url"] == PNG_URI


async def test_a_response_has_its_images_and_its_files_fetched_side_by_side(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        parts = (
            {"type": "input_image", "image_url": w.image()},
            {"type": "input_file", "file_url": w.image("/b.pdf")},
        )
        made = await w.up.responses.CreateResponse(ask_response(text=response(*parts)["input"]))
        assert made.output
        image, file = w.sent()["messages"][0]["content"]
        assert image["image_url"]["url"] == PNG_URI
        uri = f"data:application/pdf;base64,{b64encode(PDF).decode()}"
        assert file == {"type": "file", "file": {"filename": "b.pdf", "file_data": uri}}


async def test_a_conversation_that_goes_on_fetches_again_what_its_history_has_by_address(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        door = ResponsesDoor(w.up, w.session)
        first = await door.create(response({"type": "input_image", "image_url": w.image()}))
        assert first.status == 200
        stored = await door.call("GET", f"/{first.json['id']}/input_items")
        assert stored.json["data"][0]["content"][0]["image_url"] == w.image(), "what is stored is what was sent"
        later = await door.create(
            {"model": "sim/alpha", "input": "and?", "previous_response_id": first.json["id"]}
        )
        assert later.status == 200
        assert w.sent()["messages"][0]["content"][0]["image_url"]["url"] == PNG_URI


async def test_a_background_response_is_worked_on_with_what_its_key_may_have_fetched(tmp_path: Path) -> None:
    async with world(tmp_path, keys=True) as w:
        door = ResponsesDoor(w.up, w.session)
        asked = response({"type": "input_image", "image_url": w.image()}, background=True)
        refused = await door.create(asked, headers={"authorization": f"Bearer {MAY_NOT}"})
        assert (refused.status, refused.error["param"]) == (400, "input[0].content[0].image_url")
        ours = {"authorization": f"Bearer {MAY}"}
        accepted = await door.create(asked, headers=ours)
        assert accepted.status == 200
        status = "queued"
        async with asyncio.timeout(15):
            while status in ("queued", "in_progress"):
                await asyncio.sleep(0.05)
                status = (await door.call("GET", f"/{accepted.json['id']}", headers=ours)).json["status"]
        assert status == "completed"
        assert w.sent()["messages"][0]["content"][0]["image_url"]["url"] == PNG_URI


async def test_a_background_response_whose_image_is_gone_fails_once_and_says_why(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        door = ResponsesDoor(w.up, w.session)
        part = {"type": "input_image", "image_url": w.image("/gone.png")}
        accepted = await door.create(response(part, background=True))
        found: dict[str, Any] = accepted.json
        async with asyncio.timeout(15):
            while found["status"] in ("queued", "in_progress"):
                await asyncio.sleep(0.05)
                found = (await door.call("GET", f"/{accepted.json['id']}")).json
        assert found["status"] == "failed"
        assert "answers 404" in found["error"]["message"]
        assert w.up.alpha.calls == ()
        assert len(w.host.peers) == 1


async def test_a_key_without_leave_is_refused_with_the_path_and_what_to_do(tmp_path: Path) -> None:
    async with world(tmp_path, keys=True) as w:
        door = Door(w.up, w.session)
        answer = await door.post(chat(w.image()), headers={"authorization": f"Bearer {MAY_NOT}"})
        assert answer.status == 400
        assert answer.error["param"] == "messages[0].content[1].image_url.url"
        assert "fetching from addresses is off for this key" in json.dumps(answer.error)
        assert (w.host.connections, w.up.alpha.calls) == (0, ())
        allowed = await door.post(chat(w.image()), headers={"authorization": f"Bearer {MAY}"})
        assert allowed.status == 200


async def test_leave_given_or_taken_while_running_counts_from_the_next_call_on(tmp_path: Path) -> None:
    async with world(tmp_path, owner_may=False) as w:
        door = Door(w.up, w.session)
        assert (await door.post(chat(w.image()))).status == 400
        media_section = {"allow_http": True, "ports": [w.host.port]}
        w.up.upstreams.write_settings({"media": media_section, "owners": [{"name": "local", "fetch_media": True}]})
        await until(lambda: bool(w.up.service.live.owner_rows()[0].fetch_media), "the settings are read")
        assert (await door.post(chat(w.image()))).status == 200
        w.up.upstreams.write_settings(
            {"media": {**media_section, "max_bytes": 1024, "allowed_hosts": ["cdn.example"]},
             "owners": [{"name": "local", "fetch_media": True}]}
        )  # fmt: skip
        await until(lambda: w.up.service.live.media().hosts != (), "the settings are read")
        refused = await door.post(chat(w.image()))
        assert (refused.status, refused.error["param"]) == (400, "messages[0].content[1].image_url.url")


async def test_an_image_that_cannot_be_had_is_the_callers_error_and_no_providers(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        door = Door(w.up, w.session)
        answer = await door.post(chat(w.image("/gone.png"), "sim/alpha"))
        assert (answer.status, answer.error["param"]) == (400, "messages[0].content[1].image_url.url")
        assert "its host answers 404" in answer.error["message"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await w.up.chat.CreateChatCompletion(ask(**chat(w.image("/gone.png"))))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert w.up.alpha.calls == w.up.beta.calls == ()
        # It costs the provider nothing: it is asked at once when the address is mended.
        assert (await door.post(chat(w.image()))).status == 200


async def test_who_takes_the_address_of_an_image_that_cannot_be_had_here_is_asked_next(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        answer = await Door(w.up, w.session).post(chat(w.image("/gone.png"), "sim/both"))
        assert (answer.status, answer.headers["x-provider-slug"]) == (200, "beta")
        assert (len(w.up.alpha.calls), len(w.up.beta.calls)) == (0, 1)


async def test_without_the_tests_allowance_this_machine_is_never_fetched_from(tmp_path: Path) -> None:
    async with world(tmp_path, fetch_from=is_public) as w:
        door = Door(w.up, w.session)
        for url in (
            w.image(),
            f"http://localhost:{w.host.port}/a.png",
            f"http://[::ffff:7f00:1]:{w.host.port}/a.png",
        ):
            answer = await door.post(chat(url))
            assert answer.status == 400
            assert "not public" in answer.error["message"]
        assert w.host.connections == 0


async def test_a_provider_that_takes_addresses_gets_the_address_and_nothing_is_fetched(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert (await Door(w.up, w.session).post(chat(w.image(), "sim/beta"))).status == 200
        sent = w.up.beta.calls[-1].body
        assert isinstance(sent, dict)
        assert sent["messages"][0]["content"][1]["source"] == {"type": "url", "url": w.image()}
        assert w.host.connections == 0


async def test_a_fallback_between_the_two_gives_each_what_it_takes(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.up.alpha.script(Script(fault=OVERLOADED))
        answer = await Door(w.up, w.session).post(chat(w.image(), "sim/both"))
        assert answer.status == 200
        assert w.sent()["messages"][0]["content"][1]["image_url"]["url"] == PNG_URI
        sent = w.up.beta.calls[-1].body
        assert isinstance(sent, dict)
        assert sent["messages"][0]["content"][1]["source"]["url"] == w.image()


async def test_a_slow_host_ends_with_the_callers_deadline(tmp_path: Path) -> None:
    async def never(peer: Peer) -> None:
        await peer.gone.wait()

    async with world(tmp_path, answer=never) as w:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await w.up.chat.CreateChatCompletion(ask(**chat(w.image())), timeout=0.5)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            while w.host.gone_at is None:
                await asyncio.sleep(0.01)
        assert w.up.alpha.calls == ()


async def test_a_caller_who_leaves_ends_the_fetch(tmp_path: Path) -> None:
    async def never(peer: Peer) -> None:
        await peer.gone.wait()

    async with world(tmp_path, answer=never, seconds=60) as w:
        call = w.up.chat.CreateChatCompletion(ask(**chat(w.image())))
        pending = asyncio.ensure_future(call.code())
        await until(lambda: bool(w.host.peers), "the fetch is under way")
        call.cancel()
        await pending
        await until(lambda: w.host.gone_at is not None, "the fetch is ended")


async def test_a_dry_run_says_what_the_call_would_do(tmp_path: Path) -> None:
    async with world(tmp_path, keys=True) as w:
        request = routing_pb2.DryRunRoutingRequest(request=ask(**chat(w.image())))
        told = {}
        for name, key in (("may", MAY), ("may not", MAY_NOT)):
            metadata = (("authorization", f"Bearer {key}"),)
            told[name] = await w.up.routing.DryRunRouting(request, metadata=metadata)
        assert [each.id for each in told["may"].models[0].endpoints] == ["alpha/sim/alpha"]
        (rejected,) = told["may not"].models[0].rejected
        assert "fetching is off for this key" in rejected.message
        assert w.host.connections == 0


async def test_fetches_are_counted_by_kind_and_outcome_and_never_by_address(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        door = Door(w.up, w.session)
        await door.post(chat(w.image()))
        await door.post(chat(w.image("/gone.png")))
        async with w.session.get(w.up.admin + "/metrics") as answer:
            shown = await answer.text()
        assert 'eurouter_media_fetches_total{kind="image",outcome="ok"} 1.0' in shown
        assert 'eurouter_media_fetches_total{kind="image",outcome="status"} 1.0' in shown
        assert f'eurouter_media_bytes_total{{kind="image"}} {float(len(PNG))}' in shown
        assert "a.png" not in shown
