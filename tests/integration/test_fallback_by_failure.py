"""What a failure does to the rest of the plan, through real sockets: two providers in their own wire formats."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.providers.simulator import (
    CONTEXT_LENGTH,
    INVALID_KEY,
    OVERLOADED,
    PAYMENT_REQUIRED,
    Fault,
    HttpError,
    Script,
    insufficient_quota,
    rate_limited,
)
from adapters.providers.simulator import Reason as Said
from tests.support.http_door import Door, body, http_door
from tests.support.running import two_dialects


def sized(alpha: str, beta: str) -> dict[str, Any]:
    """Models at alpha (cheap, asked first) and beta, whose contexts differ: sim/grows, sim/shrinks, sim/same."""
    rows: dict[str, Any] = dict(two_dialects(alpha, beta))

    def model(name: str, first: int | None, second: int | None) -> dict[str, Any]:
        endpoints = [
            {"provider": slug, "model": "one", "price": {"prompt": price, "completion": price}, **length}
            for slug, price, length in (
                ("alpha", 1, {"context_length": first} if first else {}),
                ("beta", 2, {"context_length": second} if second else {}),
            )
        ]
        return {"id": name, "endpoints": endpoints}

    models = [
        model("sim/grows", 8_000, 200_000),
        model("sim/shrinks", 200_000, 8_000),
        model("sim/same", 8_000, 8_000),
        model("sim/unstated", None, 8_000),
    ]
    return rows | {"models": [*rows["models"], *models]}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with http_door(tmp_path, catalog=sized) as opened:
        yield opened


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", ["sim/grows", "sim/unstated"])
async def test_a_prompt_too_long_for_one_endpoint_is_answered_by_one_with_a_longer_context(
    door: Door, model: str, stream: bool
) -> None:
    door.up.alpha.script(Script(fault=CONTEXT_LENGTH))
    door.up.beta.script(Script(text="there was room"))
    if stream:
        streamed = await door.stream(body(model))
        assert (streamed.text, streamed.error, streamed.done) == ("there was room", None, True)
    else:
        answer = await door.post(body(model))
        assert answer.status == 200, answer.raw
        assert answer.json["choices"][0]["message"]["content"] == "there was room"
        assert answer.headers["x-provider-slug"] == "beta"
    assert (len(door.up.alpha.calls), len(door.up.beta.calls)) == (1, 1)


@pytest.mark.parametrize("model", ["sim/shrinks", "sim/same"])
async def test_a_prompt_too_long_is_not_sent_to_endpoints_whose_context_is_no_longer(
    door: Door, model: str
) -> None:
    door.up.alpha.script(Script(fault=CONTEXT_LENGTH))
    answer = await door.post(body(model))
    assert (answer.status, answer.error["reason"]) == (400, "CONTEXT_LENGTH_EXCEEDED")
    assert (len(door.up.alpha.calls), len(door.up.beta.calls)) == (1, 0)


async def test_a_prompt_too_long_harms_nobodys_health(door: Door) -> None:
    door.up.alpha.enqueue(Script(fault=CONTEXT_LENGTH), Script(text="short enough"))
    assert (await door.post(body("sim/same"))).status == 400
    assert (await door.post(body("sim/same"))).status == 200


@pytest.mark.parametrize(
    "fault",
    [INVALID_KEY, HttpError(403, Said.FORBIDDEN), HttpError(404, Said.NOT_FOUND), PAYMENT_REQUIRED,
     insufficient_quota(), rate_limited(30), OVERLOADED, HttpError(529, Said.OVERLOADED)],
    ids=lambda fault: str(fault)[:50],
)  # fmt: skip
async def test_what_is_wrong_at_one_provider_only_is_answered_by_the_next(door: Door, fault: Fault) -> None:
    door.up.alpha.script(Script(fault=fault))
    door.up.beta.script(Script(text="well"))
    answer = await door.post(body("sim/both"))
    assert answer.status == 200, answer.raw
    assert answer.headers["x-provider-slug"] == "beta"


async def test_what_is_wrong_with_the_request_is_told_at_once(door: Door) -> None:
    door.up.alpha.script(Script(fault=HttpError(400, Said.INVALID_REQUEST)))
    answer = await door.post(body("sim/both"))
    assert (answer.status, answer.error["reason"]) == (400, "PROVIDER_REJECTED")
    assert not door.up.beta.calls


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_all_providers_refuse_is_never_the_callers_401(door: Door, status: int) -> None:
    fault = INVALID_KEY if status == 401 else HttpError(403, Said.FORBIDDEN)
    door.up.alpha.script(Script(fault=fault))
    door.up.beta.script(Script(fault=fault))
    answer = await door.post(body("sim/both"))
    assert answer.error["reason"] == "PROVIDER_AUTH_FAILED"
    assert answer.status not in (401, 403)
    assert (len(door.up.alpha.calls), len(door.up.beta.calls)) == (1, 1)


async def test_a_spent_quota_is_not_waited_for_though_a_rate_limit_is(door: Door) -> None:
    door.up.alpha.enqueue(Script(fault=rate_limited(0.05)), Script(text="after a moment"))
    answer = await door.post(body("sim/alpha"))
    assert (answer.status, len(door.up.alpha.calls)) == (200, 2)
    door.up.alpha.script(Script(fault=insufficient_quota()))
    answer = await door.post(body("sim/alpha"))
    assert (answer.error["reason"], len(door.up.alpha.calls)) == ("PROVIDER_QUOTA_SPENT", 3)


async def test_a_filtered_prompt_is_not_offered_to_the_next_provider(door: Door) -> None:
    filtered = b'{"error":{"message":"Rejected by our safety system","code":"content_policy_violation"}}'
    door.up.alpha.script(Script(fault=HttpError(400, body=filtered)))
    answer = await door.post(body("sim/both"))
    assert (answer.status, answer.error["reason"]) == (400, "CONTENT_POLICY")
    assert "safety system" in answer.error["message"]
    assert not door.up.beta.calls
