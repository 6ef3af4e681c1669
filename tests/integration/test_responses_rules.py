"""Rules that hold for responses whatever the door: a key's floor, what `include` shows later, limits, leaving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from adapters.keys import hash_secret, make_key, public_id
from adapters.providers.simulator import Script
from service.api.responses.history import response_of
from tests.support.responses_door import ResponsesDoor, asked, responses_door
from tests.support.running import ask_response, two_dialects

PEPPER = "a pepper for tests only, long enough"
ENCRYPTED = "reasoning.encrypted_content"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[ResponsesDoor]:
    async with responses_door(tmp_path) as opened:
        yield opened


async def test_a_keys_own_floor_binds_its_responses(tmp_path: Path) -> None:
    bound, free = make_key(), make_key()
    rows: list[dict[str, Any]] = [
        {"id": public_id(key), "hash": hash_secret(key, PEPPER.encode()), "owner": "team-a"}
        for key in (bound, free)
    ]
    rows[0]["floor"] = {"data_residency": ["eu"]}
    async with responses_door(
        tmp_path, {"key_pepper": "env:KEY_PEPPER", "keys": rows}, env={"KEY_PEPPER": PEPPER}
    ) as door:
        with pytest.raises(aio.AioRpcError) as caught:
            await door.up.responses.CreateResponse(
                ask_response(), metadata=(("authorization", f"Bearer {bound}"),)
            )
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        refused = await door.create(asked(stream=True), headers={"authorization": f"Bearer {bound}"})
        assert refused.status == 503
        assert not door.up.alpha.calls
        assert (await door.create(asked(), headers={"authorization": f"Bearer {free}"})).status == 200


async def test_a_response_is_read_with_what_its_request_or_the_reader_asked_to_see(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(text="one", reasoning="hm"))

    def proof(answer: Any) -> bool:
        return any(item.get("encrypted_content") for item in answer.json["output"])

    plain = await door.create(asked())
    asking = await door.create(asked(include=[ENCRYPTED]))
    assert (proof(plain), proof(asking)) == (False, True)
    for made in (plain, asking):
        again = await door.call("GET", f"/{made.json['id']}")
        assert again.json == made.json
        assert proof(await door.call("GET", f"/{made.json['id']}?include[]={ENCRYPTED}"))


async def test_items_of_too_many_responses_are_refused_before_any_is_read(door: ResponsesDoor) -> None:
    references = [{"type": "item_reference", "id": f"msg_{number:036x}0000"} for number in range(33)]
    refused = await door.create(asked(text=references))
    assert (refused.status, refused.error["param"]) == (400, "input[0]")
    assert "at most 32 earlier responses" in refused.error["message"]


async def test_a_client_that_leaves_without_reading_ends_the_upstream_call(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(tokens=200_000))
    call = door.up.responses.StreamResponse(ask_response())
    await call.read()
    # Long enough for every buffer between the two to be full.
    await asyncio.sleep(0.5)
    call.cancel()
    await door.up.alpha.wait_for(lambda calls: calls[-1].cancelled)
    url = door.up.http + "/v1/responses"
    async with door.session.post(url, json=asked(stream=True)) as response:
        await response.content.readuntil(b"\n\n")
        await asyncio.sleep(0.5)
    await door.up.alpha.wait_for(lambda calls: len(calls) == 2 and calls[-1].cancelled)


def with_facts(alpha: str, beta: str) -> dict[str, Any]:
    """Alpha processes in the EU, beta in the US."""
    rows = two_dialects(alpha, beta)
    for provider, region in zip(rows["providers"], ("de", "us"), strict=True):
        source = {"source": "https://example.org/terms", "verified_on": "2026-11-01"}
        provider["facts"] = {"regions": {"value": [region], **source}}
    return rows


async def test_a_conversation_keeps_the_filters_under_which_it_was_begun(tmp_path: Path) -> None:
    async with responses_door(tmp_path, catalog=with_facts) as door:
        eu = {"provider": {"data_residency": "eu"}}
        first = (await door.create(asked("sim/alpha", "in the EU only", **eu))).json
        second = (await door.create(asked("sim/alpha", previous_response_id=first["id"]))).json
        for earlier in (first, second):
            left = await door.create(asked("sim/beta", previous_response_id=earlier["id"]))
            assert (left.status, left.error["reason"]) == (503, "NO_ENDPOINT_ALLOWED")
            assert "kept by the conversation" in left.error["message"]
        referring = [{"type": "item_reference", "id": first["output"][0]["id"]}, {"role": "user", "content": "?"}]
        assert (await door.create(asked("sim/beta", referring))).error["reason"] == "NO_ENDPOINT_ALLOWED"
        assert not door.up.beta.calls
        assert (await door.create(asked("sim/beta", "nothing of it"))).status == 200


async def test_a_conversations_filter_bounds_what_a_provider_may_keep_of_what_continues_it(tmp_path: Path) -> None:
    facts = {"retention_days": {"value": 0, "source": "https://example.org/terms", "verified_on": "2026-11-01"}}

    def catalog(alpha: str, beta: str) -> dict[str, Any]:
        rows = two_dialects(alpha, beta)
        rows["providers"][0]["facts"] = facts
        return rows

    async with responses_door(tmp_path, catalog=catalog) as door:
        first = (await door.create(asked(provider={"max_retention_days": 1}))).json
        longer: dict[str, Any] = {"prompt_cache_options": {"ttl": "25h"}}
        called = len(door.up.alpha.calls)
        referring = [{"type": "item_reference", "id": first["output"][0]["id"]}, {"role": "user", "content": "?"}]
        for refused in (
            await door.create(asked(previous_response_id=first["id"], **longer)),
            await door.create(asked(text=referring, **longer)),
        ):
            assert (refused.status, refused.error["param"]) == (400, "prompt_cache_options.ttl")
            assert "the conversation's max_retention_days" in refused.error["message"]
        assert len(door.up.alpha.calls) == called
        day = await door.create(asked(previous_response_id=first["id"], prompt_cache_retention="24h"))
        assert day.status == 200


async def test_what_was_to_be_kept_shortly_is_not_kept_longer_by_referring_to_it(tmp_path: Path) -> None:
    facts = {"retention_days": {"value": 0, "source": "https://example.org/terms", "verified_on": "2026-11-01"}}

    def catalog(alpha: str, beta: str) -> dict[str, Any]:
        rows = two_dialects(alpha, beta)
        rows["providers"][0]["facts"] = facts
        return rows

    async with responses_door(tmp_path, catalog=catalog) as door:
        short = (await door.create(asked(provider={"max_retention_days": 1}))).json
        referring = [{"type": "item_reference", "id": short["output"][0]["id"]}, {"role": "user", "content": "?"}]
        copied = (await door.create(asked(text=referring))).json
        row = await door.up.service.database.responses.get("local", copied["id"])
        first = await door.up.service.database.responses.get("local", short["id"])
        assert row is not None
        assert first is not None
        assert response_of(row).kept_until <= response_of(first).kept_until
