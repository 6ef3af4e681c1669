"""What a process says of Kafka when it runs, by its settings: whether it can be reached is not known then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from service.settings import Settings
from service.settings.kafka_topics import results_topics

_MOST: Final = 5


def kafka_lines(settings: Settings, *, works: bool) -> Iterator[str]:
    """One line where there is Kafka, none without. `works`: this process works on jobs."""
    kafka = settings.kafka
    if not kafka.enabled:
        return
    where = f"==> Kafka at {kafka.bootstrap_servers}:"
    if works:
        bound = [binding.topic for binding in kafka.intake]
        taken, results = _listed([*bound, kafka.names.submit]), _listed(results_topics(settings))
        yield f"{where} takes in {taken}; results to {results}; dead letters to {kafka.names.dlq}"
    else:
        yield f"{where} `eurouter work` reads and writes it, this process only shows dead letters"


def _listed(topics: Sequence[str]) -> str:
    more = f" and {len(topics) - _MOST} more" if len(topics) > _MOST else ""
    return ", ".join(topics[:_MOST]) + more
