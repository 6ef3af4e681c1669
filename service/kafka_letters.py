"""What there is to dead letters when there is Kafka: their topic, how one is read, how one is submitted again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from adapters.kafka.dead_letters import KafkaDeadLetters
from service.api.dead_letters import DeadLetters
from service.domain.dead_letters import Redrive
from service.edge.kafka.dead_letters import read_dead_letter
from service.edge.kafka.rejections import Rejection
from service.kafka_side import connection
from service.settings.kafka import KafkaSettings


def dead_letters(
    kafka: KafkaSettings, resolve: Callable[[str], str], redrive: Redrive | None
) -> DeadLetters | None:
    """The dead letters of a process; None without Kafka. `redrive` None: they are only read.

    `resolve` gives the secret of a reference. Nothing connects yet.
    """
    if not kafka.enabled:
        return None
    topic = KafkaDeadLetters(partial(connection, kafka, resolve), kafka.names.dlq)
    return DeadLetters(topic, read_dead_letter, frozenset(Rejection), redrive)
