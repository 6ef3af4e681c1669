"""What both doors do with a call before an API sees it: who calls, under which ids, until when.

Works on plain strings: the transports hand in what they read from metadata or headers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import getrandbits
from typing import Final
from urllib.parse import urlsplit

from service.domain.calls import CallContext, Principal
from service.domain.errors import Reason, ServiceError, invalid
from service.domain.ports import Keys
from service.domain.routing import STRUCTURED_OUTPUT
from service.domain.tracing import TRACEPARENT, TRACESTATE, remote_of, traceparent_of

REQUEST_ID = "x-request-id"
_REQUEST_ID_FORM = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}\Z")


ANYBODY: Final = Principal(owner="")
"""Who calls a public method: nobody was asked."""


@dataclass(frozen=True, slots=True)
class DeadlineLimits:
    """Seconds that a call may take: when it names no deadline, and at most."""

    default: float = 600.0
    maximum: float = 3600.0


def request_id_of(headers: Mapping[str, str]) -> str:
    """The caller's request id when it is well formed (1 to 128 visible characters), otherwise a new one."""
    given = headers.get(REQUEST_ID)
    if given is not None and _REQUEST_ID_FORM.match(given):
        return given
    return f"{getrandbits(128):032x}"


def trace_of(headers: Mapping[str, str]) -> tuple[str, str]:
    """`traceparent` with a span id of ours in the caller's trace (or a new trace), and its `tracestate`.

    A malformed traceparent starts a new trace and drops the tracestate, as the specification demands.
    """
    given = headers.get(TRACEPARENT)
    caller = remote_of(given, headers.get(TRACESTATE)) if given else None
    if caller is None:
        return f"00-{getrandbits(127) + 1:032x}-{getrandbits(63) + 1:016x}-00", ""
    return traceparent_of(caller.trace_id, f"{getrandbits(63) + 1:016x}", caller.flags), caller.tracestate


def takes_emulated(headers: Mapping[str, str]) -> bool:
    """Whether the caller takes an answer whose form was emulated: `x-structured-output: emulate`.

    Raises:
        ServiceError: INVALID_REQUEST for any other word.
    """
    given = headers.get(STRUCTURED_OUTPUT)
    if given is None:
        return False
    if given.strip().lower() != "emulate":
        raise invalid(STRUCTURED_OUTPUT, f"must be emulate or left out; got {given[:20]!r}")
    return True


def presented_key(headers: Mapping[str, str]) -> str | None:
    """The API key that came with the call: `authorization: Bearer …` or `x-api-key`; None without one."""
    authorization = headers.get("authorization")
    if authorization:
        scheme, _, value = authorization.partition(" ")
        return value.strip() if scheme.lower() == "bearer" else authorization
    return headers.get("x-api-key") or None


def is_foreign_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser sent the call for a web page that does not come from this machine.

    Browsers name the page's origin on every POST, whatever its content type, and pages can't change it. A page
    whose name was rebound to our address still names itself. Apps and extensions have schemes of their own.
    """
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        parts = urlsplit(origin)
        host = parts.hostname or ""
    except ValueError:
        return True
    if parts.scheme not in ("http", "https"):
        return not parts.scheme
    if host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


@dataclass(frozen=True, slots=True)
class Calls:
    """Makes a CallContext of what a transport read.

    `by_certificate` maps the names of a verified client certificate to its owner, None when none fits.
    `limits` is asked for every call, so that a reload counts.
    """

    keys: Keys
    limits: Callable[[], DeadlineLimits]
    clock: Callable[[], float]
    by_certificate: Callable[[Sequence[str]], Principal | None] = lambda _names: None

    def context(
        self,
        headers: Mapping[str, str],
        request_id: str,
        door: str,
        *,
        remaining: float | None = None,
        certificate_names: Sequence[str] = (),
        public: bool = False,
    ) -> CallContext:
        """One call's context. `remaining` are the seconds that the caller's own deadline leaves.

        For a `public` method nobody is asked who they are.

        Raises:
            ServiceError: INVALID_KEY, PERMISSION_DENIED for a web page that was let in without a key, or
                INVALID_REQUEST.
        """
        limits = self.limits()
        seconds = limits.default if remaining is None else min(remaining, limits.maximum)
        traceparent, tracestate = trace_of(headers)
        return CallContext(
            principal=ANYBODY if public else self._principal(headers, certificate_names),
            request_id=request_id,
            deadline=self.clock() + seconds,
            traceparent=traceparent,
            tracestate=tracestate,
            door=door,
            emulate=takes_emulated(headers),
        )

    def _principal(self, headers: Mapping[str, str], certificate_names: Sequence[str]) -> Principal:
        key = presented_key(headers)
        known = self.by_certificate(certificate_names) if key is None and certificate_names else None
        principal = known or self.keys.authenticate(key)
        # A key is what a page would have to know; being on this machine or holding a certificate is what any
        # page in the browser shares.
        if not principal.key_id and is_foreign_page(headers):
            message = "calls by web pages need an API key: add one to the settings, or call from a program"
            raise ServiceError(Reason.PERMISSION_DENIED, message)
        return principal
