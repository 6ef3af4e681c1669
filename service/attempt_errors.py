"""What a call's attempts amount to when none succeeded: the error that is most useful to the caller. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.catalog import Endpoint
from service.domain.errors import Reason, ServiceError
from service.domain.failure import OPERATORS_FAULT, REASONS, Failure, FailureKind
from service.domain.routing import Attempt, Decision

BUSY_AGAIN: Final = 1.0
"""Seconds. Nobody can tell when a call will end; whoever comes again waits in line again."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A failed attempt. `refusal` is set when the dialect refused to build the call: nothing was sent.

    `crash` is a bug of ours that ended it.
    """

    endpoint: Endpoint
    failure: Failure
    refusal: ServiceError | None = None
    crash: Exception | None = None


def crashed(endpoint: Endpoint, error: Exception) -> Failed:
    """An attempt that a bug of ours ended. The exception's words stay inside: they may quote the request."""
    text = f"a fault of this service ended the attempt ({type(error).__name__})"
    return Failed(endpoint, Failure(FailureKind.UNKNOWN, text), crash=error)


@dataclass(frozen=True, slots=True)
class Busy:
    """An attempt that was not made, as its endpoint was full; `note` says how full."""

    attempt: Attempt
    note: str


@dataclass(frozen=True, slots=True)
class Unfetched:
    """An attempt that was not made: its endpoint takes bytes only, and what stands at an address can't be had."""

    attempt: Attempt
    error: ServiceError

    @property
    def note(self) -> str:
        """The same for the list of endpoints."""
        return f"not asked: {self.error.message}"


def out_of_time(failed: Sequence[Failed], busy: Sequence[Busy], decision: Decision) -> ServiceError:
    """The caller's deadline passed."""
    tried = f" after {len(failed)} failed attempt(s)" if failed else ""
    return ServiceError(
        Reason.DEADLINE_EXCEEDED,
        f"the call's deadline passed{tried}",
        endpoints=_listing(failed, busy),
        decision=decision.headers(),
    )


def all_busy(failed: Sequence[Failed], busy: Sequence[Busy], decision: Decision) -> ServiceError:
    """All that could be tried yet was full, for as long as one waits."""
    told = "; ".join(f"{each.attempt.endpoint.id} {each.note}" for each in busy[:3])
    more = f" and {len(busy) - 3} more" if len(busy) > 3 else ""
    before = f" ({len(failed)} attempts failed before)" if failed else ""
    return ServiceError(
        Reason.NO_ENDPOINT_AVAILABLE,
        f"no endpoint had room for this call in time: {told}{more}{before}",
        retry_after=BUSY_AGAIN,
        endpoints=_listing(failed, busy),
        decision=decision.headers(),
    )


def most_useful(
    failed: Sequence[Failed], busy: Sequence[Busy], decision: Decision, unfetched: Sequence[Unfetched] = ()
) -> Exception:
    """The error of the most useful failure; `failed` or `unfetched` holds one at least.

    That is the last one which is neither the operator's misconfiguration nor a bug of ours nor a value that only
    this endpoint's wire format can't take; without such a one the last refused value, then the first that could
    not be fetched, both of which the caller can mend; else the last, a bug as it was raised.
    """
    useful = [f for f in failed if not (f.refusal or f.crash or f.failure.kind in OPERATORS_FAULT)]
    refused = [f for f in failed if f.refusal is not None]
    if unfetched and not (useful or refused):
        return unfetched[0].error
    chosen = (useful or refused or failed)[-1]
    return chosen.crash or error_of(chosen, failed, (*busy, *unfetched), decision)


def error_of(
    chosen: Failed, failed: Sequence[Failed], passed: Sequence[Busy | Unfetched], decision: Decision
) -> ServiceError:
    """The error of `chosen`, one of `failed`; `passed` were not asked."""
    failure, refusal = chosen.failure, chosen.refusal
    reason = refusal.reason if refusal is not None else REASONS[failure.kind]
    message = f"{chosen.endpoint.provider.slug}: {_words(failure)}"
    if len(failed) > 1:
        message = f"{message} ({len(failed)} attempts failed)"
    waits = [f.failure.retry_after for f in failed if f.failure.retry_after is not None]
    error = ServiceError(
        reason,
        message,
        violations=refusal.violations if refusal is not None else (),
        endpoints=_listing(failed, passed),
        code=failure.code if reason is Reason.PROVIDER_REJECTED else None,
        param=failure.param if reason is Reason.PROVIDER_REJECTED else None,
        decision=decision.headers(),
    )
    if waits and error.spec.retryable:
        error.retry_after = min(waits)
    return error


def _listing(failed: Sequence[Failed], passed: Sequence[Busy | Unfetched]) -> tuple[tuple[str, str], ...]:
    tried = tuple((f.endpoint.id, f"{f.failure.kind}: {_words(f.failure)}") for f in failed)
    return tried + tuple((each.attempt.endpoint.id, each.note) for each in passed)


def _words(failure: Failure) -> str:
    # Providers like to quote the key that they refuse, or parts of it.
    return "refused the operator's credentials" if failure.kind is FailureKind.AUTH else failure.message
