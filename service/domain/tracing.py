"""Spans: what the inside tells of a call while it runs, and the W3C headers by which traces go on elsewhere.

Who records them is an adapter. No content of requests or answers, no key and no caller's text belongs into a
span, but for the request id that it chose: names and values come from our own tables, from the catalogue and from
counters. Names that OpenTelemetry's semantic conventions define are theirs (version 1.44; `gen_ai.` by
https://github.com/open-telemetry/semantic-conventions-genai); all others begin with `eurouter.`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol, TypeAlias

from service.domain.errors import ERRORS, Reason

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
SAMPLED: Final = 0x01
"""The flag of a traceparent by which its span is recorded."""

# https://www.w3.org/TR/trace-context/#traceparent-header: version ff is forbidden, ids of zeros are invalid,
# and only versions after 00 may have more fields at their end. A comma joins two headers, of which none counts.
_TRACEPARENT_FORM: Final = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(?:-[^,]*)?\Z"
)
# Flags that nobody has defined yet must not be passed on.
_KNOWN_FLAGS: Final = 0x03
_MAX_TRACESTATE: Final = 512

# Below 500 is no error of a server: https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status.
_FAULTS: Final = frozenset(
    reason for reason, spec in ERRORS.items() if spec.fault in ("us", "provider") and spec.http >= 500
)

Value: TypeAlias = str | bool | int | float | Sequence[str]
Attributes: TypeAlias = Mapping[str, Value]


class Kind(IntEnum):
    """What a span is of; the numbers are OTLP's (opentelemetry/proto/trace/v1/trace.proto, SpanKind)."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass(frozen=True, slots=True)
class Remote:
    """A span that another process, or an earlier call, has told by its headers. Ids are hexadecimal."""

    trace_id: str
    span_id: str
    flags: int = 0
    tracestate: str = ""

    @property
    def sampled(self) -> bool:
        """Whether whoever made it records it."""
        return bool(self.flags & SAMPLED)


def remote_of(traceparent: str | None, tracestate: str | None = None) -> Remote | None:
    """The span that two headers name; None for a malformed traceparent, whose tracestate counts for nothing."""
    match = _TRACEPARENT_FORM.match(traceparent) if traceparent else None
    if match is None:
        return None
    return Remote(match[1], match[2], int(match[3], 16) & _KNOWN_FLAGS, _tracestate(tracestate or ""))


def traceparent_of(trace_id: str, span_id: str, flags: int) -> str:
    """The header that names a span."""
    return f"00-{trace_id}-{span_id}-{flags:02x}"


def unsampled(traceparent: str) -> str:
    """The same header, by which nothing is recorded; a malformed one as it is."""
    own = remote_of(traceparent)
    return traceparent if own is None else traceparent_of(own.trace_id, own.span_id, own.flags & ~SAMPLED)


def _tracestate(given: str) -> str:
    """At most 512 characters of whole entries; nothing when it could not stand in a header again.

    https://www.w3.org/TR/trace-context/#tracestate-limits.
    """
    if not (given.isascii() and given.isprintable()):
        return ""
    return given if len(given) <= _MAX_TRACESTATE else given[: _MAX_TRACESTATE + 1].rpartition(",")[0]


def is_fault(reason: Reason) -> bool:
    """Whether what failed for this reason is an error in its span, at every door and in every run of a job alike.

    It is one if the operator or a provider has to mend it; not if the caller has, if a policy wanted it so, or if
    a provider asked for time, which no conventions call an error of a server.
    """
    return reason in _FAULTS


class Span(Protocol):
    """One recorded span, from its start to `end`. For the thread that began it; nothing here waits or raises."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        ...

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        ...

    @property
    def traceparent(self) -> str:
        """The header that makes this span a parent elsewhere."""
        ...

    @property
    def tracestate(self) -> str:
        """What goes with it, "" for nothing."""
        ...

    def child(self, name: str, kind: Kind, attributes: Attributes) -> Span:
        """Begins a span below this one."""
        ...

    def set(self, name: str, value: Value) -> None:
        """Sets an attribute; the last value counts, and none after `end`."""
        ...

    def event(self, name: str) -> None:
        """Something happened now."""
        ...

    def fail(self, error_type: str, *, fault: bool = True) -> None:
        """What it describes failed: `error.type`, one of few words. `fault`: it is this side's, an error in the
        eyes of whoever looks for what to mend.
        """
        ...

    def end(self) -> None:
        """It is over; only now it is told. Idempotent."""
        ...


class Tracer(Protocol):
    """Begins spans that have no parent in this process."""

    def samples(self, caller: Remote | None) -> bool:
        """Whether what a caller began is to be recorded; None: it says nothing."""
        ...

    def now(self) -> int:
        """Nanoseconds since 1970, for `since`."""
        ...

    def start(
        self,
        name: str,
        kind: Kind,
        attributes: Attributes,
        *,
        parent: Remote | None = None,
        link: Remote | None = None,
        since: int | None = None,
    ) -> Span:
        """Begins a span that is recorded: below `parent`, else in a new trace, that points to `link`.

        `since`: it began then.
        """
        ...


current: Final[ContextVar[Span | None]] = ContextVar("span", default=None)
"""The recorded span that the running task works for, so that its log lines can name it. Nothing else reads it."""
