"""What a process shows of itself at /metrics, from the real service."""

from __future__ import annotations

import asyncio
import time
from importlib import metadata
from pathlib import Path

import aiohttp
import grpc
import pytest
import trustme
import yaml
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from adapters.process_telemetry import expiry
from adapters.providers.simulator.script import HttpError, Script
from tests.support.running import InProcess, ask, running_service

Samples = dict[tuple[str, str], float]


async def samples(up: InProcess) -> Samples:
    """Every sample by its name and the values of its labels."""
    async with aiohttp.ClientSession() as session, session.get(f"{up.admin}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
    return {(one.name, ",".join(one.labels.values())): one.value for family in families for one in family.samples}


async def until_shown(up: InProcess, name: str, labels: str, value: float) -> Samples:
    """Looks until the sample has this value."""
    deadline = time.monotonic() + 10
    while (found := await samples(up)).get((name, labels)) != value:
        assert time.monotonic() < deadline, found.get((name, labels))
        await asyncio.sleep(0.05)
    return found


async def test_version_event_loop_and_certificates_are_shown(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    tls = {"tls": {"cert": str(tmp_path / "both.pem"), "key": str(tmp_path / "both.pem")}}
    async with running_service(tmp_path, {"http": tls}) as up:
        ends = expiry(tmp_path / "both.pem")
        await asyncio.sleep(0.05)
        found = await until_shown(up, "eurouter_certificate_expiry_seconds", "http", ends)
        assert found["eurouter_build_info", metadata.version("eurouter")] == 1
        assert abs(found["eurouter_start_time_seconds", ""] - time.time()) < 60
        assert found["eurouter_event_loop_lag_seconds_count", ""] > 0
        assert ("eurouter_certificate_expiry_seconds", "grpc") not in found


async def test_an_endpoint_that_fails_is_shown_resting(tmp_path: Path) -> None:
    async with running_service(tmp_path) as up:
        up.alpha.enqueue(Script(fault=HttpError(500)))
        with pytest.raises(grpc.aio.AioRpcError):
            await up.chat.CreateChatCompletion(ask("sim/alpha"))
        found = await until_shown(up, "eurouter_endpoint_cooling", "alpha/sim/alpha,server_error", 1)
        assert ("eurouter_endpoint_cooling", "beta/sim/beta,server_error") not in found
        await until_shown(up, "eurouter_ready", "", 1)
        up.service.process.ready = False
        await until_shown(up, "eurouter_ready", "", 0)


async def test_what_a_processs_first_call_adds_to_was_shown_as_0_before(tmp_path: Path) -> None:
    async with running_service(tmp_path) as up:
        before = await samples(up)
        up.alpha.enqueue(Script(fault=HttpError(401)))
        with pytest.raises(grpc.aio.AioRpcError):
            await up.chat.CreateChatCompletion(ask("sim/alpha"))
        after = await samples(up)
    counted = (
        ("eurouter_requests_total", "grpc,CreateChatCompletion,PROVIDER_AUTH_FAILED"),
        # By their names: outcome, provider.
        ("eurouter_upstream_attempts_total", "auth,alpha"),
    )
    for key in counted:
        assert (before[key], after[key]) == (0, 1)


async def test_a_provider_that_a_reload_brings_is_shown_as_0_before_it_is_asked(tmp_path: Path) -> None:
    async with running_service(tmp_path) as up:
        rows = yaml.safe_load(up.upstreams.catalog_file.read_text())
        assert ("eurouter_upstream_attempts_total", "connect,late") not in await samples(up)
        rows["providers"].append({**rows["providers"][0], "slug": "late", "name": "Late"})
        late = {**rows["models"][0]["endpoints"][0], "provider": "late"}
        rows["models"].append({**rows["models"][0], "id": "late/m", "endpoints": [late]})
        up.upstreams.write_catalog(rows)
        found = await until_shown(up, "eurouter_upstream_attempts_total", "connect,late", 0)
    assert ("eurouter_upstream_attempts_total", "connect,alpha") in found


async def test_a_call_that_comes_while_the_process_drains_is_counted_and_logged_at_both_doors(
    tmp_path: Path,
) -> None:
    async with running_service(tmp_path) as up:
        up.service.admission.close()
        with capture_logs() as logs:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await up.chat.CreateChatCompletion(ask())
            async with (
                aiohttp.ClientSession() as web,
                web.post(f"{up.http}/v1/chat/completions", json={}) as answer,
            ):
                assert answer.status == 503
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        found = await samples(up)
        for method in ("grpc,CreateChatCompletion", "http,chat/completions"):
            assert found["eurouter_requests_total", f"{method},SHUTTING_DOWN"] == 1
            assert found["eurouter_request_seconds_count", method] == 0
        assert found["eurouter_requests_in_flight", ""] == 0
        told = [
            (line["outcome"], line["method"], line["ms"]) for line in logs if line["event"] == "request_finished"
        ]
        assert told == [("SHUTTING_DOWN", "CreateChatCompletion", 0.0), ("SHUTTING_DOWN", "chat/completions", 0.0)]
