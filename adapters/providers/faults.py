"""The exception table: what the HTTP stack raises, as failures. No retries and no provider's own words here.

Texts name the provider and the setting that decides, never an address, a header or a body: an address may
carry a key, and aiohttp's own texts carry the address.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final, Literal

import aiohttp
import httpx

from service.domain.catalog import Timeouts
from service.domain.failure import Failure, FailureKind

Limit = Literal["connect", "first_byte", "idle", "total", "deadline"]

_LATE: Final[dict[Limit, str]] = {
    "connect": "no connection to {slug} within {seconds:g} s",
    "first_byte": "{slug} did not begin to answer within {seconds:g} s",
    "idle": "{slug} fell silent in its answer for {seconds:g} s",
    "total": "the answer of {slug} was not complete within {seconds:g} s",
}

CLIENT_ERRORS: Final = (
    aiohttp.ClientError,
    OSError,
    ssl.SSLError,
    UnicodeError,
)
"""Everything that a call through the stack may raise besides our own errors (TimeoutError is an OSError).

UnicodeError is what Python's look-up of names raises for a host such as `llm..svc`.
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What limits one call: its provider's timeouts and `due`, on the event loop's clock, with its reason."""

    slug: str
    timeouts: Timeouts
    due: float
    due_to: Literal["total", "deadline"]

    def late(self, limit: Limit) -> Failure:
        """The failure of a call that ran into `limit`."""
        if limit == "deadline":
            text = f"{self.slug} had not answered completely when the call's deadline passed"
        else:
            seconds = getattr(self.timeouts, limit)
            text = _LATE[limit].format(slug=self.slug, seconds=seconds)
            text = f"{text} (timeouts.{limit} of provider {self.slug})"
        return Failure(FailureKind.TIMEOUT, text)


_BEFORE: Final[tuple[tuple[type[BaseException], FailureKind, str], ...]] = (
    (aiohttp.ClientConnectorCertificateError, FailureKind.CONNECT, "{slug}'s TLS certificate is not trusted"),
    (aiohttp.ClientConnectorSSLError, FailureKind.CONNECT, "the TLS handshake with {slug} failed"),
    (ssl.SSLError, FailureKind.CONNECT, "the TLS handshake with {slug} failed"),
    (aiohttp.ClientConnectorDNSError, FailureKind.CONNECT, "the host name of {slug} does not resolve"),
    (aiohttp.ClientConnectorError, FailureKind.CONNECT, "no connection to {slug}"),
    (aiohttp.ClientResponseError, FailureKind.PROTOCOL, "what {slug} sent is not HTTP"),
    (aiohttp.ClientPayloadError, FailureKind.CUT, "the connection to {slug} broke inside its answer"),
    (aiohttp.InvalidURL, FailureKind.CONNECT, "base_url of provider {slug} is not an http or https address"),
    (aiohttp.NonHttpUrlClientError, FailureKind.CONNECT, "base_url of provider {slug} is not http or https"),
    (httpx.InvalidURL, FailureKind.CONNECT, "base_url of provider {slug} is not an http or https address"),
    (
        UnicodeError,
        FailureKind.CONNECT,
        "the host in base_url of provider {slug} can't be looked up",
    ),
    (aiohttp.ClientConnectionError, FailureKind.CONNECT, "{slug} closed the connection before it answered"),
    (OSError, FailureKind.CONNECT, "{slug} closed the connection before it answered"),
)
"""Before the status line came, in the order of the look-up: the first class that fits decides."""

_INSIDE: Final[tuple[tuple[type[BaseException], FailureKind, str], ...]] = (
    (aiohttp.ClientResponseError, FailureKind.PROTOCOL, "what {slug} sent is not HTTP"),
    (aiohttp.ClientError, FailureKind.CUT, "the connection to {slug} broke inside its answer"),
    (OSError, FailureKind.CUT, "the connection to {slug} broke inside its answer"),
)
"""The same for exceptions while the body was read."""


def failure_of(exc: BaseException, bounds: Bounds, *, answering: bool) -> Failure:
    """What an exception of the HTTP stack means; `answering` is true once the status line was there."""
    if isinstance(exc, aiohttp.ConnectionTimeoutError):
        return bounds.late("connect")
    if isinstance(exc, aiohttp.SocketTimeoutError):
        return bounds.late("idle" if answering else "first_byte")
    for kind_of, kind, text in _INSIDE if answering else _BEFORE:
        if isinstance(exc, kind_of):
            return Failure(kind, text.format(slug=bounds.slug) + _detail(exc))
    return Failure(FailureKind.UNKNOWN, f"the call to {bounds.slug} failed ({type(exc).__name__})")


def _detail(cause: BaseException) -> str:
    """The system's or TLS's own few words, which hold neither addresses nor content."""
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return f": {getattr(cause.certificate_error, 'verify_message', '')}".rstrip(": ")
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return ""
    if isinstance(cause, aiohttp.ClientConnectorError):
        reason = cause.os_error.strerror or type(cause.os_error).__name__
        # asyncio puts the address into some of its texts ("Connect call failed ('10.0.0.1', 443)").
        return f": {reason.partition('(')[0].strip()}"
    return ""
