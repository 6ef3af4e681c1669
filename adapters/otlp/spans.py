"""Spans while they run, and who begins them. How they are encoded and sent is for others."""

from __future__ import annotations

from collections.abc import Callable
from random import getrandbits, random
from time import time_ns
from typing import Final

from service.domain.tracing import SAMPLED, Attributes, Kind, Remote, Value, traceparent_of

_MOST_EVENTS: Final = 32
_LONGEST: Final = 1024
"""Characters of a text: a span is told whole or not at all, and nothing may make it large."""


class RecordedSpan:
    """A `tracing.Span`; `offer` gets it once it is over."""

    __slots__ = (
        "_offer",
        "attributes",
        "ended",
        "events",
        "fault",
        "kind",
        "link",
        "name",
        "parent_id",
        "parent_is_remote",
        "span_id",
        "started",
        "trace_id",
        "tracestate",
    )

    def __init__(
        self,
        offer: Callable[[RecordedSpan], None],
        name: str,
        kind: Kind,
        attributes: Attributes,
        trace_id: str,
        parent_id: str,
        tracestate: str,
        started: int,
    ) -> None:
        self._offer = offer
        self.name = name
        self.kind = kind
        self.attributes: dict[str, Value] = dict(attributes)
        for key, given in attributes.items():
            if type(given) is str and len(given) > _LONGEST:
                self.attributes[key] = given[:_LONGEST]
        self.trace_id = trace_id
        self.span_id = f"{getrandbits(63) + 1:016x}"
        self.parent_id = parent_id
        self.parent_is_remote = False
        self.tracestate = tracestate
        self.link: Remote | None = None
        self.events: list[tuple[int, str]] = []
        self.fault = False
        self.started = started
        self.ended = 0

    @property
    def traceparent(self) -> str:
        """The header that makes this span a parent elsewhere."""
        return traceparent_of(self.trace_id, self.span_id, SAMPLED)

    def child(self, name: str, kind: Kind, attributes: Attributes) -> RecordedSpan:
        """Begins a span below this one."""
        return RecordedSpan(
            self._offer, name, kind, attributes, self.trace_id, self.span_id, self.tracestate, time_ns()
        )

    def set(self, name: str, value: Value) -> None:
        """Sets an attribute; the last value counts, and none after `end`."""
        if not self.ended:
            self.attributes[name] = value[:_LONGEST] if isinstance(value, str) else value

    def event(self, name: str) -> None:
        """Something happened now; of very many the first are kept."""
        if not self.ended and len(self.events) < _MOST_EVENTS:
            self.events.append((time_ns(), name))

    def fail(self, error_type: str, *, fault: bool = True) -> None:
        """What it describes failed."""
        self.set("error.type", error_type)
        self.fault = fault

    def end(self) -> None:
        """It is over. The clock may have been set back meanwhile: no span ends before it began."""
        if not self.ended:
            self.ended = max(time_ns(), self.started)
            self._offer(self)


class OtlpTracer:
    """A `tracing.Tracer`; `offer` takes spans that are over, from any thread, and never waits.

    What says nothing of itself is recorded in `ratio` of all cases. `trust`: whether a caller's word counts, by
    which it has its call recorded or not.
    """

    def __init__(self, offer: Callable[[RecordedSpan], None], *, ratio: float, trust: bool) -> None:
        self._offer = offer
        self._ratio = ratio
        self._trust = trust

    def samples(self, caller: Remote | None) -> bool:
        """Whether what a caller began is to be recorded."""
        if caller is not None and self._trust:
            return caller.sampled
        # Not by the trace id, as samplers often do it: a caller that is not trusted may choose that, too.
        return random() < self._ratio  # noqa: S311  what is recorded is no secret

    def now(self) -> int:
        """Nanoseconds since 1970."""
        return time_ns()

    def start(
        self,
        name: str,
        kind: Kind,
        attributes: Attributes,
        *,
        parent: Remote | None = None,
        link: Remote | None = None,
        since: int | None = None,
    ) -> RecordedSpan:
        """Begins a span that is recorded."""
        started = time_ns() if since is None else since
        if parent is None:
            trace_id, parent_id, state = f"{getrandbits(127) + 1:032x}", "", ""
        else:
            trace_id, parent_id, state = parent.trace_id, parent.span_id, parent.tracestate
        span = RecordedSpan(self._offer, name, kind, attributes, trace_id, parent_id, state, started)
        span.parent_is_remote = parent is not None
        span.link = link
        return span
