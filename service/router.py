"""Chooses endpoints for calls and streams, and keeps the commit point: what a caller saw never changes hands.

No transport and no format of an API; which attempt follows a failure is decided in service/attempts.py.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from service.adapt import Adapted
from service.attempt_spans import AttemptSpans
from service.attempts import Attempts
from service.capacity import Capacity
from service.domain.calls import CallContext, permitted
from service.domain.catalog import Endpoint
from service.domain.cost import last_usage, with_cost
from service.domain.errors import Reason, ServiceError
from service.domain.events import (
    VISIBLE,
    Event,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    Usage,
)
from service.domain.failure import FailureKind, UpstreamError
from service.domain.generation import Generation
from service.domain.money import Cost
from service.domain.plan import no_endpoint_error, plan
from service.domain.ports import EventSource, Health, MediaFetcher, Telemetry, Upstream
from service.domain.routing import Decision, Needs, Plan
from service.domain.selection import Selection
from service.inline import Fitting
from service.patience import RouterSettings

__all__ = ["Answer", "Router", "RouterSettings", "Run"]

_VISIBLE: Final = frozenset(VISIBLE)
_MAYBE_EMPTY: Final = (TextDelta, RefusalDelta, ReasoningDelta)
# Usage comes in one of a stream's last reads; keeping these saves a look at every event.
_TAIL: Final = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, how it was chosen, by whom it was given, and what it costs where its usage is known."""

    events: Sequence[Event]
    decision: Decision
    endpoint: Endpoint
    cost: Cost | None = None


class Router:
    """Plans calls and runs them. One per process; safe for any number of calls at a time on one loop.

    `capacity` counts the calls at endpoints that declare how many they bear: tell it of new catalogues, and
    of settings with another `background_share`. Without `media` no call's principal may have `fetch_media`.
    """

    def __init__(
        self,
        upstream: Upstream,
        health: Health,
        telemetry: Telemetry,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        settings: Callable[[], RouterSettings] = RouterSettings,
        media: MediaFetcher | None = None,
    ) -> None:
        self._upstream = upstream
        self._health = health
        self._telemetry = telemetry
        self._clock = clock
        self._sleep = sleep
        self._settings = settings
        self._media = media
        self.capacity = Capacity(telemetry, lambda: settings().background_share)

    def plan(self, needs: Needs, selection: Selection, owner: str) -> Plan:
        """What a call would do now. Possibly without attempts; nothing is raised."""
        limit = self._settings().max_attempts
        return self._plan(needs, selection, owner, limit, self._clock())

    async def call(
        self, generation: Generation, needs: Needs, selection: Selection, context: CallContext
    ) -> Answer:
        """A whole answer.

        Raises:
            ServiceError: no endpoint may or can serve, all attempts failed, or the deadline passed.
        """
        attempts, upstream = self._attempts(generation, needs, selection, context)
        left = self._left(context)

        async def whole(endpoint: Endpoint, asked: Adapted) -> Sequence[Event]:
            await asked.ready(left)
            return await asked.whole(await upstream.call(endpoint, asked.generation, context), left)

        try:
            events = await attempts.run(whole)
            events, used = with_cost(events, attempts.current.endpoint.price, attempts.adapted.generation)
            attempts.succeeded(None, used)
        finally:
            attempts.release()
        cost = used.cost if used is not None else None
        return Answer(events, attempts.decision, attempts.current.endpoint, cost)

    def open(self, generation: Generation, needs: Needs, selection: Selection, context: CallContext) -> Run:
        """A streamed answer; nothing is sent before its first `next`.

        Raises:
            ServiceError: no endpoint may or can serve.
        """
        attempts, upstream = self._attempts(generation, needs, selection, context)
        return Run(upstream, attempts, context, self._left(context))

    def _left(self, context: CallContext) -> Callable[[], float]:
        """Tells the seconds until the call's deadline."""
        return lambda: context.deadline - self._clock()

    def _plan(self, needs: Needs, selection: Selection, owner: str, limit: int, now: float) -> Plan:
        return plan(needs, selection.policy, selection.wanted, self._health, now, max_attempts=limit, owner=owner)

    def _attempts(
        self, generation: Generation, needs: Needs, selection: Selection, context: CallContext
    ) -> tuple[Attempts, Upstream]:
        settings = self._settings()
        now = self._clock()
        needs = permitted(needs, context)
        chosen = self._plan(needs, selection, context.principal.owner, settings.max_attempts, now)
        if not chosen.attempts:
            raise no_endpoint_error(chosen, needs, now)
        fitting = Fitting(generation, needs, self._media, context.principal.owner, context.deadline, self._clock)
        upstream, telemetry = self._upstream, self._telemetry
        if context.span is not None:
            upstream = telemetry = AttemptSpans(upstream, telemetry, context, chosen.strategy)
        attempts = Attempts(
            chosen, fitting, context, settings, self._health, telemetry, self.capacity, self._clock, self._sleep
        )
        return attempts, upstream


class Run:
    """One streamed answer: an EventSource that may change endpoints until the first visible event.

    Read it to its empty end or close it. Not safe for concurrent use.
    """

    __slots__ = (
        "_attempts",
        "_broken",
        "_committed",
        "_context",
        "_cost",
        "_head",
        "_left",
        "_over",
        "_source",
        "_tail",
        "_ttft",
        "_upstream",
    )

    def __init__(
        self, upstream: Upstream, attempts: Attempts, context: CallContext, left: Callable[[], float]
    ) -> None:
        self._upstream = upstream
        self._attempts = attempts
        self._context = context
        self._left = left
        self._source: EventSource | None = None
        self._committed = False
        self._over = False
        self._broken: ServiceError | None = None
        self._ttft: float | None = None
        self._cost: Cost | None = None
        self._head: Sequence[Event] = ()
        self._tail: deque[Sequence[Event]] = deque(maxlen=_TAIL)

    @property
    def decision(self) -> Decision:
        """Of the attempt now running, or of the one that answered."""
        return self._attempts.decision

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of `decision`."""
        return self._attempts.current.endpoint

    @property
    def committed(self) -> bool:
        """Whether the endpoint is final: something visible came, or the answer ended without."""
        return self._committed

    @property
    def cost(self) -> Cost | None:
        """What the answer costs: known at its clean end, if its usage is."""
        return self._cost

    async def next(self) -> Sequence[Event]:
        """The next events; empty only at the clean end.

        The first batch runs the attempts and holds all events up to the first visible one. The last one is the
        usage again, with what it costs.

        Raises:
            ServiceError: every attempt failed, or the stream broke after something visible came.
        """
        source = self._source
        if self._over or not self._committed or source is None:
            return await self._outside_the_stream()
        try:
            events = await source.next()
        except UpstreamError as error:
            self._over = True
            used = self._attempts.paid(error.usage) or self._usage()
            self._broken = self._attempts.failed_after_commit(error.failure, used)
            await self._close()
            raise self._broken from error
        except asyncio.CancelledError:
            await self._abandon("cancelled")
            raise
        except Exception:
            await self._abandon(FailureKind.UNKNOWN)
            raise
        if not events:
            return self._end()
        self._tail.append(events)
        return events

    async def settle(self, seconds: float) -> None:
        """Lets up to `seconds` pass so that events gather; at once when no stream is running."""
        if self._committed and not self._over and self._source is not None:
            await self._source.settle(seconds)

    async def aclose(self) -> None:
        """Ends the upstream call now, if it is not over. Idempotent."""
        if not self._over and self._committed:
            await self._abandon("cancelled")
        else:
            self._over = True
            self._broken = self._broken or (None if self._committed else _abandoned())
            await self._close()

    async def _outside_the_stream(self) -> Sequence[Event]:
        if self._broken is not None:
            raise self._broken
        if self._over:
            return ()
        try:
            return await self._attempts.run(self._until_visible)
        except ServiceError as error:
            self._over, self._broken = True, error
            raise
        except BaseException:
            self._over, self._broken = True, _abandoned()
            raise
        finally:
            if self._over:
                self._attempts.release()

    async def _until_visible(self, endpoint: Endpoint, asked: Adapted) -> Sequence[Event]:
        """One attempt up to its commit point or its clean end."""
        await asked.ready(self._left)
        source = asked.source(await self._upstream.open(endpoint, asked.generation, self._context), self._left)
        self._source = source
        held: list[Event] = []
        try:
            while events := await source.next():
                held += events
                if any(map(_shows, events)):
                    self._committed = True
                    self._head = held
                    self._ttft = self._attempts.first_token()
                    return held
        except BaseException:
            await source.aclose()
            raise
        self._committed = True
        self._head = held
        return [*held, *self._end()]

    def _end(self) -> Sequence[Event]:
        self._over = True
        used = self._usage()
        self._attempts.succeeded(self._ttft, used)
        self._attempts.release()
        if used is None:
            return ()
        self._cost = used.cost
        return (used,)

    def _usage(self) -> Usage | None:
        """What the provider has said of tokens so far, with what they cost."""
        told = next((u for u in map(last_usage, reversed(self._tail)) if u), None) or last_usage(self._head)
        return self._attempts.paid(told)

    async def _abandon(self, outcome: str) -> None:
        self._over = True
        self._broken = _abandoned()
        self._attempts.ended(outcome, self._usage())
        await self._close()

    async def _close(self) -> None:
        """Ends the upstream call; only then another may have its place."""
        try:
            if self._source is not None:
                await self._source.aclose()
        finally:
            self._attempts.release()


def _abandoned() -> ServiceError:
    return ServiceError(Reason.CANCELLED, "the stream was given up before its end")


def _shows(event: Event) -> bool:
    """Whether a caller can see the event: a delta without text shows nothing yet."""
    if isinstance(event, _MAYBE_EMPTY):
        return bool(event.text)
    return type(event) in _VISIBLE
