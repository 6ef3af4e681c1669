"""Runs a plan's attempts one after another: the only retry loop. Nothing here knows streams or events.

What failed stays on record; when no attempt is left, it becomes the error that is most useful to the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from service.adapt import Adapted, Adapter
from service.domain.calls import CallContext
from service.domain.catalog import Endpoint
from service.domain.errors import Reason, ServiceError
from service.domain.events import Usage
from service.domain.failure import (
    HARMS_HEALTH,
    OPERATORS_FAULT,
    REASONS,
    TRY_ELSEWHERE,
    Failure,
    FailureKind,
    UpstreamError,
)
from service.domain.generation import Generation
from service.domain.ports import Health, Telemetry
from service.domain.routing import Attempt, Decision, Plan

T = TypeVar("T")

_WAIT_HELPS: Final = frozenset({FailureKind.RATE_LIMITED, FailureKind.OVERLOADED, FailureKind.SERVER_ERROR})
# Timers of event loops may fire some milliseconds early.
_DEADLINE_SLACK: Final = 0.01


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """Limits of one call: attempts in all, and the longest Retry-After that is waited for, in seconds."""

    max_attempts: int = 4
    max_retry_wait: float = 10.0


@dataclass(frozen=True, slots=True)
class Failed:
    """A failed attempt. `refusal` is set when the dialect refused to build the call: nothing was sent."""

    endpoint: Endpoint
    failure: Failure
    refusal: ServiceError | None = None


class Attempts:
    """One call's way through its plan.

    `decision`, `adapted` and `started` belong to the attempt now running, or to the last one; before the
    first attempt `decision` tells the one to come.
    """

    def __init__(
        self,
        plan: Plan,
        generation: Generation,
        context: CallContext,
        settings: RouterSettings,
        health: Health,
        telemetry: Telemetry,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._plan = plan
        self._context = context
        self._settings = settings
        self._health = health
        self._telemetry = telemetry
        self._clock = clock
        self._sleep = sleep
        self._adapter = Adapter(generation)
        self._queue = plan.attempts
        self._position = 0
        self._too_long: list[tuple[Attempt, Adapted]] = []
        self._cut = False
        self._failed: list[Failed] = []
        self._waiting: tuple[float, Attempt] | None = None
        self._waited = False
        self.current = plan.attempts[0]
        self.decision = self._decide(self.current)
        self.adapted = Adapted(generation)
        self.started = 0.0

    async def run(self, attempt: Callable[[Endpoint, Adapted], Awaitable[T]]) -> T:
        """The result of the first attempt that succeeds; each is given its endpoint and what to ask it.

        Raises:
            ServiceError: none did, or time ran out.
        """
        while True:
            adapted = await self._next()
            self.started = self._clock()
            if self.started >= self._context.deadline:
                raise self._out_of_time()
            if self._context.permit is not None:
                self._context.permit()
            endpoint = self.current.endpoint
            try:
                return await attempt(endpoint, adapted)
            except UpstreamError as error:
                late = self._note(error.failure)
                if error.failure.kind is FailureKind.CONTEXT_LENGTH:
                    self._needs_longer(adapted)
                elif error.failure.kind not in TRY_ELSEWHERE:
                    raise late or self._error() from error
                if late is not None:
                    raise late from error
            except ServiceError as refusal:
                if refusal.reason is not Reason.INVALID_REQUEST:
                    self.ended(FailureKind.UNKNOWN)
                    raise
                # This wire format can't take a value; another endpoint's may, and nothing was sent yet.
                self.ended(FailureKind.INVALID_REQUEST)
                failure = Failure(FailureKind.INVALID_REQUEST, refusal.message)
                self._failed.append(Failed(endpoint, failure, refusal))
            except asyncio.CancelledError:
                self.ended("cancelled")
                raise
            except Exception:
                self.ended(FailureKind.UNKNOWN)
                raise

    def failed_after_commit(self, failure: Failure) -> ServiceError:
        """Records a failure after which nothing may fall back any more, and gives its error."""
        return self._note(failure) or self._error(self._failed[-1])

    def first_token(self) -> float:
        """Records the first visible event; seconds since the running attempt began."""
        seconds = self._clock() - self.started
        self._telemetry.first_token(self.current.endpoint, seconds)
        return seconds

    def succeeded(self, ttft: float | None, usage: Usage | None) -> None:
        """Records that the running attempt ended well."""
        endpoint = self.current.endpoint
        tokens = usage.output_tokens if usage is not None else 0
        seconds = self._clock() - self.started
        self._telemetry.attempt(endpoint, "ok", seconds)
        self._health.succeeded(endpoint.id, ttft, tokens, seconds)
        if usage is not None:
            self._telemetry.tokens(endpoint, usage.input_tokens, tokens)

    def ended(self, outcome: str, usage: Usage | None = None) -> None:
        """Counts the running attempt's end otherwise; `outcome` as in Telemetry.attempt, `usage` so far."""
        endpoint = self.current.endpoint
        self._telemetry.attempt(endpoint, outcome, self._clock() - self.started)
        if usage is not None:
            self._telemetry.tokens(endpoint, usage.input_tokens, usage.output_tokens)

    def _decide(self, attempt: Attempt, truncated: tuple[str, ...] = ()) -> Decision:
        provider = attempt.endpoint.provider
        return Decision(
            provider_slug=provider.slug,
            provider_id=provider.id,
            model_used=attempt.model,
            model_variant=attempt.variant,
            strategy=self._plan.strategy,
            fallback_count=len(self._failed),
            model_fallback_count=attempt.model_position,
            ignored=attempt.ignored,
            truncated=truncated,
        )

    def _note(self, failure: Failure) -> ServiceError | None:
        """Puts a failure on record; the error to end with when it was the caller's time that ran out."""
        self.ended(failure.kind)
        now = self._clock()
        endpoint = self.current.endpoint
        self._failed.append(Failed(endpoint, failure))
        self._telemetry.attempt_failed(endpoint, failure.kind, self._context.request_id, len(self._failed))
        if failure.kind is FailureKind.TIMEOUT and now + _DEADLINE_SLACK >= self._context.deadline:
            # The caller's time ran out, not the provider's: short deadlines must not take endpoints down.
            return self._out_of_time()
        if failure.kind in HARMS_HEALTH:
            self._health.failed(endpoint.id, failure.kind, failure.retry_after, now)
        if failure.retry_after is not None and failure.kind in _WAIT_HELPS:
            ready = now + failure.retry_after
            if self._waiting is None or ready < self._waiting[0]:
                self._waiting = (ready, self.current)
        return None

    async def _next(self) -> Adapted:
        """Makes the next attempt current: the plan's, else one of the two that come after it.

        Raises:
            ServiceError: nothing is left to try.
        """
        attempt: Attempt | None = None
        while attempt is None and self._position < len(self._queue) and self._may_try():
            if self._long_enough(self._queue[self._position].endpoint):
                attempt = self._queue[self._position]
            self._position += 1
        attempt = attempt or await self._after_waiting()
        if attempt is not None:
            adapted = self._adapter.fit(attempt.endpoint)
        else:
            attempt, adapted = self._cut_harder()
        if self._failed or adapted.dropped:
            self.decision = self._decide(attempt, adapted.dropped)
        self.current, self.adapted = attempt, adapted
        return adapted

    def _may_try(self) -> bool:
        return len(self._failed) < self._settings.max_attempts

    def _needs_longer(self, adapted: Adapted) -> None:
        """The running attempt's endpoint found the request too long: from here on only longer contexts count.

        The endpoints that the cap on attempts left out take the place of those that are passed over.
        """
        self._too_long.append((self.current, adapted))
        self._queue = self._plan.attempts + self._plan.beyond_cap

    def _long_enough(self, endpoint: Endpoint) -> bool:
        """Whether the request may fit: a context that is not stated can't be told to be longer than another."""
        if not self._too_long:
            return True
        return (endpoint.context_length or 0) > max(_context(attempt) for attempt, _ in self._too_long)

    async def _after_waiting(self) -> Attempt | None:
        """After the last endpoint: waits for the one that named the soonest Retry-After, once per call."""
        if self._waiting is None or self._waited or not self._may_try():
            return None
        ready, attempt = self._waiting
        wait = ready - self._clock()
        fits = wait <= self._settings.max_retry_wait and ready < self._context.deadline
        if not fits or not self._long_enough(attempt.endpoint):
            return None
        self._waited = True
        if wait > 0:
            await self._sleep(wait)
        return attempt

    def _cut_harder(self) -> tuple[Attempt, Adapted]:
        """Last of all: once more the longest context that was too short, with half of what it was sent.

        Raises:
            ServiceError: no context was too short, nothing more may be left out, or it was done before.
        """
        if not self._too_long or self._cut or not self._may_try():
            raise self._error()
        self._cut = True
        attempt, before = max(self._too_long, key=lambda tried: _context(tried[0]))
        adapted = self._adapter.fit(attempt.endpoint, before.tokens // 2)
        if len(adapted.generation.turns) == len(before.generation.turns):
            raise self._error()
        return attempt, adapted

    def _listing(self) -> tuple[tuple[str, str], ...]:
        return tuple((f.endpoint.id, f"{f.failure.kind}: {_words(f.failure)}") for f in self._failed)

    def _out_of_time(self) -> ServiceError:
        tried = f" after {len(self._failed)} failed attempt(s)" if self._failed else ""
        return ServiceError(
            Reason.DEADLINE_EXCEEDED,
            f"the call's deadline passed{tried}",
            endpoints=self._listing(),
            decision=self.decision.headers(),
        )

    def _error(self, chosen: Failed | None = None) -> ServiceError:
        """The error of `chosen`, or of the most useful failure.

        That is the last one which is neither the operator's misconfiguration nor a value that only this
        endpoint's wire format can't take; without such a one the last refused value, which the caller can
        mend; else the last.
        """
        if chosen is None:
            useful = [f for f in self._failed if f.refusal is None and f.failure.kind not in OPERATORS_FAULT]
            refused = [f for f in self._failed if f.refusal is not None]
            chosen = (useful or refused or self._failed)[-1]
        failure, refusal = chosen.failure, chosen.refusal
        reason = refusal.reason if refusal is not None else REASONS[failure.kind]
        message = f"{chosen.endpoint.provider.slug}: {_words(failure)}"
        if len(self._failed) > 1:
            message = f"{message} ({len(self._failed)} attempts failed)"
        waits = [f.failure.retry_after for f in self._failed if f.failure.retry_after is not None]
        error = ServiceError(
            reason,
            message,
            violations=refusal.violations if refusal is not None else (),
            endpoints=self._listing(),
            code=failure.code if reason is Reason.PROVIDER_REJECTED else None,
            param=failure.param if reason is Reason.PROVIDER_REJECTED else None,
            decision=self.decision.headers(),
        )
        if waits and error.spec.retryable:
            error.retry_after = min(waits)
        return error


def _context(attempt: Attempt) -> int:
    return attempt.endpoint.context_length or 0


def _words(failure: Failure) -> str:
    # Providers like to quote the key that they refuse, or parts of it.
    return "refused the operator's credentials" if failure.kind is FailureKind.AUTH else failure.message
