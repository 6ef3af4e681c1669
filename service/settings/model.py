"""All settings as one frozen object, and what one section says about another."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from adapters.documents.shapes import SecretReference
from adapters.keys import KeyRow, OwnerRow
from service.settings.access import KeySettings, OwnerSettings, RuleSettings
from service.settings.kafka import KafkaSettings
from service.settings.kafka_topics import Found, check_kafka
from service.settings.media import MediaSettings
from service.settings.parts import (
    LIVE,
    AdminSettings,
    AdmissionSettings,
    CatalogSettings,
    CoalesceSettings,
    DeadlinesSettings,
    DrainSettings,
    FloorSettings,
    GrpcSettings,
    HttpSettings,
    LogSettings,
    PositiveSeconds,
    RoutingSettings,
    UpstreamSettings,
)
from service.settings.storage import DatabaseSettings, JobsSettings, ResponsesSettings
from service.settings.telemetry import TelemetrySettings

if TYPE_CHECKING:
    from service.domain.catalog import Rule

PREFIX = "EUROUTER_"
NESTING = "__"


class Settings(BaseSettings):
    """Everything that an operator may set. `Settings.load` reads it from a file and the environment."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter=NESTING, case_sensitive=False
    )

    grpc: GrpcSettings = Field(default_factory=GrpcSettings, description="The gRPC listener.")
    http: HttpSettings = Field(default_factory=HttpSettings, description="The HTTP listener.")
    admin: AdminSettings = Field(default_factory=AdminSettings, description="Probes and metrics.")
    processes: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Serving processes on the same ports; for single machines. One that ends is replaced by one "
        "with what the others have in force.",
    )
    admission: AdmissionSettings = Field(
        default_factory=AdmissionSettings,
        description="What one process takes at a time.",
        json_schema_extra=LIVE,
    )
    deadlines: DeadlinesSettings = Field(
        default_factory=DeadlinesSettings, description="How long a call may take.", json_schema_extra=LIVE
    )
    commit_wait_seconds: PositiveSeconds = Field(
        default=15.0,
        description="How long headers wait for the first output, so that failures are real status codes; seconds.",
        json_schema_extra=LIVE,
    )
    coalesce: CoalesceSettings = Field(
        default_factory=CoalesceSettings, description="Merging of small pieces under load.", json_schema_extra=LIVE
    )
    routing: RoutingSettings = Field(
        default_factory=RoutingSettings, description="Limits of the retry loop.", json_schema_extra=LIVE
    )
    floor: FloorSettings = Field(
        default_factory=FloorSettings, description="Filters that hold for every call.", json_schema_extra=LIVE
    )
    hint_fields: tuple[str, ...] = Field(
        # Codex sends it with every request.
        default=("client_metadata",),
        description="Request fields without a name of ours that may be left out where they can't be sent "
        "(they are then named in the answer). Any other unknown field is an error. A nested one by its path, "
        "such as messages.content.cache_control.",
        json_schema_extra=LIVE,
    )
    catalog: CatalogSettings = Field(default_factory=CatalogSettings, description="Where the catalogue is.")
    keys: tuple[KeySettings, ...] = Field(
        default=(),
        description="API keys. Without any, everybody is the owner `local`, only loopback is served, and web "
        "pages of other sites are refused.",
        json_schema_extra=LIVE,
    )
    key_pepper: SecretReference | None = Field(
        default=None,
        description="Where the secret is that keys are hashed with, as env:NAME or file:PATH; at least 16 "
        "characters. Another pepper makes every key invalid.",
        json_schema_extra=LIVE,
    )
    owners: tuple[OwnerSettings, ...] = Field(
        default=(), description="Owners with client certificates or filters of their own.", json_schema_extra=LIVE
    )
    rules: tuple[RuleSettings, ...] = Field(default=(), description="Routing rules.", json_schema_extra=LIVE)
    upstream: UpstreamSettings = Field(default_factory=UpstreamSettings, description="Calls to providers.")
    media: MediaSettings = Field(
        default_factory=MediaSettings,
        description="Fetching of images and files by address.",
        json_schema_extra=LIVE,
    )
    database: DatabaseSettings = Field(default_factory=DatabaseSettings, description="Where responses are stored.")
    jobs: JobsSettings = Field(default_factory=JobsSettings, description="Background responses.")
    responses: ResponsesSettings = Field(default_factory=ResponsesSettings, description="Stored responses.")
    kafka: KafkaSettings = Field(default_factory=KafkaSettings, description="Jobs and results by Kafka.")
    log: LogSettings = Field(default_factory=LogSettings, description="Logs.")
    telemetry: TelemetrySettings = Field(
        default_factory=TelemetrySettings, description="Traces and metrics by OTLP."
    )
    drain: DrainSettings = Field(
        default_factory=DrainSettings, description="What happens on SIGTERM.", json_schema_extra=LIVE
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in: `load` merges file and environment itself, to name the place of a mistake."""
        return (init_settings,)

    @classmethod
    def load(cls, path: Path | None, env: Mapping[str, str]) -> Settings:
        """The settings from one YAML file (None: none) with the environment over it.

        Raises:
            SettingsError: one line per problem, each with the key's path and what to do.
        """
        from service.settings.load import load

        return load(path, env)

    @cached_property
    def key_rows(self) -> tuple[KeyRow, ...]:
        """The keys for the lookup; the same object every time."""
        return tuple(key.to_domain() for key in self.keys)

    @cached_property
    def owner_rows(self) -> tuple[OwnerRow, ...]:
        """The owners for the lookup; the same object every time."""
        return tuple(owner.to_domain() for owner in self.owners)

    @cached_property
    def rule_rows(self) -> tuple[Rule, ...]:
        """The routing rules for the catalogue."""
        return tuple(rule.to_domain() for rule in self.rules)

    @property
    def loopback_only(self) -> bool:
        """Whether both doors listen on loopback."""
        return is_loopback(self.grpc.host) and is_loopback(self.http.host)


def check_across(settings: Settings) -> Iterator[Found]:
    """Everything that is wrong between sections that are right by themselves."""
    for name, door in (("grpc", settings.grpc), ("http", settings.http)):
        if not (is_loopback(door.host) or settings.keys or door.tls.mutual):
            message = (
                f"without keys only loopback is served, and {door.host} is not: use 127.0.0.1, or add a key "
                f"(`eurouter keys create`), or require client certificates ({name}.tls.require_client_cert)"
            )
            yield (name, "host"), message
    tls = settings.grpc.tls
    if tls.client_ca is not None and not tls.require_client_cert:
        message = (
            "gRPC either requires client certificates or never asks for them: set it to true, or leave out "
            "client_ca (the HTTP listener can do both)"
        )
        yield ("grpc", "tls", "require_client_cert"), message
    yield from _shared_ports(settings)
    if settings.keys and settings.key_pepper is None:
        yield ("key_pepper",), "is required as soon as there are keys: name the secret that they were hashed with"
    yield from _twice("keys", "id", [key.id for key in settings.keys])
    yield from _twice("owners", "name", [owner.name for owner in settings.owners])
    yield from _twice("rules", "id", [rule.id for rule in settings.rules])
    yield from _twice("rules", "name", [rule.name for rule in settings.rules])
    taken: dict[str, str] = {}
    for position, owner in enumerate(settings.owners):
        for number, name in enumerate(owner.client_certificates):
            if taken.setdefault(name, owner.name) != owner.name:
                where = ("owners", position, "client_certificates", number)
                yield where, f"'{name}' speaks for the owner '{taken[name]}' already"
    yield from check_kafka(settings)


def _shared_ports(settings: Settings) -> Iterator[Found]:
    seen: dict[tuple[str, int], str] = {}
    for name, door in (("grpc", settings.grpc), ("http", settings.http), ("admin", settings.admin)):
        first = seen.setdefault((door.host, door.port), name)
        if door.port and first != name:
            yield (name, "port"), f"is the port of {first} already: each listener needs its own"


def is_loopback(host: str) -> bool:
    """Whether nobody outside this machine reaches a listener on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _twice(section: str, key: str, values: list[str]) -> Iterator[Found]:
    for position, value in enumerate(values):
        if value in values[:position]:
            yield (section, position, key), f"'{value}' is used twice"
