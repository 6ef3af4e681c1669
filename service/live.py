"""Settings that a reload changes, in the shapes that parts of the service ask for."""

from __future__ import annotations

from typing import Final

from adapters.keys import KeyRow, OwnerRow
from adapters.media.limits import MediaLimits
from service.api.chat.handler import ChatSettings
from service.api.responses.history import ChainLimits
from service.api.responses.prepare import ResponsesSettings
from service.edge.admission import AdmissionLimits
from service.edge.calls import DeadlineLimits
from service.edge.kafka.identity import Binding, Identities, OwnerTerms, Signer
from service.edge.kafka.records import IntakeRules
from service.edge.kafka.results import Content
from service.process import DrainTimes
from service.router import RouterSettings
from service.settings import Settings
from service.settings.access import OwnerSettings
from service.settings.changes import in_force
from service.settings.kafka_topics import results_topics
from workers.intake_settings import IntakeSettings
from workers.runner import RunSettings
from workers.worker import WorkerSettings

_DAY: Final = 86400.0


class LiveSettings:
    """The settings in force. What is asked for on every call is made once per change."""

    def __init__(self, settings: Settings, *, drain_pause: bool) -> None:
        self._drain_pause = drain_pause
        self._started_with = settings
        self.use(settings)

    def use(self, fresh: Settings) -> None:
        """These settings from now on; what needs a restart stays as it was at the start."""
        self._settings = settings = in_force(self._started_with, fresh)
        self._chat = ChatSettings(
            frozenset(settings.hint_fields), settings.floor.to_domain(), settings.commit_wait_seconds
        )
        self._never_restart = {row.name for row in settings.owners if row.on_worker_loss == "fail"}
        limits = ChainLimits(settings.responses.max_chain_depth, settings.responses.max_chain_bytes)
        self._responses = ResponsesSettings(self._chat, settings.responses.retention_days * _DAY, limits)
        self._router = RouterSettings(
            settings.routing.max_attempts, settings.routing.max_retry_wait_seconds, settings.jobs.endpoint_share
        )
        self._media = settings.media.limits()
        self._admission = AdmissionLimits(settings.admission.max_calls, settings.admission.max_request_bytes)
        self._deadlines = DeadlineLimits(settings.deadlines.default_seconds, settings.deadlines.max_seconds)
        self._key_rows = settings.key_rows
        self._owner_rows = settings.owner_rows
        self._all_results_topics = results_topics(settings)
        self._results_topics = {
            row.name: row.results_topic for row in settings.owners if settings.kafka.enabled and row.results_topic
        }
        self._intake = IntakeSettings(high_water=settings.kafka.high_water)
        self._intake_rules = _intake_rules(settings)

    def chat(self) -> ChatSettings:
        """What chat asks."""
        return self._chat

    def responses(self) -> ResponsesSettings:
        """What responses ask."""
        return self._responses

    def restart_on_loss(self, owner: str) -> bool:
        """Whether a job of this owner may begin anew after output was seen."""
        return owner not in self._never_restart

    def results_topic(self, owner: str) -> str | None:
        """Where the results of this owner's jobs go; None: where everybody's do, if there is Kafka at all."""
        return self._results_topics.get(owner)

    def results_topics(self) -> tuple[str, ...]:
        """Every topic that a result may be written to, each once."""
        return self._all_results_topics

    def results_content(self) -> Content:
        """What results hold."""
        return self._settings.kafka.results_content

    def intake(self) -> IntakeSettings:
        """How records are taken in."""
        return self._intake

    def intake_rules(self) -> IntakeRules:
        """Whom records may come from, and what they may be."""
        return self._intake_rules

    def runs(self) -> RunSettings:
        """Limits of one run of a job."""
        return RunSettings(longest=self._settings.jobs.max_run_seconds)

    def workers(self) -> WorkerSettings:
        """How a worker works."""
        jobs = self._settings.jobs
        return WorkerSettings(
            concurrency=jobs.concurrency, owner_cap=jobs.per_owner, drain=self._settings.drain.finish_seconds
        )

    def router(self) -> RouterSettings:
        """Limits of the retry loop."""
        return self._router

    def media(self) -> MediaLimits:
        """Limits of what is fetched for one call."""
        return self._media

    def admission(self) -> AdmissionLimits:
        """What this process takes at a time."""
        return self._admission

    def deadlines(self) -> DeadlineLimits:
        """How long calls may take."""
        return self._deadlines

    def hint_fields(self) -> frozenset[str]:
        """Fields that may go unused."""
        return self._chat.hint_fields

    def heartbeat(self) -> float:
        """Seconds of silence after which an event stream gets a comment."""
        return self._settings.http.heartbeat_seconds

    def drain(self) -> DrainTimes:
        """Times of the drain."""
        drain = self._settings.drain
        return DrainTimes(drain.pause_seconds if self._drain_pause else 0.0, drain.finish_seconds)

    def key_rows(self) -> tuple[KeyRow, ...]:
        """The API keys."""
        return self._key_rows

    def owner_rows(self) -> tuple[OwnerRow, ...]:
        """The owners."""
        return self._owner_rows


def _intake_rules(settings: Settings) -> IntakeRules:
    kafka = settings.kafka
    identities = Identities(
        [Binding(row.topic, row.owner, row.domain_priority, row.results_topic) for row in kafka.intake],
        [Signer(key.id, row.name, key.raw) for row in settings.owners for key in row.public_keys],
        map(_terms, settings.owners),
        trusted_owner_header=kafka.trusted_owner_header,
    )
    return IntakeRules(identities, frozenset(settings.hint_fields), kafka.max_record_bytes)


def _terms(row: OwnerSettings) -> OwnerTerms:
    return OwnerTerms(row.name, row.floor.to_domain(), frozenset(row.reply_topics), row.fetch_media)
