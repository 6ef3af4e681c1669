"""Where traces and metrics are sent by OTLP, if anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from adapters.documents.shapes import Part, SecretReference


def _collector(value: str) -> str:
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    # Never repeats the value: a password may stand in it.
    if not known:
        raise ValueError(
            "must be the URL of a collector that speaks OTLP over HTTP, such as http://collector:4318"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must have no user, query or fragment: name what authenticates under telemetry.headers")
    if parts.path.rstrip("/").endswith(("/v1/traces", "/v1/metrics")):
        raise ValueError("must end before /v1: /v1/traces and /v1/metrics are added")
    return value


class TelemetrySettings(Part):
    """Traces and metrics by OTLP over HTTP. Without `endpoint` nothing is recorded and nothing is sent."""

    endpoint: Annotated[str, AfterValidator(_collector)] | None = Field(
        default=None,
        description="A collector's URL, such as http://collector:4318; /v1/traces and /v1/metrics are added. "
        "OTEL_EXPORTER_* variables are not read; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES are.",
    )
    headers: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")], SecretReference] = Field(
        default={}, description="Headers of every message: the name, and where the value is (env:NAME, file:PATH)."
    )
    ca_file: Path | None = Field(
        default=None, description="A PEM file of authorities to trust in place of the usual ones."
    )
    traces: bool = Field(default=True, description="Send traces.")
    sample_ratio: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="How many of the calls are recorded that say nothing of it themselves: 0.1 is a tenth.",
    )
    trust_parent: bool = Field(
        default=True,
        description="A caller's traceparent decides whether its call is recorded. false: sample_ratio does, for "
        "callers that are not yours.",
    )
    metrics: bool = Field(default=False, description="Send the metrics that /metrics shows, too.")
    interval_seconds: float = Field(
        default=60.0, ge=1, le=3600, description="How often metrics are sent; seconds."
    )
