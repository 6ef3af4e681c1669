"""The sections of the settings: listeners, limits, logs. `access` has who may call, `storage` what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator
from pydantic.config import JsonDict

from adapters.documents.shapes import INT32_MAX, Part, Region
from service.domain.catalog import Timeouts
from service.domain.preferences import OPEN, Floor

MIB: Final = 1024 * 1024

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


LIVE: Final[JsonDict] = {"live": True}
"""Marks a setting that a reload applies; every other one needs a restart."""


class TlsSettings(Part):
    """Certificates as PEM files, read again when they change. Without `cert` and `key` there is no TLS."""

    cert: Path | None = Field(default=None, description="Our certificate with its chain.")
    key: Path | None = Field(default=None, description="Its private key.")
    client_ca: Path | None = Field(
        default=None, description="Who signs client certificates; with it clients may show one (mutual TLS)."
    )
    require_client_cert: bool = Field(
        default=False, description="Refuse clients without a certificate that client_ca signed."
    )

    @model_validator(mode="after")
    def _complete(self) -> TlsSettings:
        if (self.cert is None) != (self.key is None):
            raise ValueError("needs both `cert` and `key`, or neither")
        if self.client_ca is not None and self.cert is None:
            raise ValueError("client_ca needs `cert` and `key` too")
        if self.require_client_cert and self.client_ca is None:
            raise ValueError("require_client_cert needs `client_ca`: the file of who signs client certificates")
        return self

    @property
    def enabled(self) -> bool:
        """Whether the listener speaks TLS."""
        return self.cert is not None

    @property
    def mutual(self) -> bool:
        """Whether only clients with a certificate get in."""
        return self.require_client_cert


class GrpcSettings(Part):
    """The gRPC listener."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; 0.0.0.0 for all, which needs keys or mutual TLS.",
    )
    port: Port = Field(default=50051, description="Port; 0 takes a free one.")
    max_message_bytes: int = Field(
        default=32 * MIB, ge=1024, le=1024 * MIB, description="Largest message in either direction, in bytes."
    )
    max_concurrent_streams: int = Field(
        default=1000, ge=1, le=1_000_000, description="Calls at a time on one connection."
    )
    max_connection_age_seconds: PositiveSeconds = Field(
        default=1800.0,
        description="After this (give or take 10 %) a client is asked to connect anew, so that load spreads "
        "over new replicas; seconds.",
    )
    max_connection_age_grace_seconds: PositiveSeconds = Field(
        default=3600.0, description="How long calls may go on after that; seconds."
    )
    keepalive_permit_seconds: PositiveSeconds = Field(
        default=10.0, description="How often a client may ping, calls or not; seconds."
    )
    tls: TlsSettings = Field(default_factory=TlsSettings, description="TLS of this listener.")


class HttpSettings(Part):
    """The HTTP listener: the API as OpenAI's SDKs speak it."""

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; 0.0.0.0 for all, which needs keys or mutual TLS.",
    )
    port: Port = Field(default=8080, description="Port; 0 takes a free one.")
    max_body_bytes: int = Field(
        default=32 * MIB, ge=1024, le=1024 * MIB, description="Largest request body, in bytes."
    )
    heartbeat_seconds: PositiveSeconds = Field(
        default=15.0,
        description="An idle event stream gets a comment this often; seconds.",
        json_schema_extra=LIVE,
    )
    tls: TlsSettings = Field(default_factory=TlsSettings, description="TLS of this listener.")


class AdminSettings(Part):
    """Probes and metrics: /livez, /readyz, /startedz, /metrics. It asks for no key and shows no content."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on; in a pod usually 0.0.0.0."
    )
    port: Port = Field(default=9090, description="Port; 0 takes a free one.")


class DeadlinesSettings(Part):
    """How long a call may take."""

    default_seconds: PositiveSeconds = Field(
        default=600.0, description="For calls that name no deadline; seconds."
    )
    max_seconds: PositiveSeconds = Field(default=3600.0, description="For calls that name a longer one; seconds.")

    @model_validator(mode="after")
    def _ordered(self) -> DeadlinesSettings:
        if self.default_seconds > self.max_seconds:
            raise ValueError("default_seconds must not be more than max_seconds")
        return self


class AdmissionSettings(Part):
    """What one process takes at a time; a call beyond it fails with OVERLOADED, and is told to come again."""

    max_calls: int = Field(
        default=3000,
        ge=1,
        le=1_000_000,
        description="Calls under way at both doors, streams that are open included.",
    )
    max_request_bytes: int = Field(
        default=96 * MIB,
        ge=1024,
        description="Bytes of the requests of all calls under way; in memory they take five times as much. A "
        "request that is alone is taken whatever its size, and one of at most 16384 bytes in any case.",
    )


class CoalesceSettings(Part):
    """Merging of small pieces of streams under load."""

    max_window_ms: float = Field(
        default=50.0,
        ge=0,
        le=1000,
        description="Longest time for which pieces are held to be merged; milliseconds. 0 merges only what "
        "already waits. The first piece never waits.",
    )


class RoutingSettings(Part):
    """Limits of the one retry loop."""

    max_attempts: int = Field(default=4, ge=1, le=20, description="Upstream calls for one request, at most.")
    max_retry_wait_seconds: Seconds = Field(
        default=10.0, description="Longest Retry-After of a provider that is waited for; seconds."
    )


class FloorSettings(Part):
    """Filters that hold for everybody (or for one key or owner): ANDed to every request, widened by nothing."""

    data_residency: tuple[Region, ...] = Field(
        default=(), description="Endpoints must process in every one of these regions: eu, eea or a country."
    )
    data_collection: Literal["deny"] | None = Field(
        default=None, description="deny: only endpoints that state that they don't train on the data."
    )
    max_retention_days: int | None = Field(
        default=None,
        ge=0,
        le=INT32_MAX,
        description="Endpoints keep the data at most this many days; 0 is not at all.",
    )
    eu_owned: bool = Field(default=False, description="Only providers whose ultimate parent sits in the EU.")

    def to_domain(self) -> Floor:
        """The same for the router."""
        floor = Floor(
            data_residency=self.data_residency,
            data_collection_deny=self.data_collection == "deny",
            max_retention_days=self.max_retention_days,
            eu_owned=self.eu_owned,
        )
        return OPEN if floor == OPEN else floor


class CatalogSettings(Part):
    """Where the catalogue is. Its file is reloaded by itself."""

    path: Path | None = Field(
        default=None, description="The catalogue file; left out, the one that ships with the service."
    )
    discover_seconds: float = Field(
        default=300.0,
        ge=1,
        description="How often servers with `discover: true` are asked for their models; seconds.",
    )


class LogSettings(Part):
    """Logs go to standard error."""

    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, JSON elsewhere."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is logged.", json_schema_extra=LIVE
    )


class DrainSettings(Part):
    """What happens on SIGTERM, in stages."""

    pause_seconds: Seconds = Field(
        default=3.0, description="Not ready, but still serving, so that balancers notice; seconds."
    )
    finish_seconds: Seconds = Field(
        default=30.0, description="For calls under way, after which they are ended; seconds."
    )


class UpstreamSettings(Part):
    """Calls to providers: the pool, and the time limits of providers without their own."""

    max_connections: int = Field(default=0, ge=0, description="Connections over all providers; 0 is no limit.")
    max_connections_per_host: int = Field(
        default=0, ge=0, description="Connections to one provider; 0 is no limit."
    )
    keepalive_seconds: Seconds = Field(default=30.0, description="How long an idle connection is kept; seconds.")
    max_answer_bytes: int = Field(
        default=64 * MIB, ge=1024, description="Largest answer that is not streamed, in bytes."
    )
    # What is stored of an answer is held until its end, at eight times its text then. Tokens that come one by one
    # take some 300 bytes each: 200,000 of them fit.
    max_stream_bytes: int = Field(
        default=64 * MIB,
        ge=1024,
        description="Largest streamed answer, in bytes as the provider sends it; one that grows larger ends "
        "there, as a broken one does.",
    )
    ca_file: Path | None = Field(
        default=None, description="A PEM file of authorities to trust in place of the usual ones."
    )
    connect_seconds: PositiveSeconds = Field(default=5.0, description="Until connected; seconds.")
    first_byte_seconds: PositiveSeconds = Field(
        default=60.0, description="From the request's end to the answer's first byte; seconds."
    )
    idle_seconds: PositiveSeconds = Field(default=60.0, description="Between two reads of an answer; seconds.")
    total_seconds: PositiveSeconds = Field(default=600.0, description="The whole call; seconds.")

    def timeouts(self) -> Timeouts:
        """The time limits for the catalogue's rows."""
        return Timeouts(self.connect_seconds, self.first_byte_seconds, self.idle_seconds, self.total_seconds)
