"""What a real Prometheus sees of a process that it has only just met."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest

from adapters.providers.simulator.script import HttpError, Script
from tests.prometheus import prepare
from tests.prometheus.__main__ import prometheus
from tests.support.parts import require
from tests.support.running import ask, running_service

PATIENCE = 90.0
ATTEMPTS = "eurouter_upstream_attempts_total"


async def query(url: str, expression: str) -> list[dict[str, Any]]:
    """The samples of an expression now."""

    def get() -> list[dict[str, Any]]:
        asked = f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(asked, timeout=5) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

    return await asyncio.to_thread(get)


async def until_there(url: str, expression: str) -> list[dict[str, Any]]:
    """Asks until there is something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := await query(url, expression)):
        assert time.monotonic() < deadline, expression
        await asyncio.sleep(0.5)
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_an_alert_fires_for_the_only_call_of_a_process_that_never_had_one_before(tmp_path: Path) -> None:
    require("promtool", prepare.available(), prepare.how())
    async with running_service(tmp_path) as up:
        port = int(up.admin.rpartition(":")[2])
        with prometheus(tmp_path, {"service-0": port}) as url:
            await until_there(url, f'{ATTEMPTS}{{provider="alpha",outcome="auth"}} == 0')
            # The one refusal is the operator's to mend, the other is the caller's: that is in no alert.
            up.alpha.enqueue(Script(fault=HttpError(400)), Script(fault=HttpError(401)))
            for _ in range(2):
                with pytest.raises(grpc.aio.AioRpcError):
                    await up.chat.CreateChatCompletion(ask("sim/alpha"))
            (firing,) = await until_there(url, 'ALERTS{alertname="EurouterProviderRefusesUs",alertstate="firing"}')
            # What begins above 0 has not grown: why the others are there as 0 before.
            (late,) = await query(url, f'{ATTEMPTS}{{provider="alpha",outcome="invalid_request"}}')
            grown = await query(url, f'increase({ATTEMPTS}{{provider="alpha",outcome="invalid_request"}}[5m]) > 0')
    assert (firing["metric"]["provider"], firing["metric"]["outcome"]) == ("alpha", "auth")
    assert (late["value"][1], grown) == ("1", [])
