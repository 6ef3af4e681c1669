"""Kafka's side of a process: publishes what the outbox holds, takes in what teams submit, wakes the worker.

Built from the settings; beside the engine it names concrete adapters. What a record means is the door's
(service/edge/kafka), how one is read for ever the loops' (workers).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from prometheus_client import CollectorRegistry

from adapters.database.open import Database
from adapters.intake_telemetry import PrometheusIntakeTelemetry, PrometheusWakeUpTelemetry
from adapters.kafka.client import KafkaClientError, KafkaClientOptions, client_arguments
from adapters.kafka.consumer import KafkaConsumer
from adapters.kafka.publisher import KafkaPublisher
from adapters.kafka.topics import TopicsError, settle_topics, wanted_topics
from adapters.relay_telemetry import OutboxGauges, PrometheusRelayTelemetry
from service.domain.consuming import ConsumerError
from service.domain.intake import Acceptance
from service.domain.publishing import PublisherError
from service.domain.signals import Report
from service.domain.stored import StoreError
from service.edge.kafka.results import OutTopics, Results
from service.live import LiveSettings
from service.settings import Settings
from service.settings.kafka import KafkaSettings
from service.settings.kafka_topics import results_topics
from service.side_tasks import Tasks
from workers.intake import IntakeLoop
from workers.relay import Relay
from workers.relay_settings import RelaySettings
from workers.wakeups import WakeUpLoop
from workers.worker import Worker

CLIENT_FAILED: Final = "kafka_client_failed"
TOPICS_FAILED: Final = "kafka_topics_failed"

_LOOK_AGAIN: Final = 10.0
_ROOM: Final = 128 * 1024
"""Bytes of a message beside the value that `max_result_bytes` counts: key and headers."""
_LAST_RESULTS: Final = 2.0
"""Seconds for which a process that leaves goes on publishing what its last jobs left."""
_LOOK: Final = 0.05


class KafkaSide:
    """The loops of one process that works on jobs. `tasks` run them; `leave_intake` and `leave` end them.

    `name` tells this process's relay from others, `wake` is the worker's. `acceptance` makes what judges records
    and tells the reason of every dead letter. `resolve` gives the secret of a reference.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        live: LiveSettings,
        database: Database,
        acceptance: Callable[[Callable[[str], object]], Acceptance],
        *,
        wake: Callable[[], None],
        resolve: Callable[[str], str],
        registry: CollectorRegistry | None,
        report: Report,
    ) -> None:
        self._settings = kafka = settings.kafka
        self._database = database
        self._report = report
        self._connect = partial(connection, kafka, resolve)
        self._results_topics = results_topics(settings)
        self._settled = asyncio.Event()
        topics = OutTopics(kafka.names.jobs, kafka.names.results, kafka.names.dlq)
        relay_settings = RelaySettings(most_value=kafka.max_result_bytes)
        self.relay = Relay(
            name,
            database.outbox,
            self._publisher,
            Results(topics, live.results_content).render,
            PrometheusRelayTelemetry(registry),
            settings=lambda: relay_settings,
        )
        telemetry = PrometheusIntakeTelemetry(registry)
        self.intake = IntakeLoop(
            self._intake_consumer,
            acceptance(telemetry.dead_letter),
            # One more than the mark, so that the mark itself is not above it.
            lambda: database.jobs.runnable(live.intake().high_water + 1),
            telemetry,
            settings=live.intake,
        )
        self.wake_ups = WakeUpLoop(self._wake_consumer, wake, PrometheusWakeUpTelemetry(registry))
        self._gauges = OutboxGauges(registry, database.outbox)
        database.signals.listen(on_outbox=self.relay.wake)

    def tasks(self) -> Tasks:
        """What runs beside the worker."""
        return {
            "topics": self._settle,
            "relay": self._once_settled(self.relay.run),
            "intake": self._once_settled(self.intake.run),
            "wake-ups": self._once_settled(self.wake_ups.run),
            "outbox": self._gauges.run,
        }

    async def leave_intake(self) -> None:
        """Takes in nothing more; returns when what was read is stored, or left to others."""
        if self._settled.is_set():
            await asyncio.gather(self.intake.leave(), self.wake_ups.leave())

    async def leave(self) -> None:
        """Publishes what the last jobs left, as far as that is quickly done, and lets others go on."""
        if not self._settled.is_set():
            return
        try:
            async with asyncio.timeout(_LAST_RESULTS):
                while (await self._database.outbox.stats()).depth:
                    self.relay.wake()
                    await asyncio.sleep(_LOOK)
        except (TimeoutError, StoreError):
            # It is in the outbox, for whoever comes next.
            pass
        await self.relay.leave()

    async def _settle(self) -> None:
        """Looks at the topics once the brokers answer. Only those that are to be made are waited for."""
        kafka = self._settings
        if kafka.topics != "create":
            self._settled.set()
        if kafka.topics != "off":
            wanted = wanted_topics(
                kafka.intake_topics,
                kafka.names.jobs,
                self._results_topics,
                kafka.names.dlq,
                partitions=kafka.partitions,
                replication=kafka.replication,
            )
            while True:
                try:
                    await settle_topics(self._connect(), wanted, kafka.topics, self._report)
                    break
                except (TopicsError, KafkaClientError) as error:
                    self._report(TOPICS_FAILED, {"error": str(error)})
                await asyncio.sleep(_LOOK_AGAIN)
        self._settled.set()
        # A task of a process runs as long as it does.
        await asyncio.Event().wait()

    def _once_settled(self, run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def begin() -> None:
            await self._settled.wait()
            await run()

        return begin

    def _publisher(self) -> KafkaPublisher:
        try:
            client = self._connect()
        except KafkaClientError as error:
            raise PublisherError(str(error)) from None
        return KafkaPublisher(client, max_request_bytes=self._settings.max_result_bytes + _ROOM)

    def _intake_consumer(self) -> KafkaConsumer:
        return self._consumer(self._settings.intake_group, self._settings.intake_topics)

    def _wake_consumer(self) -> KafkaConsumer:
        return self._consumer(self._settings.wake_group, (self._settings.names.jobs,), from_latest=True)

    def _consumer(self, group: str, topics: tuple[str, ...], *, from_latest: bool = False) -> KafkaConsumer:
        try:
            client = self._connect()
        except KafkaClientError as error:
            # Loops tell no texts of errors, which may hold content. This one names a file or a reference.
            self._report(CLIENT_FAILED, {"error": str(error)})
            raise ConsumerError(str(error)) from None
        return KafkaConsumer(
            client, group, topics, from_latest=from_latest, session_seconds=self._settings.session_seconds
        )


async def leave(worker: Worker, kafka: KafkaSide | None) -> None:
    """Ends what a process does about jobs, in stages: nothing new, what is under way, what is to be told of it."""
    worker.stop()
    if kafka is None:
        await worker.leave()
        return
    await asyncio.gather(worker.leave(), kafka.leave_intake())
    await kafka.leave()


def connection(kafka: KafkaSettings, resolve: Callable[[str], str]) -> dict[str, Any]:
    """The arguments by which every client connects; files and secrets are read now.

    Raises:
        KafkaClientError: one of them can't be used.
    """
    security = kafka.security
    password, token = security.password, security.token
    return client_arguments(
        KafkaClientOptions(
            bootstrap_servers=kafka.bootstrap_servers or "",
            client_id=kafka.client_id,
            protocol=security.protocol,
            ca_file=security.ca_file,
            cert=security.cert,
            key=security.key,
            mechanism=security.mechanism,
            username=security.username,
            password=None if password is None else partial(resolve, password),
            token=None if token is None else partial(resolve, token),
        )
    )
