"""What a process shows of itself: version, start, event loop, resting endpoints, certificates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from math import isnan
from pathlib import Path

import trustme
from prometheus_client import CollectorRegistry

from adapters.health import COOL_DOWN, OutcomeHealth
from adapters.process_telemetry import ProcessTelemetry, expiry
from service.domain.failure import FailureKind
from tests.support.catalogs import catalog, endpoint, model
from tests.support.upstreams import FakeClock


def made() -> tuple[ProcessTelemetry, Callable[..., float | None]]:
    """The telemetry, and the value of one of its metrics by name and labels."""
    registry = CollectorRegistry()
    telemetry = ProcessTelemetry(registry, "1.2.3", now=lambda: 1_700_000_000.0)

    def value(name: str, labels: Mapping[str, str] | None = None) -> float | None:
        return registry.get_sample_value(f"eurouter_{name}", dict(labels or {}))

    return telemetry, value


def certificate(path: Path, days: int) -> datetime:
    """Writes one that ends in so many days, as a chain with its issuer; when it ends."""
    ends = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
    issuer = trustme.CA()
    issued = issuer.issue_cert("localhost", not_after=ends)
    path.write_bytes(b"".join(blob.bytes() for blob in (*issued.cert_chain_pems, issuer.cert_pem)))
    return ends


def test_version_and_start_are_shown() -> None:
    _, value = made()
    assert value("build_info", {"version": "1.2.3"}) == 1
    assert value("start_time_seconds") == 1_700_000_000.0


def test_the_sum_of_lags_grows_by_how_late_the_loop_is() -> None:
    telemetry, value = made()
    telemetry.loop_lag(0.003)
    telemetry.loop_lag(2.0)
    assert value("event_loop_lag_seconds_sum") == 2.003
    assert value("event_loop_lag_seconds_bucket", {"le": "1.0"}) == 1


def test_endpoints_that_left_the_catalogue_are_shown_no_more_and_one_that_rests_still_is() -> None:
    telemetry, value = made()
    rows = {name: model(f"v/{name}", endpoint("gpu", model=f"v/{name}")) for name in ("old", "kept", "new")}
    old, kept = (rows[name].endpoints[0].id for name in ("old", "kept"))
    telemetry.declare(catalog(rows["old"], rows["kept"]))
    telemetry.cooling({old: FailureKind.CONNECT, kept: FailureKind.CONNECT})
    telemetry.declare(catalog(rows["kept"]))
    assert value("endpoint_cooling", {"endpoint": old, "kind": "connect"}) == 1
    telemetry.declare(catalog(rows["kept"], rows["new"]))
    telemetry.cooling({kept: FailureKind.CONNECT})
    assert value("endpoint_cooling", {"endpoint": old, "kind": "connect"}) is None
    assert value("endpoint_cooling", {"endpoint": kept, "kind": "connect"}) == 1


async def test_an_endpoint_that_rests_is_shown_until_it_rests_no_more() -> None:
    telemetry, value = made()
    clock = FakeClock()
    health = OutcomeHealth(clock)
    assert health.cooling() == {}
    health.succeeded("beta/m", 0.1, 10, 1.0)
    health.failed("alpha/m", FailureKind.SERVER_ERROR, None, clock())
    telemetry.cooling(health.cooling())
    resting = {"endpoint": "alpha/m", "kind": "server_error"}
    assert value("endpoint_cooling", resting) == 1
    assert value("endpoint_cooling", {**resting, "endpoint": "beta/m"}) is None
    clock.now += COOL_DOWN + 1
    watching = asyncio.create_task(telemetry.watch_cooling(health.cooling))
    await asyncio.sleep(0.01)
    watching.cancel()
    assert value("endpoint_cooling", resting) == 0


def test_a_rest_is_shown_with_the_failure_that_lasts_longest() -> None:
    telemetry, value = made()
    clock = FakeClock()
    health = OutcomeHealth(clock)

    def shown(failed: FailureKind) -> dict[str, float | None]:
        health.failed("alpha/m", failed, None, clock())
        telemetry.cooling(health.cooling())
        return {kind: value("endpoint_cooling", {"endpoint": "alpha/m", "kind": kind}) for kind in kinds}

    kinds = ("overloaded", "auth")
    assert shown(FailureKind.OVERLOADED) == {"overloaded": 1, "auth": None}
    assert shown(FailureKind.AUTH) == {"overloaded": 0, "auth": 1}
    assert shown(FailureKind.OVERLOADED) == {"overloaded": 0, "auth": 1}


def test_of_a_chain_the_doors_own_certificate_counts(tmp_path: Path) -> None:
    ends = certificate(tmp_path / "chain.pem", 30)
    assert expiry(tmp_path / "chain.pem") == ends.timestamp()


def test_a_certificate_that_cannot_be_read_ends_at_no_time(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    assert isnan(expiry(tmp_path / "bad.pem"))
    assert isnan(expiry(tmp_path / "gone.pem"))


async def test_a_certificate_that_is_replaced_is_shown(tmp_path: Path) -> None:
    telemetry, value = made()
    path = tmp_path / "tls.crt"
    certificate(path, 3)
    watching = asyncio.create_task(telemetry.watch_certificates({"http": path}, period=0.005))

    async def shown(most: float) -> None:
        deadline = time.monotonic() + 5
        while abs((value("certificate_expiry_seconds", {"door": "http"}) or 0.0) - most) > 1:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)

    await shown((datetime.now(UTC) + timedelta(days=3)).timestamp())
    ends = certificate(path, 90)
    await shown(ends.timestamp())
    watching.cancel()
