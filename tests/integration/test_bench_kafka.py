"""The benchmark's group with Kafka: a tiny run of all of it, and its verdicts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench import measure
from bench.jobs.run import place_of
from bench.kafka import report, run
from bench.kafka.client import record_of, small_record
from bench.kafka.sizes import BY, FORMS, JSON, OFF, ON, PROTOBUF, WAYS, Sizes
from bench.run import Options, Raw, Stage
from bench.traffic import ONE_TOKEN_MODEL, grpc_call
from tests.kafka import prepare
from tests.support import parts, postgres

TINY = Sizes(rounds=1, calls=30, seconds=0.5, records=1200, wakes=5)


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Any]]:
    parts.require("a private PostgreSQL", postgres.can_start(), postgres.HOW)
    parts.require("a Kafka of our own", prepare.can_start(), prepare.how())
    options = Options(1, quick=True, groups=frozenset({"kafka"}), servers=frozenset())
    with (
        tempfile.TemporaryDirectory(prefix="eurouter-bench-") as folder,
        Stage(options, Path(folder), Raw()) as stage,
        ExitStack() as stack,
    ):
        yield run.everything(place_of(stage, stack), TINY, lambda _: None)


@pytest.mark.skipif(not measure.supported(), reason="part missing: /proc: the benchmark runs on Linux")
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("kafka")
def test_every_row_with_kafka_is_measured_and_judged(found: dict[str, Any]) -> None:
    for load in ("costs", "arrivals"):
        for way in WAYS:
            (cost,) = found[load][way]
            assert 100 < cost["worker"] < cost["total"] < 1_000_000
    assert found["published"][OFF] == [[]]
    for way in (ON, BY):
        (lags,) = found["published"][way]
        assert 20 < len(lags) < 200
        assert all(-0.05 < lag < 30 for lag in lags)
    assert len(found["wakes"]["woken"]) == TINY.wakes
    assert all(-0.05 < wait < 5 for wait in found["wakes"]["woken"])
    for form in FORMS:
        (taken,) = found["intake"][form]
        assert taken["rate"] > 20
        assert 10 < taken["cpu"] < 1_000_000
    # Of each way back to back, warm and measured, as they arrived, those of the wake-ups, and four to compare.
    arrived = sum(len(found["published"][way][0]) for way in (ON, BY))
    assert found["results"] == 2 * (20 + TINY.calls) + arrived + TINY.wakes + 5 + 4
    verdicts = report.verdicts(found)
    assert [verdict.what for verdict in verdicts if verdict.met is None] == []
    told = report.tables(found)
    for words in (
        "by Kafka",
        "added by Kafka",
        "intake, protobuf",
        "wake-up to claim, p99",
        "each with its result",
    ):
        assert words in told


def test_what_kafka_adds_is_judged_round_by_round() -> None:
    def costs(*totals: float) -> list[dict[str, float]]:
        return [{"total": total, "worker": 1.0} for total in totals]

    by_way = {OFF: costs(1000, 2000, 1500), ON: costs(1500, 2400, 2100), BY: costs(1501, 2501, 2001)}
    found = {"costs": by_way, "arrivals": by_way, "intake": {}, "wakes": {}, "published": {}}
    told = [(v.measured, v.mark) for v in report.verdicts(found) if v.what.startswith("Kafka adds")]
    assert told == 2 * [
        ("500 µs (by round 400 µs to 600 µs)", "met"),
        ("501 µs (by round 501 µs to 501 µs)", "MISSED"),
    ]


def test_of_what_was_not_measured_nothing_is_judged() -> None:
    assert {verdict.mark for verdict in report.verdicts({})} == {"not measured"}
    assert report.tables({}) == ""


def test_what_is_submitted_is_what_goes_over_grpc_and_small_records_are_small() -> None:
    assert (
        record_of(PROTOBUF, ONE_TOKEN_MODEL) == grpc_call("background response", ONE_TOKEN_MODEL, stream=False)[1]
    )
    assert orjson.loads(record_of(JSON, ONE_TOKEN_MODEL))["model"] == f"bench/{ONE_TOKEN_MODEL}"
    assert all(130 < len(small_record(form, ONE_TOKEN_MODEL)) < 170 for form in FORMS)
