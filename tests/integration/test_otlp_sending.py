"""What becomes of a message on its way to a collector: taken in part, told to wait, sent again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from prometheus_client import CollectorRegistry

from adapters.otlp import exporting
from adapters.otlp.encode import resource_of, spans_request
from adapters.otlp.exporting import SpanExporter
from adapters.otlp.sender import EXPORT_GOES_ON, EXPORT_PARTIAL, Posted, Sender
from adapters.otlp.spans import OtlpTracer
from service.domain.tracing import Kind
from tests.support.otlp import Collector
from tests.support.running import until

CANARY = "canary-5ecret-w0rds"


class Told:
    """A Report as a list."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Mapping[str, object]]] = []

    def __call__(self, event: str, told: Mapping[str, object]) -> None:
        self.lines.append((event, told))


class Sending:
    """An exporter with a tracer, and what it counts."""

    def __init__(self, collector: Collector) -> None:
        self.told = Told()
        self._registry = CollectorRegistry()
        sender = Sender(collector.url, "traces", dict, self.told)
        self.exporter = SpanExporter(
            sender, lambda spans: spans_request(resource_of({}), "1", spans), self._registry, gather=0.05
        )
        self._tracer = OtlpTracer(self.exporter.offer, ratio=1.0, trust=True)

    def spans(self, count: int) -> None:
        for _ in range(count):
            self._tracer.start("a", Kind.INTERNAL, {}).end()

    def counted(self) -> tuple[float, float]:
        """Spans that were taken and refused."""
        took = self._registry.get_sample_value("eurouter_spans_exported_total")
        refused = self._registry.get_sample_value("eurouter_spans_dropped_total", {"reason": "refused"})
        return took or 0.0, refused or 0.0

    async def stop(self) -> None:
        self.exporter.stop()
        await asyncio.to_thread(self.exporter.join, 5.0)


async def test_spans_that_a_collector_rejects_from_a_message_are_counted_and_told_once_without_its_words() -> None:
    async with Collector() as collector:
        sending = Sending(collector)
        collector.rejects, collector.complaint = 2, CANARY
        for upto in (5, 10):
            sending.spans(5)
            await until(lambda upto=upto: sum(sending.counted()) == upto, "a message")  # type: ignore[misc]
        assert sending.counted() == (6, 4)
        collector.rejects = 1000
        sending.spans(1)
        await until(lambda: sending.counted() == (6, 5), "no more than there were")
        await sending.stop()
    url = f"{collector.url}/v1/traces"
    assert sending.told.lines == [(EXPORT_PARTIAL, {"signal": "traces", "url": url, "rejected": 2})]


async def test_points_that_a_collector_rejects_are_told_too_and_an_answer_that_is_none_says_nothing() -> None:
    async with Collector() as collector:
        told = Told()
        metrics, traces = (Sender(collector.url, signal, dict, told) for signal in ("metrics", "traces"))
        collector.rejects = 3
        assert await asyncio.to_thread(metrics.post, b"") == Posted(took=True, rejected=3)
        assert [(name, line["signal"], line["rejected"]) for name, line in told.lines] == [
            (EXPORT_PARTIAL, "metrics", 3)
        ]
        for answer in (b"", b"{}", b'{"partialSuccess":{"rejectedSpans":"3"}}', b"OK", b"<html>"):
            collector.raw = answer
            assert await asyncio.to_thread(traces.post, b"") == Posted(took=True)
        for sender in (metrics, traces):
            sender.close()


@pytest.mark.parametrize("status", [429, 503])
async def test_a_collector_says_by_seconds_or_by_a_date_when_to_come_again(status: int) -> None:
    async with Collector() as collector:
        sender = Sender(collector.url, "traces", dict, Told())
        collector.status = status
        collector.answers = {"retry-after": "7"}
        assert await asyncio.to_thread(sender.post, b"") == Posted(took=False, again=True, wait=7.0)
        at = datetime.now(UTC) + timedelta(seconds=20)
        collector.answers = {"retry-after": format_datetime(at, usegmt=True)}
        wait = (await asyncio.to_thread(sender.post, b"")).wait
        assert wait is not None
        assert 15 < wait <= 20
        collector.answers = {}
        assert await asyncio.to_thread(sender.post, b"") == Posted(took=False, again=True)
        sender.close()


async def test_a_message_waits_as_long_as_its_collector_asks_and_not_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporting, "_PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(exporting, "_LONGEST_PAUSE", 0.4)
    async with Collector() as collector:
        sending = Sending(collector)
        collector.status, collector.answers = 503, {"retry-after": "3600"}
        sending.spans(1)
        await until(lambda: len(collector.bodies) == 1, "the first try")
        began = time.monotonic()
        collector.status = 200
        await until(lambda: len(collector.bodies) == 2, "the second try")
        assert 0.3 < time.monotonic() - began < 3.0
        await until(lambda: sending.counted() == (1, 0), "it is taken")
        await sending.stop()
    assert sending.told.lines[-1][0] == EXPORT_GOES_ON


async def test_a_process_that_ends_does_not_wait_as_its_collector_asks() -> None:
    async with Collector() as collector:
        sending = Sending(collector)
        collector.status, collector.answers = 503, {"retry-after": "3600"}
        sending.spans(1)
        await until(lambda: len(collector.bodies) == 1, "the first try")
        began = time.monotonic()
        await sending.stop()
        assert time.monotonic() - began < 2.0
        assert sending.counted() == (0, 1)
