"""How large the measurements with Kafka are, and what they are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sizes:
    """`calls` per measurement of costs, back to back; `seconds` of arrivals at `RATE`; `records` that wait before
    an intake; `wakes`: jobs that a worker is woken for, one by one.
    """

    rounds: int
    calls: int = 1000
    seconds: float = 5.0
    records: int = 10_000
    wakes: int = 200


def sizes_of(*, rounds: int, quick: bool) -> Sizes:
    """Those of a run."""
    return Sizes(rounds, calls=400, seconds=3.0, records=5000, wakes=60) if quick else Sizes(rounds)


OFF: Final = "kafka_off"
ON: Final = "kafka_on"
BY: Final = "by_kafka"
WAYS: Final = {OFF: "over gRPC, no Kafka", ON: "over gRPC, with Kafka", BY: "by Kafka"}
"""How jobs come in. With Kafka their wake-ups and results are published; the first two name worlds, too."""

JSON: Final = "json"
PROTOBUF: Final = "protobuf"
FORMS: Final = (JSON, PROTOBUF)
"""What submitted records are."""

IN_FLIGHT: Final = 16
RATE: Final = 150.0
"""Jobs a second where they arrive by chance."""

INTAKE_TARGET: Final = 2000.0
ADDED_TARGET: Final = 500.0
"""CPU µs that Kafka may add to a job."""
WAKE_TARGET: Final = 0.05
PUBLISHED_TARGET: Final = 0.2
