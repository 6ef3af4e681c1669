"""The catalogue over HTTP, who may call what with which key, and the admin port."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.keys import hash_secret, make_key, public_id
from adapters.providers.simulator import Cut, Script, Usage, rate_limited
from tests.support.http_door import PREFIXES, Door, body, http_door
from tests.support.running import Rows, two_dialects, until

PEPPER = "a pepper of more than sixteen characters"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with http_door(tmp_path) as opened:
        yield opened


def many_models(alpha: str, beta: str) -> Rows:
    rows = two_dialects(alpha, beta)
    rows["models"][0]["categories"] = ["chat"]
    endpoint = rows["models"][0]["endpoints"]
    rows["models"] += [{"id": f"bulk/{number:04}", "endpoints": endpoint} for number in range(1100)]
    return rows


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_models_come_in_openais_list_shape_with_our_fields(door: Door, prefix: str) -> None:
    answer = await door.call("GET", f"{prefix}/models")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["x-request-id"]) == 32
    shown = answer.json
    assert shown.keys() == {"object", "data"}
    assert shown["object"] == "list"
    assert [model["id"] for model in shown["data"]] == ["sim/alpha", "sim/beta", "sim/both", "sim/reverse"]
    both = shown["data"][2]
    assert (both["object"], both["owned_by"], type(both["created"])) == ("model", "sim", int)
    assert both["providers"] == [{"name": "alpha", "slug": "alpha"}, {"name": "beta", "slug": "beta"}]
    assert both["pricing"]["prompt"] == "0.000001"
    assert both["supported_api_endpoints"] == ["/api/v1/chat/completions"]


async def test_models_can_be_filtered(tmp_path: Path) -> None:
    async with http_door(tmp_path, catalog=many_models) as door:

        async def ids(query: str) -> list[str]:
            answer = await door.call("GET", f"/v1/models?{query}")
            assert answer.status == 200
            return [model["id"] for model in answer.json["data"]]

        assert await ids("category=chat") == ["sim/alpha"]
        assert await ids("category=nothing") == []
        assert await ids("provider=BETA") == ["sim/beta", "sim/both", "sim/reverse"]
        assert "sim/beta" not in await ids("supported_parameters=logit_bias")
        wanted = await ids("supported_parameters=tools,reasoning&provider=beta")
        assert wanted == ["sim/beta", "sim/both", "sim/reverse"]
        twice = await ids("provider=beta&supported_parameters=tools&supported_parameters=logit_bias")
        assert twice == ["sim/both", "sim/reverse"]


async def test_pages_are_for_those_who_ask_for_them(tmp_path: Path) -> None:
    async with http_door(tmp_path, catalog=many_models) as door:
        everything = (await door.call("GET", "/v1/models")).json
        assert len(everything["data"]) == 1104
        assert "next_page_token" not in everything
        first = (await door.call("GET", "/v1/models?page_size=600")).json
        token = quote(first["next_page_token"])
        second = (await door.call("GET", f"/v1/models?page_size=600&page_token={token}")).json
        assert first["data"] + second["data"] == everything["data"]
        assert "next_page_token" not in second


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("page_size=0", "page_size"),
        ("page_size=-1", "page_size"),
        ("page_size=1001", "page_size"),
        ("page_size=99999999999999999999", "page_size"),
        ("page_size=1e2", "page_size"),
        ("page_size=%D9%A1", "page_size"),
        ("page_size=", "page_size"),
        ("page_token=x", "page_token"),
        ("page_token=%ff", "page_token"),
    ],
)
async def test_a_page_that_can_not_be_is_a_400(door: Door, query: str, param: str) -> None:
    answer = await door.call("GET", f"/api/v1/models?{query}")
    assert answer.status == 400
    assert answer.error["param"] == param
    assert answer.error["code"] == "BAD_REQUEST"


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("written", ["sim/alpha", "sim%2Falpha", "sim%2falpha", "alpha", "alpha:nitro"])
async def test_a_model_is_found_by_id_by_encoded_id_and_by_name(door: Door, prefix: str, written: str) -> None:
    answer = await door.call("GET", f"{prefix}/models/{written}")
    assert answer.status == 200
    assert answer.json["id"] == "sim/alpha"
    assert answer.json["object"] == "model"


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    "written", ["nobody", "nobody/knows", "a%252Fb", "%ff", "%00", "%ed%a0%80", "../sim", "a//b"]
)
async def test_an_unknown_model_is_a_404_with_its_code(door: Door, prefix: str, written: str) -> None:
    answer = await door.call("GET", f"{prefix}/models/{written}")
    assert answer.status == 404
    if answer.error["reason"] != "ROUTE_NOT_FOUND":
        assert answer.error["code"] == ("model_not_found" if prefix == "/v1" else "NOT_FOUND")
        assert answer.error["param"] == "id"


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_providers_are_listed_with_their_status(door: Door, prefix: str) -> None:
    shown = (await door.call("GET", f"{prefix}/providers")).json
    assert shown["object"] == "list"
    assert [(row["slug"], row["dialect"], row["status"]) for row in shown["data"]] == [
        ("alpha", "openai_chat", "active"),
        ("beta", "anthropic", "active"),
    ]
    assert "5ecret" not in str(shown)


def key_row(key: str, **more: object) -> dict[str, object]:
    return {"id": public_id(key), "hash": hash_secret(key, PEPPER.encode()), "owner": "team", **more}


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_key_opens_chat_and_the_catalogue_is_open(tmp_path: Path, prefix: str) -> None:
    good, off, other = make_key(), make_key(), make_key()
    forged = good[:-1] + ("a" if good[-1] != "a" else "b")
    settings = {"key_pepper": "env:PEPPER", "keys": [key_row(good), key_row(off, disabled=True)]}
    chat = f"{prefix}/chat/completions"
    async with http_door(tmp_path, settings, env={"PEPPER": PEPPER}) as door:
        for headers in (
            {"authorization": f"Bearer {good}"},
            {"authorization": f"bearer  {good} "},
            {"x-api-key": good},
            {"X-API-Key": good},
        ):
            assert (await door.post(body(), chat, headers=headers)).status == 200
        seen = len(door.up.alpha.calls)
        for headers in (
            {},
            {"authorization": ""},
            {"authorization": "Bearer"},
            {"authorization": f"Basic {good}"},
            {"authorization": f"Bearer {forged}"},
            {"authorization": f"Bearer {other}"},
            {"authorization": f"Bearer {off}"},
            {"authorization": "Bearer sk-proj-something"},
            {"authorization": "Bearer \u00e9\u00ff"},
            {"x-api-key": forged},
            {"authorization": f"Bearer {forged}", "x-api-key": good},
        ):
            answer = await door.post(body(), chat, headers=headers)
            assert answer.status == 401, headers
            assert answer.error["code"] == ("invalid_api_key" if prefix == "/v1" else "UNAUTHORIZED")
            assert answer.error["type"] == "authentication_error"
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["x-should-retry"] == "false"
            assert not any(key in answer.raw.decode() for key in (good, off, forged, other))
        assert "disabled" in (await door.post(body(), chat, headers={"x-api-key": off})).error["message"]
        # A key is asked for before the body is looked at.
        assert (await door.post(b"{", chat)).status == 401
        assert len(door.up.alpha.calls) == seen
        for path in ("models", "models/sim/alpha", "providers"):
            assert (await door.call("GET", f"{prefix}/{path}")).status == 200
            assert (await door.call("GET", f"{prefix}/{path}", headers={"x-api-key": forged})).status == 200


async def test_without_keys_any_authorization_will_do_and_none_too(door: Door) -> None:
    for headers in (
        {},
        {"authorization": "Bearer sk-anything"},
        {"authorization": "nonsense"},
        {"x-api-key": "x"},
    ):
        assert (await door.post(body(), headers=headers)).status == 200
    assert all("sk-anything" not in str(call.headers) for call in door.up.alpha.calls)


async def test_without_keys_a_web_page_of_another_site_reaches_no_provider(door: Door) -> None:
    # What a page may send without asking: no preflight, and a body that is JSON all the same.
    headers = {"content-type": "text/plain", "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    for prefix in PREFIXES:
        answer = await door.post(json.dumps(body()).encode(), f"{prefix}/chat/completions", headers=headers)
        assert answer.status == 403
        assert "API key" in answer.error["message"]
    assert not door.up.alpha.calls
    headers["origin"] = "http://localhost:3000"
    assert (await door.post(json.dumps(body()).encode(), headers=headers)).status == 200


async def admin(door: Door, path: str) -> tuple[int, str, str]:
    async with door.session.get(door.up.admin + path) as response:
        return response.status, response.headers["content-type"], await response.text()


async def samples(door: Door) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    status, kind, text = await admin(door, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labelled(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


async def test_the_probes_say_alive_and_ready_and_not_ready_while_draining(door: Door) -> None:
    assert (await admin(door, "/livez"))[0] == 200
    await until(lambda: door.up.service.conditions.begun, "the database is ready")
    assert (await admin(door, "/readyz"))[0] == 200
    assert (await admin(door, "/startedz"))[0] == 200
    assert (await admin(door, "/v1/models"))[0] == 404
    process = door.up.service.process
    process.ready = False
    assert (await admin(door, "/readyz"))[0] == 503
    assert (await admin(door, "/livez"))[0] == 200


async def test_the_metrics_count_calls_attempts_tokens_and_first_tokens(door: Door) -> None:
    up = door.up
    up.alpha.enqueue(Script(text="a", usage=Usage(7, 3)), Script(text="a b", usage=Usage(5, 2)))
    await door.post(body())
    await door.stream(body())
    await door.post(body(temperature=9))
    await door.post(body("nobody"))
    await door.call("GET", "/v1/models")
    up.alpha.enqueue(Script(text="a b c", pace=0.02, fault=Cut(1)))
    await door.stream(body())
    up.beta.enqueue(Script(fault=rate_limited(60)))
    await door.post(body("sim/beta"))
    found = await samples(door)

    def value(name: str, **labels: str) -> float:
        return found.get((name, labelled(**labels)), 0.0)

    calls = {"door": "http", "method": "chat/completions"}
    assert value("eurouter_requests_total", **calls, outcome="ok") == 2
    assert value("eurouter_requests_total", **calls, outcome="INVALID_REQUEST") == 1
    assert value("eurouter_requests_total", **calls, outcome="MODEL_NOT_FOUND") == 1
    assert value("eurouter_requests_total", **calls, outcome="PROVIDER_BROKEN_ANSWER") == 1
    assert value("eurouter_requests_total", **calls, outcome="PROVIDER_RATE_LIMITED") == 1
    assert value("eurouter_requests_total", door="http", method="models", outcome="ok") == 1
    assert value("eurouter_request_seconds_count", **calls) == 6
    assert value("eurouter_requests_in_flight") == 0
    assert value("eurouter_upstream_attempts_total", provider="alpha", outcome="ok") == 2
    assert value("eurouter_upstream_attempts_total", provider="alpha", outcome="cut") == 1
    assert value("eurouter_upstream_attempts_total", provider="beta", outcome="rate_limited") == 1
    assert value("eurouter_upstream_first_token_seconds_count", provider="alpha") == 2
    of_alpha = {"provider": "alpha", "model": "sim/alpha"}
    assert value("eurouter_tokens_total", **of_alpha, direction="input") == 12
    assert value("eurouter_tokens_total", **of_alpha, direction="output") == 5


async def test_the_calls_under_way_are_a_gauge(door: Door) -> None:
    door.up.alpha.script(Script(text="a", first_byte_delay=0.5))
    calls: list[asyncio.Task[Any]] = [asyncio.ensure_future(door.post(body())) for _ in range(3)]
    await until(lambda: len(door.up.alpha.calls) == 3, "three calls are upstream")
    in_flight = ("eurouter_requests_in_flight", labelled())
    assert (await samples(door))[in_flight] == 3
    await asyncio.gather(*calls)
    assert (await samples(door))[in_flight] == 0
