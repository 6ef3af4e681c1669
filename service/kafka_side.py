"""Kafka's side of a process: publishes what the outbox holds, takes in what teams submit, wakes the worker.

Built from the settings; beside the engine it names concrete adapters. What a record means is the door's
(service/edge/kafka), how one is read for ever the loops' (workers).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from prometheus_client import CollectorRegistry

from adapters.database.open import Database
from adapters.intake_telemetry import PrometheusIntakeTelemetry, PrometheusWakeUpTelemetry
from adapters.kafka.client import KafkaClientError, KafkaClientOptions, client_arguments
from adapters.kafka.consumer import KafkaConsumer
from adapters.kafka.decompression import BATCH_BYTES
from adapters.kafka.publisher import KafkaPublisher
from adapters.kafka.topics import DIFFERS, TopicsError, TopicSpec, settle_topics, wanted_topics
from adapters.relay_telemetry import OutboxGauges, PrometheusRelayTelemetry
from service.conditions import Conditions, Part
from service.domain.consuming import ConsumerError
from service.domain.intake import Acceptance
from service.domain.publishing import PublisherError
from service.domain.signals import Report
from service.domain.tracing import Tracer
from service.edge.kafka.dead_letters import MOST_BYTES
from service.edge.kafka.rejections import Rejection
from service.edge.kafka.results import OutTopics, Results
from service.live import LiveSettings
from service.settings import Settings
from service.settings.kafka import KafkaSettings
from service.side_tasks import Tasks, every
from workers.intake import IntakeLoop
from workers.relay import Relay
from workers.relay_settings import RelaySettings
from workers.wakeups import WakeUpLoop
from workers.worker import Worker

CLIENT_FAILED: Final = "kafka_client_failed"

_LOOK_AGAIN: Final = 10.0
_ROOM: Final = 128 * 1024
"""Bytes of a message beside what is counted of it: of a result all but its value."""
_LAST_RESULTS: Final = 2.0
"""Seconds for which a process that leaves goes on publishing what its last jobs left."""
_SHOW: Final = 5.0
_FIRST: Final = 15.0
"""Seconds in which consumers join at a normal start: no news before."""

_BROKERS: Final = "; it is tried again, see kafka.bootstrap_servers and kafka.security"


class KafkaSide:
    """The loops of one process that works on jobs. `tasks` run them; `leave_intake` and `leave` end them.

    `name` tells this process's relay from others, `wake` is the worker's. `acceptance` makes what judges records
    and tells the reason of every dead letter. `resolve` gives the secret of a reference. `conditions` are the
    process's: nothing of Kafka is a reason not to be ready.
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
        conditions: Conditions,
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._conditions = conditions
        self._clock, self._began = clock, clock()
        self._joined: set[Part] = set()
        self._settings = kafka = settings.kafka
        self._report = report
        self._connect = partial(connection, kafka, resolve)
        self._live = live
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
            tracer=tracer,
        )
        self._intake_telemetry = telemetry = PrometheusIntakeTelemetry(registry, reasons=Rejection)
        self._wake_up_telemetry = PrometheusWakeUpTelemetry(registry)
        self.intake = IntakeLoop(
            self._intake_consumer,
            acceptance(telemetry.dead_letter),
            # One more than the mark, so that the mark itself is not above it.
            lambda: database.jobs.runnable(live.intake().high_water + 1),
            telemetry,
            settings=live.intake,
        )
        self.wake_ups = WakeUpLoop(self._wake_consumer, wake, self._wake_up_telemetry)
        self._gauges = OutboxGauges(registry, database.outbox)
        database.signals.listen(on_outbox=self.relay.wake)

    def tasks(self) -> Tasks:
        """What runs beside the worker."""
        return {
            "topics": self._settle,
            "relay": self._once_settled(self.relay.run),
            "intake": self._once_settled(self.intake.run),
            "wake-ups": self._once_settled(self.wake_ups.run),
            "consumers": partial(every, _SHOW, self._show),
            "outbox": self._gauges.run,
        }

    async def leave_intake(self) -> None:
        """Takes in nothing more; returns when what was read is stored, or left to others."""
        if self._settled.is_set():
            await asyncio.gather(self.intake.leave(), self.wake_ups.leave())

    async def leave(self) -> None:
        """Publishes what the last jobs left, as far as that is quickly done, and lets others go on."""
        if self._settled.is_set():
            await self.relay.drain(_LAST_RESULTS)

    async def _settle(self) -> None:
        """Looks at the topics once the brokers answer, at those that settings bring, and again while one differs.

        Only those that are to be made are waited for, at the start.
        """
        mode = self._settings.topics
        if mode != "create":
            self._settled.set()
        seen: frozenset[str] = frozenset()
        reports = _TopicReports(self._report)
        while True:
            wanted = self._wanted()
            new = [topic for topic in wanted if topic.name not in seen]
            try:
                differing: Sequence[str] = ()
                if new and mode != "off":
                    differing = await settle_topics(self._connect(), new, mode, reports.report)
            except (TopicsError, KafkaClientError) as error:
                self._topics_failed(str(error))
            except Exception as error:  # noqa: BLE001 - no topic is a reason to stop a process
                self._topics_failed(type(error).__name__)
            else:
                seen = frozenset(topic.name for topic in wanted) - reports.taken()
                self._conditions.tell(Part.TOPICS, *differing)
                self._settled.set()
            await asyncio.sleep(_LOOK_AGAIN)

    def _topics_failed(self, why: str) -> None:
        self._conditions.tell(Part.TOPICS, f"{why}{_BROKERS}")

    def _wanted(self) -> Sequence[TopicSpec]:
        kafka = self._settings
        return wanted_topics(
            kafka.intake_topics,
            kafka.names.jobs,
            self._live.results_topics(),
            kafka.names.dlq,
            partitions=kafka.partitions,
            replication=kafka.replication,
        )

    def _show(self) -> None:
        """Whether records are read. No reason not to be ready: jobs are run, and those of other doors come in."""
        if self.intake.stopping:
            return
        for part, problem, telemetry in (
            (Part.INTAKE, self.intake.problem(), self._intake_telemetry),
            (Part.WAKE_UPS, self.wake_ups.problem(), self._wake_up_telemetry),
        ):
            if problem is None:
                self._joined.add(part)
            elif part not in self._joined and self._clock() - self._began < _FIRST:
                continue
            telemetry.working(working=problem is None)
            self._conditions.tell(part, *(() if problem is None else (_with_advice(problem),)))

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
        largest = max(self._settings.max_result_bytes, MOST_BYTES)
        return KafkaPublisher(client, max_request_bytes=largest + _ROOM)

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
            client,
            group,
            topics,
            from_latest=from_latest,
            session_seconds=self._settings.session_seconds,
            # Never less than a record that is taken in needs, with its key and headers.
            batch_bytes=max(BATCH_BYTES, 2 * self._settings.max_record_bytes),
        )


def _with_advice(problem: str) -> str:
    return f"{problem}{_BROKERS}" if problem.startswith("the broker") else problem


class _TopicReports:
    """Passes on what is done about topics, and keeps which of them differ: those are a condition, and no news."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._differing: set[str] = set()

    def report(self, event: str, values: Mapping[str, object]) -> None:
        """See `Report`."""
        if event == DIFFERS:
            self._differing.add(str(values["topic"]))
        else:
            self._report(event, values)

    def taken(self) -> frozenset[str]:
        """The topics that the last look found different."""
        found, self._differing = frozenset(self._differing), set()
        return found


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
