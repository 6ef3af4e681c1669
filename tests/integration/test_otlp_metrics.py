"""Metrics by OTLP: the collector has what /metrics shows, of one process and of several."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.providers.simulator import HttpError, Script
from tests.support.otlp import Collector
from tests.support.running import ask, free_ports, running_child, running_service, until

Key = tuple[str, tuple[tuple[str, str], ...]]


def shown(text: str) -> dict[Key, float]:
    """Every sample of /metrics by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def sent(collector: Collector) -> dict[Key, float]:
    """Every figure that came by OTLP, as Prometheus would write it."""
    found: dict[Key, float] = {}
    for name, metric in collector.metrics.items():
        for point in (*metric.sum.data_points, *metric.gauge.data_points):
            found[name, _labels(point)] = point.as_double
        for bars in metric.histogram.data_points:
            labels = _labels(bars)
            bounds = [*(str(float(bound)) for bound in bars.explicit_bounds), "+Inf"]
            upto = 0
            for bound, count in zip(bounds, bars.bucket_counts, strict=True):
                upto += count
                found[f"{name}_bucket", tuple(sorted((*labels, ("le", bound))))] = upto
            found[f"{name}_count", labels] = bars.count
            found[f"{name}_sum", labels] = bars.sum
    return found


def _labels(point: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((pair.key, pair.value.string_value) for pair in point.attributes))


def still(figures: dict[Key, float]) -> dict[Key, float]:
    """Those that don't move by themselves."""
    moving = ("loop_lag", "process_", "cooling", "oldest", "load")
    return {key: value for key, value in figures.items() if not any(word in key[0] for word in moving)}


async def test_a_collector_gets_the_figures_that_metrics_shows(tmp_path: Path) -> None:
    async with Collector() as collector:
        section = {"endpoint": collector.url, "traces": False, "metrics": True, "interval_seconds": 1}
        async with running_service(tmp_path, {"telemetry": section}) as up:
            up.alpha.enqueue(Script(tokens=5), Script(fault=HttpError(503)))
            for model in ("sim/alpha", "sim/both", "sim/beta"):
                await up.chat.CreateChatCompletion(ask(model))
            async with aiohttp.ClientSession() as session, session.get(f"{up.admin}/metrics") as answer:
                names = {name for name, _ in still(shown(await answer.text()))}

            def alike() -> bool:
                # The service's own worker goes on counting: there is a moment at which both say the same.
                return still(sent(collector)) == still(shown(up.service.telemetry.render().decode()))

            await until(alike, "the same figures")
            there = sent(collector)
        assert names <= {name for name, _ in there}
        assert (
            there[
                "eurouter_requests_total",
                (("door", "grpc"), ("method", "CreateChatCompletion"), ("outcome", "ok")),
            ]
            == 3
        )
        assert collector.spans == []
        requests, seconds = (
            collector.metrics["eurouter_requests_total"],
            collector.metrics["eurouter_request_seconds"],
        )
        assert requests.sum.is_monotonic
        assert requests.sum.aggregation_temporality == seconds.histogram.aggregation_temporality == 2
        assert (requests.unit, seconds.unit) == ("", "s")
        assert requests.description == "Calls that ended, by door, method and outcome."
        points: list[Any] = [*requests.sum.data_points, *seconds.histogram.data_points]
        for point in points:
            assert 0 < point.start_time_unix_nano < point.time_unix_nano
        assert collector.resource["service.name"] == "eurouter"


async def test_the_last_figures_leave_with_the_process(tmp_path: Path) -> None:
    async with Collector() as collector:
        section = {"endpoint": collector.url, "metrics": True, "interval_seconds": 3600}
        async with running_service(tmp_path, {"telemetry": section}) as up:
            await up.chat.CreateChatCompletion(ask("sim/alpha"))
            assert not collector.metrics
        points = collector.metrics["eurouter_requests_total"].sum.data_points
        assert sum(point.as_double for point in points) == 1


async def test_headers_are_secrets_that_are_read_anew_for_every_message(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    async with Collector() as collector:
        section = {
            "endpoint": collector.url,
            "headers": {"authorization": f"file:{token}"},
            "metrics": True,
            "interval_seconds": 1,
        }
        async with running_service(tmp_path, {"telemetry": section}):
            await until(lambda: bool(collector.headers), "a message")
            token.write_text("second")
            collector.headers.clear()
            await until(lambda: any(h["authorization"] == "second" for h in collector.headers), "the new token")


@pytest.mark.slow
async def test_of_several_processes_the_parent_sends_the_sums_and_each_sends_its_spans(tmp_path: Path) -> None:
    grpc, http, admin = free_ports(3)
    async with Collector() as collector:
        settings = {
            "processes": 2,
            "grpc": {"port": grpc},
            "http": {"port": http},
            "admin": {"port": admin},
            "telemetry": {"endpoint": collector.url, "metrics": True, "interval_seconds": 1},
        }
        async with running_child(tmp_path, settings) as up:
            async with aiohttp.ClientSession() as session:
                for _ in range(12):
                    # A connection each, so that the kernel spreads them.
                    body = {"model": "sim/alpha", "messages": [{"role": "user", "content": "hi"}]}
                    url, closing = f"{up.http}/v1/chat/completions", {"connection": "close"}
                    async with session.post(url, json=body, headers=closing) as answer:
                        assert answer.status == 200
            spans = await collector.named("POST /v1/chat/completions", 12)

            def counted() -> float:
                label = (("door", "http"), ("method", "chat/completions"), ("outcome", "ok"))
                return sent(collector).get(("eurouter_requests_total", label), 0.0)

            await until(lambda: counted() == 12, "the sum over both")
            await asyncio.sleep(1.5)
            assert counted() == 12
    assert len({span.resource["service.instance.id"] for span in spans}) == 2
