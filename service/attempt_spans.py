"""The spans of a recorded call's upstream attempts, by the GenAI conventions: who was asked, and what it came to.

Stands between the router and its ports for the calls that are recorded, so that the others pay nothing. No turn,
no tool, no stop sequence and no word of an answer gets into a span.
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from service.domain.calls import CallContext
from service.domain.catalog import Endpoint
from service.domain.events import Event, Finish, Start, Usage
from service.domain.failure import CALLERS_END, FailureKind
from service.domain.generation import Generation
from service.domain.ports import EventSource, Telemetry, Upstream
from service.domain.tracing import Attributes, Kind, Span, Value

FIRST_OUTPUT: Final = "eurouter.first_token"
_LONGEST: Final = 200
"""Characters of what a provider calls itself or its answer: it may say anything."""

_KNOWN: Final = {
    "mistral": "mistral_ai",
    "microsoft-foundry": "azure.ai.openai",
    "aws-bedrock": "aws.bedrock",
    "google": "gcp.gemini",
    "google-vertex": "gcp.vertex_ai",
}
"""Names that the conventions give to providers whose slug is another; all others go by their slug."""


class AttemptSpans:
    """The Upstream and the Telemetry of one recorded call. `strategy` is the plan's; the call has a span."""

    def __init__(self, upstream: Upstream, telemetry: Telemetry, context: CallContext, strategy: str) -> None:
        self._upstream = upstream
        self._telemetry = telemetry
        self._context = context
        self._strategy = strategy
        self._made = 0
        self._span: Span | None = None

    async def call(self, endpoint: Endpoint, generation: Generation, context: CallContext) -> Sequence[Event]:
        """As of Upstream, in a span that `attempt` ends."""
        span, below = self._begin(endpoint, generation, context, stream=False)
        events = await self._upstream.call(endpoint, generation, below)
        _look_at(span, events)
        return events

    async def open(self, endpoint: Endpoint, generation: Generation, context: CallContext) -> EventSource:
        """As of Upstream, in a span that `attempt` ends."""
        span, below = self._begin(endpoint, generation, context, stream=True)
        return _Watched(await self._upstream.open(endpoint, generation, below), span)

    def attempt(self, endpoint: Endpoint, outcome: str, seconds: float) -> None:
        """The attempt ended, and its span with it."""
        self._telemetry.attempt(endpoint, outcome, seconds)
        span, self._span = self._span, None
        if span is not None:
            if outcome != "ok":
                span.fail(str(outcome), fault=outcome not in CALLERS_END)
            span.end()

    def attempt_failed(self, endpoint: Endpoint, kind: FailureKind, request_id: str, number: int) -> None:
        """For the log."""
        self._telemetry.attempt_failed(endpoint, kind, request_id, number)

    def attempt_crashed(self, endpoint: Endpoint, error: Exception, request_id: str, number: int) -> None:
        """For the log."""
        self._telemetry.attempt_crashed(endpoint, error, request_id, number)

    def first_token(self, endpoint: Endpoint, seconds: float) -> None:
        """A stream's first visible event came."""
        self._telemetry.first_token(endpoint, seconds)
        if self._span is not None:
            self._span.event(FIRST_OUTPUT)
            self._span.set("gen_ai.response.time_to_first_chunk", seconds)

    def used(self, endpoint: Endpoint, usage: Usage) -> None:
        """What the attempt used; comes before its end."""
        self._telemetry.used(endpoint, usage)
        if self._span is not None:
            for name, value in _usage(usage).items():
                self._span.set(name, value)

    def endpoint_in_flight(self, endpoint_id: str, calls: int) -> None:
        """For the metrics."""
        self._telemetry.endpoint_in_flight(endpoint_id, calls)

    def passed_over(self, endpoint: Endpoint) -> None:
        """The call found this endpoint full."""
        self._telemetry.passed_over(endpoint)
        if self._context.span is not None:
            self._context.span.event("eurouter.endpoint_full")

    def _begin(
        self, endpoint: Endpoint, generation: Generation, context: CallContext, *, stream: bool
    ) -> tuple[Span, CallContext]:
        above = context.span
        if above is None:
            raise AssertionError("only a recorded call has spans")
        self._made += 1
        attributes: dict[str, Value] = {
            **_asked(endpoint),
            **_parameters(generation),
            "gen_ai.request.stream": stream,
            "eurouter.attempt": self._made,
            "eurouter.strategy": self._strategy,
        }
        span = above.child(f"chat {endpoint.upstream_model}", Kind.CLIENT, attributes)
        self._span = span
        return span, replace(context, span=span, traceparent=span.traceparent, tracestate=span.tracestate)


class _Watched:
    """An EventSource whose stream says in a span which model answers, and how it ended."""

    __slots__ = ("_source", "_span")

    def __init__(self, source: EventSource, span: Span) -> None:
        self._source = source
        self._span = span

    async def next(self) -> Sequence[Event]:
        """The next events."""
        events = await self._source.next()
        _look_at(self._span, events)
        return events

    async def settle(self, seconds: float) -> None:
        """Lets events gather."""
        await self._source.settle(seconds)

    async def aclose(self) -> None:
        """Ends the upstream call."""
        await self._source.aclose()


def _look_at(span: Span, events: Sequence[Event]) -> None:
    reasons = []
    for event in events:
        kind = type(event)
        if kind is Start and isinstance(event, Start):
            span.set("gen_ai.response.model", event.model[:_LONGEST])
            span.set("gen_ai.response.id", event.id[:_LONGEST])
        elif kind is Finish and isinstance(event, Finish):
            reasons.append(event.reason.value)
    if reasons:
        span.set("gen_ai.response.finish_reasons", reasons)


@lru_cache(maxsize=4096)
def address_of(url: str) -> Attributes:
    """`server.address` and `server.port` of an http or https URL; nothing of one that can't be read."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (KeyError, ValueError):
        return {}
    return {"server.address": parts.hostname or "", "server.port": port}


def _asked(endpoint: Endpoint) -> Attributes:
    provider = endpoint.provider
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _KNOWN.get(provider.slug, provider.slug),
        "gen_ai.request.model": endpoint.upstream_model,
        "eurouter.endpoint": endpoint.id,
        **address_of(provider.base_url),
    }


def _parameters(generation: Generation) -> Attributes:
    """The numbers by which a request steers the model; what is not set is not shown."""
    given = {
        "gen_ai.request.max_tokens": generation.max_output_tokens,
        "gen_ai.request.temperature": generation.temperature,
        "gen_ai.request.top_p": generation.top_p,
        "gen_ai.request.frequency_penalty": generation.frequency_penalty,
        "gen_ai.request.presence_penalty": generation.presence_penalty,
        "gen_ai.request.seed": generation.seed,
        "gen_ai.request.choice.count": None if generation.n == 1 else generation.n,
    }
    return {name: value for name, value in given.items() if value is not None}


def _usage(usage: Usage) -> Attributes:
    counted = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    found: dict[str, Value] = {name: value for name, value in counted.items() if value is not None}
    if usage.cost is not None:
        found["eurouter.cost"] = float(usage.cost.amount)
        found["eurouter.cost.currency"] = usage.cost.currency
    return found
