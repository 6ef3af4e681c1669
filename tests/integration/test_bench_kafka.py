"""The verdicts of the benchmark's group with Kafka. A run verifies itself what it measured."""

from __future__ import annotations

import orjson

from bench.kafka import report
from bench.kafka.client import record_of, small_record
from bench.kafka.sizes import BY, FORMS, JSON, OFF, ON, PROTOBUF
from bench.traffic import ONE_TOKEN_MODEL, grpc_call


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
