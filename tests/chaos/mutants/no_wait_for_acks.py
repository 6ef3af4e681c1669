"""A worker whose relay takes for sent what is still under way; and results are so for long, so that it shows."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

from adapters.kafka.publisher import KafkaPublisher
from service.domain.publishing import Delivery, Message
from service.worker_service import WorkerService
from tests.chaos.mutants.started import main
from tests.chaos.record_requests import RESULT_TOPICS

_LATE: Final = 2.0

_under_way: set[asyncio.Task[None]] = set()


def wait_for_nothing() -> None:
    """Has results sent later than they are said to be, in this process."""
    send = KafkaPublisher.send

    async def sent_later(publisher: KafkaPublisher, messages: Sequence[Message]) -> None:
        await asyncio.sleep(_LATE)
        await send(publisher, messages)

    async def hasty(self: KafkaPublisher, messages: Sequence[Message]) -> Sequence[Delivery]:
        results = [message for message in messages if message.topic in RESULT_TOPICS and message.value is not None]
        task = asyncio.create_task(sent_later(self, results))
        _under_way.add(task)
        task.add_done_callback(_under_way.discard)
        others = [message for message in messages if message not in results]
        outcomes = iter(await send(self, others))
        return [Delivery.SENT if message in results else next(outcomes) for message in messages]

    KafkaPublisher.send = hasty  # type: ignore[method-assign]


if __name__ == "__main__":
    wait_for_nothing()
    sys.exit(main(WorkerService))
