"""The page of metrics has every metric that a process has, with its labels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from adapters.catalog.load import DEFAULT_CATALOG
from adapters.metrics_document import PAGE, metrics, page
from service.bootstrap import Service, Start
from service.settings import Settings
from service.worker_service import WorkerService
from tests.support.parts import ROOT

KNOWN = {name: labels for part in metrics().values() for one in part for name, labels in one.series.items()}


def shown(registry: CollectorRegistry) -> Iterator[tuple[str, frozenset[str]]]:
    """The first name and the labels of each metric of a process."""
    for collector in registry._collector_to_names:
        if isinstance(collector, MetricWrapperBase):
            (family,) = collector.describe()
            end = {"counter": "_total", "histogram": "_sum"}.get(family.type, "")
            yield f"{family.name}{end}", frozenset(collector._labelnames)


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(), "run `make docs`"


@pytest.mark.parametrize("make", [Service, WorkerService])
async def test_every_metric_of_a_process_is_on_the_page_with_its_labels(
    make: type[Service | WorkerService], tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "database": {"url": f"sqlite:///{tmp_path / 'responses.db'}"},
                "kafka": {"bootstrap_servers": "127.0.0.1:9"},
                "telemetry": {"endpoint": "http://127.0.0.1:9"},
            }
        )
    )
    built = make(Settings.load(file, {}), Start(file, {}))
    found = dict(shown(built.telemetry.registry))
    for close in built.closers:
        await close()
    assert len(found) > 40
    assert found == {name: KNOWN.get(name) for name in found}


async def test_what_is_0_at_the_start_is_on_the_page_and_so_many_series_as_it_says(tmp_path: Path) -> None:
    keys = dict.fromkeys(re.findall(r"env:(\w+)", DEFAULT_CATALOG.read_text(encoding="utf-8")), "x")
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump({"database": {"url": f"sqlite:///{tmp_path / 'responses.db'}"}}))
    built = Service(Settings.load(file, keys), Start(file, keys))
    zeros = [
        sample.name
        for family in built.telemetry.registry.collect()
        for sample in family.samples
        if family.type == "counter" and sample.labels and sample.value == 0
    ]
    for close in built.closers:
        await close()
    named = set(re.findall(r"^\| `(\w+)` \| (?:when|the (?:worker's )?start) ?", page(), re.MULTILINE))
    assert set(zeros) < named
    assert named - set(zeros) == {"eurouter_intake_dead_letters_total", "eurouter_spans_dropped_total"}
    assert f"Together {len(zeros)} series of `eurouter serve`" in page()


def test_the_names_of_a_histogram_are_those_that_prometheus_shows() -> None:
    assert KNOWN["eurouter_request_seconds_bucket"] == {"door", "method", "le"}
    assert KNOWN["eurouter_request_seconds_count"] == {"door", "method"}
    assert "eurouter_request_seconds" not in KNOWN
    assert KNOWN["eurouter_requests_total"] == {"door", "method", "outcome"}
