"""The section on Kafka: which brokers, how to get in, which topics, whose.

What sections say of each other's topics is checked in `kafka_topics`.
"""

from __future__ import annotations

import re
from base64 import b64decode
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from adapters.documents.shapes import Part, SecretReference
from service.domain.job_store import Priority
from service.settings.parts import LIVE, MIB
from service.settings.public_keys import PublicKeyText

RESERVED_HEADERS: Final = frozenset(
    {
        "content-type",
        "correlation-id",
        "eurouter-api",
        "eurouter-expires-at",
        "eurouter-group",
        "eurouter-key-id",
        "eurouter-priority",
        "eurouter-response-id",
        "eurouter-run-at",
        "eurouter-signature",
        "idempotency-key",
        "reply-topic",
        "traceparent",
        "tracestate",
        "x-request-id",
    }
)
"""Headers of a submitted record that mean something else than whose it is."""

_OUR_PREFIX: Final = "eurouter-dlq-"
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_HEADER: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}")
_BROKER: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
_KEY_ID: Final = re.compile(r"[!-~]{1,255}")
_MOST_PORT: Final = 65535


def _topic(value: str) -> str:
    if not _TOPIC.fullmatch(value) or value in (".", ".."):
        raise ValueError(f"must be 1 to 249 letters, digits, dots, underscores and dashes, got '{value}'")
    return value


def _bootstrap(value: str) -> str:
    # Never repeats the value: somebody may have put a password before an @.
    hosts = [host.strip() for host in value.split(",")]
    for host in hosts:
        match = _BROKER.fullmatch(host)
        if match is None or not 0 < int(match[2]) <= _MOST_PORT:
            raise ValueError(
                "must be brokers as host:port with commas between them, such as kafka-1:9092,kafka-2:9092"
            )
    return ",".join(hosts)


def _header(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise ValueError(f"must be letters, digits, dots, underscores and dashes, such as x-owner, got '{value}'")
    if value.lower() in RESERVED_HEADERS or value.lower().startswith(_OUR_PREFIX):
        raise ValueError(f"'{value.lower()}' means something else already: choose another name, such as x-owner")
    return value


def _key_id(value: str) -> str:
    if not _KEY_ID.fullmatch(value):
        raise ValueError("must be 1 to 255 printable ASCII characters without blanks")
    return value


def _off(value: Any) -> Any:
    # YAML reads a bare off as false.
    return "off" if value is False else value


TopicName = Annotated[str, AfterValidator(_topic)]
"""A name that Kafka takes for a topic."""


class PublicKeySettings(Part):
    """A public key with which an owner's records are signed."""

    id: Annotated[str, AfterValidator(_key_id)] = Field(
        description="How records name it, in the header eurouter-key-id; no two keys have the same."
    )
    key: PublicKeyText = Field(description="The 32 bytes of the Ed25519 public key, in base64.")

    @property
    def raw(self) -> bytes:
        """The 32 bytes."""
        return b64decode(self.key)


class KafkaSecuritySettings(Part):
    """How to get in."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="With TLS (SSL) or without, with a login (SASL) or without."
    )
    ca_file: Path | None = Field(
        default=None, description="A PEM file of authorities to trust in place of the usual ones."
    )
    cert: Path | None = Field(
        default=None, description="Our certificate with its chain, where brokers ask for one."
    )
    key: Path | None = Field(default=None, description="Its private key, not encrypted.")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        default=None, description="The way to log in."
    )
    username: str | None = Field(default=None, min_length=1, description="For all mechanisms but OAUTHBEARER.")
    password: SecretReference | None = Field(
        default=None,
        description="Where its password is, as env:NAME or file:PATH; read again for every new client.",
    )
    token: SecretReference | None = Field(
        default=None,
        description="For OAUTHBEARER: where the token is, as env:NAME or file:PATH; read again at every login.",
    )

    @model_validator(mode="after")
    def _complete(self) -> KafkaSecuritySettings:
        if (self.cert is None) != (self.key is None):
            raise ValueError("needs both `cert` and `key`, or neither")
        if not self.tls and (self.ca_file or self.cert):
            raise ValueError(f"ca_file, cert and key need TLS: use SSL or SASL_SSL in place of {self.protocol}")
        login = {
            name for name in ("mechanism", "username", "password", "token") if getattr(self, name) is not None
        }
        if not self.sasl:
            if login:
                needed = "SASL_SSL" if self.tls else "SASL_SSL or SASL_PLAINTEXT"
                raise ValueError(f"{self.protocol} takes no {_listed(login)}: leave it out, or use {needed}")
            return self
        if self.mechanism is None:
            raise ValueError(
                f"{self.protocol} needs `mechanism`: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
            )
        wanted = {"token"} if self.mechanism == "OAUTHBEARER" else {"username", "password"}
        given = login - {"mechanism"}
        if missing := wanted - given:
            raise ValueError(f"{self.mechanism} needs {_listed(missing)}")
        if extra := given - wanted:
            raise ValueError(f"{self.mechanism} takes no {_listed(extra)}: leave it out")
        return self

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def sasl(self) -> bool:
        """Whether clients log in."""
        return self.protocol in ("SASL_PLAINTEXT", "SASL_SSL")


class KafkaNamesSettings(Part):
    """The names of our topics."""

    submit: TopicName = Field(
        default="eurouter.submit.v1",
        description="Where every owner may submit; records say whose they are, by a signature.",
    )
    jobs: TopicName = Field(default="eurouter.jobs.v1", description="Wakes workers; holds ids of responses only.")
    results: TopicName = Field(
        default="eurouter.results.v1", description="Results, where no other topic is named."
    )
    dlq: TopicName = Field(default="eurouter.dlq.v1", description="Dead letters: what could not be accepted.")


class IntakeSettings(Part):
    """A topic that one owner submits to. Who may write to it is for the brokers' access control to say."""

    topic: TopicName = Field(description="Its name.")
    owner: str = Field(min_length=1, max_length=255, description="Whose all its records are.")
    priority: Literal["high", "normal", "bulk"] | None = Field(
        default=None, description="Of records that name none; left out, their service_tier says it."
    )
    results_topic: TopicName | None = Field(
        default=None, description="Where the results of its jobs go; left out, where the owner's do."
    )

    @property
    def domain_priority(self) -> Priority | None:
        """The same for jobs."""
        return None if self.priority is None else Priority[self.priority.upper()]


class KafkaSettings(Part):
    """Kafka: jobs come in, workers are woken, results go out. Without `bootstrap_servers` there is none."""

    bootstrap_servers: Annotated[str, AfterValidator(_bootstrap)] | None = Field(
        default=None, description="Brokers to begin with, as host:port with commas between them."
    )
    client_id: str = Field(
        default="eurouter",
        min_length=1,
        max_length=255,
        description="How brokers know us in their logs and quotas.",
    )
    security: KafkaSecuritySettings = Field(default_factory=KafkaSecuritySettings, description="How to get in.")
    topics: Annotated[Literal["check", "create", "off"], BeforeValidator(_off)] = Field(
        default="check",
        description="At the start: check whether the topics are there and as they should be, and say what is not; "
        "or also create those that are missing; or off. Nothing that exists is ever changed.",
    )
    names: KafkaNamesSettings = Field(default_factory=KafkaNamesSettings, description="The names of our topics.")
    partitions: int = Field(default=12, ge=1, le=10_000, description="Partitions of each topic.")
    replication: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Replicas of each partition; left out, 3 where the cluster has three brokers, else as many as "
        "it has.",
    )
    intake: tuple[IntakeSettings, ...] = Field(
        default=(), description="Topics bound to an owner. Submissions are always read from names.submit too."
    )
    trusted_owner_header: Annotated[str, AfterValidator(_header)] | None = Field(
        default=None,
        description="A header that names the owner of a record without a signature. Whoever may write to "
        "names.submit may then claim to be anybody.",
        json_schema_extra=LIVE,
    )
    results_content: Literal["full", "reference"] = Field(
        default="full",
        description="full: results hold the response. reference: only its id and status, to be fetched by id.",
        json_schema_extra=LIVE,
    )
    max_result_bytes: int = Field(
        default=900_000,
        ge=1000,
        le=100_000_000,
        description="A larger result becomes a reference, in bytes. Brokers take 1 MB of record unless told.",
    )
    max_record_bytes: int = Field(
        default=MIB, ge=1000, le=100_000_000, description="Largest record that is taken in, in bytes."
    )
    high_water: int = Field(
        default=10_000,
        ge=1,
        description="Jobs that may run at once if there were workers enough; above it intake pauses.",
        json_schema_extra=LIVE,
    )
    intake_group: str = Field(
        default="eurouter.intake.v1", min_length=1, max_length=255, description="The consumer group of intake."
    )
    wake_group: str = Field(
        default="eurouter.workers.v1", min_length=1, max_length=255, description="The consumer group of workers."
    )
    session_seconds: float = Field(
        default=45.0,
        ge=6,
        le=1800,
        allow_inf_nan=False,
        description="After which the partitions of a consumer that is silent are others'; seconds.",
    )

    @property
    def enabled(self) -> bool:
        """Whether there is Kafka at all."""
        return self.bootstrap_servers is not None

    @property
    def intake_topics(self) -> tuple[str, ...]:
        """Every topic that submissions are read from, each once."""
        return tuple(dict.fromkeys((self.names.submit, *(binding.topic for binding in self.intake))))


def _listed(names: set[str]) -> str:
    return " and ".join(f"`{name}`" for name in sorted(names))
