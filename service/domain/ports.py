"""What the inside needs of the outside. Adapters implement these; the router and the APIs use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service.domain.calls import CallContext, Principal
from service.domain.catalog import Catalog, Endpoint
from service.domain.events import Event, Usage
from service.domain.failure import FailureKind
from service.domain.generation import Generation
from service.domain.media import FetchedMedia, Wanted
from service.domain.routing import HealthView


class EventSource(Protocol):
    """A stream of events in batches, one per network read. Not safe for concurrent use."""

    async def next(self) -> Sequence[Event]:
        """The next events; empty only at the clean end.

        Raises:
            UpstreamError: the stream failed or was cut; nothing may be read after it.
        """
        ...

    async def settle(self, seconds: float) -> None:
        """Lets up to `seconds` pass so that events gather for one batch; returns early at the stream's end."""
        ...

    async def aclose(self) -> None:
        """Ends the upstream call now, if it is not over. Idempotent."""
        ...


class Upstream(Protocol):
    """Calls endpoints. One call is one HTTP exchange: nothing here retries."""

    async def call(self, endpoint: Endpoint, generation: Generation, context: CallContext) -> Sequence[Event]:
        """A whole answer, as events.

        Raises:
            UpstreamError: anything that went wrong.
        """
        ...

    async def open(self, endpoint: Endpoint, generation: Generation, context: CallContext) -> EventSource:
        """A streamed answer; returns when the provider's status and headers are there.

        Raises:
            UpstreamError: anything that went wrong so far.
        """
        ...


class Health(HealthView, Protocol):
    """Learns from outcomes."""

    def succeeded(self, endpoint_id: str, ttft: float | None, tokens: int, seconds: float) -> None:
        """A call ended well: seconds to the first token (None for whole answers), tokens generated, duration."""
        ...

    def failed(self, endpoint_id: str, kind: FailureKind, retry_after: float | None, now: float) -> None:
        """A call failed in a way that counts against the endpoint: starts or grows its cool-down."""
        ...


class CatalogSource(Protocol):
    """Where the catalogue comes from."""

    def current(self) -> Catalog:
        """The catalogue in force. Cheap; may differ from call to call."""
        ...


class Keys(Protocol):
    """Who holds which key."""

    def authenticate(self, presented: str | None) -> Principal:
        """Who presents this key (without "Bearer "), None when no key came.

        Raises:
            ServiceError: INVALID_KEY.
        """
        ...


class MediaFetcher(Protocol):
    """Fetches media that stand elsewhere, for endpoints that take bytes only."""

    async def fetch(self, wanted: Sequence[Wanted], seconds: float, owner: str) -> Sequence[FetchedMedia]:
        """What stands at each of the addresses, in their order; `seconds` is the most that the call has left.

        `owner` is whom the call is for: none has more than a part of what is fetched at a time.

        Raises:
            ServiceError: INVALID_REQUEST that names the path of one that can't be had; NO_ENDPOINT_AVAILABLE
                while calls hold as much as they may together, or fetch as many.
        """
        ...

    def release(self, media: Sequence[FetchedMedia]) -> None:
        """The call that these were fetched for is over: they count no longer."""
        ...


class MediaTelemetry(Protocol):
    """Counts fetches of media; never addresses."""

    def fetched(self, kind: str, outcome: str, size: int, seconds: float) -> None:
        """A fetch ended: `kind` is image or file, `outcome` is ok or why not, `size` the bytes that are used."""
        ...


class Telemetry(Protocol):
    """Counts what happens; never content. Cheap enough for every call."""

    def attempt(self, endpoint: Endpoint, outcome: str, seconds: float) -> None:
        """An upstream attempt ended: `outcome` is ok, of CALLERS_END or a FailureKind's value."""
        ...

    def attempt_failed(self, endpoint: Endpoint, kind: FailureKind, request_id: str, number: int) -> None:
        """The call's `number`-th failed attempt, counted by `attempt` already: for the log."""
        ...

    def attempt_crashed(self, endpoint: Endpoint, error: Exception, request_id: str, number: int) -> None:
        """The same for one that a fault of the service ended; the error's words may quote the request."""
        ...

    def first_token(self, endpoint: Endpoint, seconds: float) -> None:
        """A stream's first visible event came after `seconds`."""
        ...

    def used(self, endpoint: Endpoint, usage: Usage) -> None:
        """What an answer used and costs, or one that was given up until then; told before its attempt's end."""
        ...

    def endpoint_in_flight(self, endpoint_id: str, calls: int) -> None:
        """So many calls are under way at an endpoint that declares how many it bears."""
        ...

    def passed_over(self, endpoint: Endpoint) -> None:
        """A call found this endpoint full and went on to the next, or to wait."""
        ...


class RequestTelemetry(Protocol):
    """Counts what the doors see; never content."""

    def request_offered(self, door: str, method: str, *, asks: bool) -> None:
        """Calls of this method may come; told once, before the first. `asks`: they are passed on to providers."""
        ...

    def request_started(self) -> None:
        """A call was admitted."""
        ...

    def request_finished(self, door: str, method: str, outcome: str, seconds: float) -> None:
        """An admitted call ended: `door` is grpc or http, `outcome` is ok or a Reason's name."""
        ...

    def request_refused(self, door: str, method: str, outcome: str) -> None:
        """A call was not admitted."""
        ...
