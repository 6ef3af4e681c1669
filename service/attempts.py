"""Runs a plan's attempts one after another: the only retry loop. Nothing here knows streams or events.

Failed attempts stay on record; when none is left to make, they become the error that is most useful to the caller.
At an endpoint that declares a concurrency, an attempt holds a place until the next attempt begins or `release`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from service.adapt import Adapted
from service.attempt_errors import Busy, Failed, Unfetched, all_busy, crashed, error_of, most_useful, out_of_time
from service.capacity import Capacity
from service.domain.calls import CallContext
from service.domain.catalog import Endpoint
from service.domain.cost import priced
from service.domain.errors import Reason, ServiceError
from service.domain.events import Usage
from service.domain.failure import DEADLINE, HARMS_HEALTH, TRY_ELSEWHERE, Failure, FailureKind, UpstreamError
from service.domain.ports import Health, Telemetry
from service.domain.routing import Attempt, Decision, Plan
from service.inline import Fitting
from service.patience import Patience, RouterSettings
from service.places import Places

T = TypeVar("T")

_WAIT_HELPS: Final = frozenset({FailureKind.RATE_LIMITED, FailureKind.OVERLOADED, FailureKind.SERVER_ERROR})
# What keeps one endpoint from being asked: what stands at an address can't be had, or may not be held now.
_UNFETCHED: Final = frozenset({Reason.INVALID_REQUEST, Reason.NO_ENDPOINT_AVAILABLE})
# Timers of event loops may fire some milliseconds early.
_DEADLINE_SLACK: Final = 0.01


class Attempts:
    """One call's way through its plan.

    `decision`, `adapted` and `started` belong to the attempt now running, or to the last one; before the
    first attempt `decision` tells the one to come.
    """

    def __init__(
        self,
        plan: Plan,
        fitting: Fitting,
        context: CallContext,
        settings: RouterSettings,
        health: Health,
        telemetry: Telemetry,
        capacity: Capacity,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._plan = plan
        self._context = context
        self._settings = settings
        self._health = health
        self._telemetry = telemetry
        self._places = Places(capacity, telemetry, background=context.background)
        self._clock = clock
        self._sleep = sleep
        self._fitting = fitting
        self._queue = plan.attempts
        self._position = 0
        self._too_long: list[tuple[Attempt, Adapted]] = []
        self._cut = False
        self._failed: list[Failed] = []
        self._unfetched: tuple[Unfetched, ...] = ()
        self._patience: Patience | None = None
        self._retry: tuple[float, Attempt] | None = None
        self._retried = False
        self.current = plan.attempts[0]
        self.decision = self._decide(self.current)
        self.adapted = Adapted(fitting.generation)
        self.started = 0.0

    async def run(self, attempt: Callable[[Endpoint, Adapted], Awaitable[T]]) -> T:
        """The result of the first attempt that succeeds; each is given its endpoint and what to ask it.

        However it ends: `release` when what the attempt began is over.

        Raises:
            ServiceError: none did, or time ran out. What else was raised in the last, where no failure says more.
        """
        while True:
            adapted = await self._next()
            self.started = self._clock()
            if self.started >= self._context.deadline:
                raise out_of_time(self._failed, self._places.busy, self.decision)
            if self._context.permit is not None:
                self._context.permit()
            endpoint = self.current.endpoint
            try:
                return await attempt(endpoint, adapted)
            except UpstreamError as error:
                late = self._note(error.failure, self.paid(error.usage))
                if error.failure.kind is FailureKind.CONTEXT_LENGTH:
                    self._needs_longer(adapted)
                elif error.failure.kind not in TRY_ELSEWHERE:
                    raise late or most_useful(self._failed, self._places.busy, self.decision) from error
                if late is not None:
                    raise late from error
            except ServiceError as error:
                refusal = adapted.reworded(error)
                if refusal.reason is not Reason.INVALID_REQUEST:
                    self.ended(FailureKind.UNKNOWN)
                    raise
                # This endpoint's wire format can't take a value; another endpoint's may, and nothing was sent yet.
                self.ended(FailureKind.INVALID_REQUEST)
                failure = Failure(FailureKind.INVALID_REQUEST, refusal.message)
                self._failed.append(Failed(endpoint, failure, refusal))
            except asyncio.CancelledError:
                self.ended("cancelled")
                raise
            except Exception as error:  # noqa: BLE001  the next endpoint's dialect or address may not have the bug
                self._crashed(error)

    def failed_after_commit(self, failure: Failure, usage: Usage | None) -> ServiceError:
        """Records a failure after which nothing may fall back any more, and gives its error; `usage` so far."""
        late = self._note(failure, usage)
        return late or error_of(self._failed[-1], self._failed, self._places.busy, self.decision)

    def paid(self, usage: Usage | None) -> Usage | None:
        """What the running attempt used, with what it costs."""
        return usage and priced(usage, self.current.endpoint.price, self.adapted.generation)

    def release(self) -> None:
        """The call is over: gives back the place that its last attempt held, and what was fetched. Idempotent."""
        self._places.leave()
        self._fitting.release()

    def first_token(self) -> float:
        """Records the first visible event; seconds since the running attempt began."""
        seconds = self._clock() - self.started
        self._telemetry.first_token(self.current.endpoint, seconds)
        return seconds

    def succeeded(self, ttft: float | None, usage: Usage | None) -> None:
        """Records that the running attempt ended well."""
        endpoint = self.current.endpoint
        tokens = usage.output_tokens if usage is not None else 0
        self.ended("ok", usage)
        self._health.succeeded(endpoint.id, ttft, tokens, self._clock() - self.started)

    def ended(self, outcome: str, usage: Usage | None = None) -> None:
        """Counts the running attempt's end otherwise; `outcome` as in Telemetry.attempt, `usage` so far."""
        endpoint = self.current.endpoint
        if usage is not None:
            self._telemetry.used(endpoint, usage)
        self._telemetry.attempt(endpoint, outcome, self._clock() - self.started)

    def _decide(self, attempt: Attempt, truncated: tuple[str, ...] = ()) -> Decision:
        return attempt.decision(self._plan.strategy, len(self._failed), truncated)

    def _note(self, failure: Failure, usage: Usage | None = None) -> ServiceError | None:
        """Puts a failure on record; the error to end with when it was the caller's time that ran out."""
        now, endpoint = self._clock(), self.current.endpoint
        late = failure.kind is FailureKind.TIMEOUT and now + _DEADLINE_SLACK >= self._context.deadline
        self.ended(DEADLINE if late else failure.kind, usage)
        self._failed.append(Failed(endpoint, failure))
        self._telemetry.attempt_failed(endpoint, failure.kind, self._context.request_id, len(self._failed))
        if late:
            # The caller's time ran out, not the provider's: short deadlines must not take endpoints down.
            return out_of_time(self._failed, self._places.busy, self.decision)
        if failure.kind in HARMS_HEALTH:
            self._health.failed(endpoint.id, failure.kind, failure.retry_after, now)
        if failure.retry_after is not None and failure.kind in _WAIT_HELPS:
            ready = now + failure.retry_after
            if self._retry is None or ready < self._retry[0]:
                self._retry = (ready, self.current)
        return None

    async def _next(self) -> Adapted:
        """Makes the next attempt current: one of the plan, else of those passed over, else a second one.

        Raises:
            ServiceError: nothing is left to try.
        """
        self._places.leave()
        attempt = await self._planned()
        if attempt is None and self._places.busy:
            attempt = await self._first_with_room()
        attempt = attempt or await self._after_waiting()
        if attempt is not None:
            adapted = self._fitting.fit(attempt.endpoint)
        else:
            attempt, adapted = self._cut_harder()
        if self._places.lacks(attempt):
            # A second attempt at an endpoint: the place of the first was given back, perhaps to another call.
            await self._return_to(attempt)
        if attempt is not self._plan.attempts[0] or self._failed or adapted.dropped:
            self.decision = self._decide(attempt, adapted.dropped)
        self.current, self.adapted = attempt, adapted
        return adapted

    async def _planned(self) -> Attempt | None:
        """The plan's next attempt that can be made now; it holds the place that its endpoint asks for."""
        while self._position < len(self._queue) and self._may_try():
            attempt = self._queue[self._position]
            self._position += 1
            if not self._long_enough(attempt.endpoint):
                continue
            # Fetched before a place is taken: a slow host of somebody else's must not hold one.
            if self._places.free(attempt) and await self._fetched(attempt) and self._places.enter(attempt):
                return attempt
            # An endpoint that the cap on attempts left out of the plan takes the place of the one passed over.
            self._queue = self._plan.attempts + self._plan.beyond_cap
        return None

    async def _fetched(self, attempt: Attempt) -> bool:
        """Whether all is here that its endpoint must be sent; what can't be had is no failed attempt.

        Raises:
            ServiceError: the call's time ran out.
        """
        try:
            await self._fitting.prepare(attempt.endpoint)
        except ServiceError as error:
            if error.reason not in _UNFETCHED:
                raise
            self._unfetched += (Unfetched(attempt, error),)
            return False
        return True

    async def _first_with_room(self) -> Attempt | None:
        """Of the attempts passed over, the first whose endpoint has a place free; None: there was none in time."""
        waited_for: list[Attempt] = []
        for busy in self._still_busy():
            if await self._fetched(busy.attempt):
                waited_for.append(busy.attempt)
            else:
                self._places.drop(busy.attempt)
        if not waited_for:
            return None
        until = self._waits().place_until(self._clock())
        if second := self._second_attempt():
            # Once its Retry-After is over, that endpoint is asked, even if all full ones still are.
            until = min(until, second[0])
        return await self._places.wait(waited_for, until - self._clock())

    async def _return_to(self, attempt: Attempt) -> None:
        """Waits for a place at this attempt's endpoint alone.

        Raises:
            ServiceError: there was none in time.
        """
        until = self._waits().place_until(self._clock())
        if await self._places.wait([attempt], until - self._clock()) is None:
            self._places.pass_over(attempt)
            raise all_busy(self._failed, self._places.busy, self.decision)

    def _still_busy(self) -> tuple[Busy, ...]:
        """Of the attempts passed over, those that may yet be made."""
        if not self._places.busy or not self._may_try():
            return ()
        return tuple(each for each in self._places.busy if self._long_enough(each.attempt.endpoint))

    def _waits(self) -> Patience:
        if self._patience is None:
            self._patience = Patience(self._context, self._settings, self._clock())
        return self._patience

    def _may_try(self) -> bool:
        return len(self._failed) < self._settings.max_attempts

    def _crashed(self, error: Exception) -> None:
        """Puts a bug of ours on record; what `permit` raised inside the attempt is none, and is raised again."""
        self.ended(FailureKind.UNKNOWN)
        if self._context.permit is not None:
            self._context.permit()
        self._failed.append(crashed(self.current.endpoint, error))
        # No cool-down: a request that trips over a bug everywhere would take all endpoints away from everybody.
        self._telemetry.attempt_crashed(self.current.endpoint, error, self._context.request_id, len(self._failed))

    def _needs_longer(self, adapted: Adapted) -> None:
        """The running attempt's endpoint found the request too long: only endpoints with longer contexts are left.

        Endpoints that the cap on attempts left out of the plan take the place of those with shorter ones.
        """
        self._too_long.append((self.current, adapted))
        self._queue = self._plan.attempts + self._plan.beyond_cap

    def _long_enough(self, endpoint: Endpoint) -> bool:
        """Whether the request may fit the endpoint's context: one that is not stated counts as the shortest."""
        shorter = [tried.endpoint.context_length or 0 for tried, _ in self._too_long]
        return not shorter or (endpoint.context_length or 0) > max(shorter)

    def _second_attempt(self) -> tuple[float, Attempt] | None:
        """When the soonest Retry-After is over, and the attempt to make again then; None when the call may not.

        It may once, if it waits for so long and the request may fit that endpoint.
        """
        if self._retry is None or self._retried or not self._may_try():
            return None
        ready, attempt = self._retry
        in_time = ready <= self._waits().until and ready < self._context.deadline
        return self._retry if in_time and self._long_enough(attempt.endpoint) else None

    async def _after_waiting(self) -> Attempt | None:
        """The second attempt, when its endpoint's Retry-After is over; None when there is none to make."""
        second = self._second_attempt()
        if second is None:
            return None
        ready, attempt = second
        self._retried = True
        if (wait := ready - self._clock()) > 0:
            await self._sleep(wait)
        return attempt

    def _cut_harder(self) -> tuple[Attempt, Adapted]:
        """Last of all: again the longest of the contexts that were too short, with half of what it was sent.

        Raises:
            ServiceError: no context was too short, nothing more may be left out, or it was done before.
        """
        if not self._too_long or self._cut or not self._may_try():
            raise self._nothing_left()
        self._cut = True
        attempt, before = max(self._too_long, key=lambda tried: tried[0].endpoint.context_length or 0)
        adapted = self._fitting.fit(attempt.endpoint, before.tokens // 2)
        if len(adapted.generation.turns) == len(before.generation.turns):
            raise self._nothing_left()
        return attempt, adapted

    def _nothing_left(self) -> Exception:
        if busy := self._still_busy():
            return all_busy(self._failed, busy, self.decision)
        return most_useful(self._failed, self._places.busy, self.decision, self._unfetched)
