"""The section on what is fetched from addresses in requests."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from adapters.documents.shapes import Part
from adapters.media.limits import MIB, MediaLimits
from service.settings.parts import PositiveSeconds

_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def _host(value: str) -> str:
    name = value.lower().rstrip(".")
    if _HOST.fullmatch(name) is None:
        raise ValueError(
            f"must be a host such as images.example.com, or *.example.com for all below, got '{value}'"
        )
    return name


HostPattern = Annotated[str, AfterValidator(_host)]
FetchPort = Annotated[int, Field(ge=1, le=65535)]


class MediaSettings(Part):
    """What is fetched from addresses in requests, for keys and owners with `fetch_media`."""

    max_bytes: int = Field(
        default=20 * MIB, ge=1024, le=256 * MIB, description="Largest image or file that is fetched, in bytes."
    )
    max_call_bytes: int = Field(
        default=50 * MIB, ge=1024, le=1024 * MIB, description="What is fetched for one call, at most, in bytes."
    )
    max_held_bytes: int = Field(
        default=256 * MIB,
        ge=1024,
        description="What one process holds of fetched bytes, for all calls under way; in memory each takes three "
        "to four times as much. A call that would need more fails with NO_ENDPOINT_AVAILABLE.",
    )
    max_count: int = Field(default=50, ge=1, le=1000, description="Addresses in one call, at most.")
    seconds: PositiveSeconds = Field(
        default=10.0, description="Until one is here, redirects and look-ups of names included; seconds."
    )
    parallel: int = Field(default=4, ge=1, le=64, description="Fetches of one call at a time.")
    allow_http: bool = Field(default=False, description="From addresses without TLS, too.")
    ports: tuple[FetchPort, ...] = Field(default=(443, 80), description="Ports that addresses may have.")
    allowed_hosts: tuple[HostPattern, ...] = Field(
        default=(),
        description="Fetch from these hosts only; *.example.com is all below example.com. Empty: from all public "
        "ones.",
    )

    def limits(self) -> MediaLimits:
        """The same for the fetcher."""
        return MediaLimits(
            max_bytes=self.max_bytes,
            max_call_bytes=self.max_call_bytes,
            max_held_bytes=self.max_held_bytes,
            max_count=self.max_count,
            seconds=self.seconds,
            parallel=self.parallel,
            allow_http=self.allow_http,
            ports=self.ports,
            hosts=self.allowed_hosts,
        )
