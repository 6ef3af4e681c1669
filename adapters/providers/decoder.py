"""The frame of a decoder of server-sent events: framing, errors that wait their turn, and how a stream ends.

What the events mean is a dialect's business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

import orjson

from adapters.providers.sse import SseEvent, SseParser
from service.domain.events import Event
from service.domain.failure import Failure, FailureKind, UpstreamError

_BROKEN: Final = (UpstreamError, TypeError, LookupError, AttributeError, ValueError)
"""What reading raises, a document of another shape included: dialects read quickly and trust their provider."""


def cut() -> UpstreamError:
    """The provider's stream ended too early."""
    return UpstreamError(Failure(FailureKind.CUT, "the provider's stream ended before the answer was complete"))


class SseDecoder(ABC):
    """A dialect's `Decoder`, but for what its events say.

    An error that follows good events in the same bytes waits for the next call, so that no split of the stream
    loses events.
    """

    __slots__ = ("_error", "_parser", "_split")

    def __init__(self, *, named: bool) -> None:
        """`named`: this API names its events (an `event: ` line each), so that many are split so."""
        self._parser = SseParser()
        self._split = self._parser.named if named else self._parser.plain
        self._error: UpstreamError | None = None

    @property
    @abstractmethod
    def _over(self) -> bool:
        """Whether the end came that this API promises."""

    @abstractmethod
    def _read(self, received: Sequence[SseEvent], out: list[Event]) -> None:
        """Takes events in whichever framing they came."""

    @abstractmethod
    def _run(self, pieces: Sequence[bytes], out: list[Event]) -> None:
        """Takes many events that were split at once: the data of each; with `named`, pieces for `event_of`."""

    @staticmethod
    @abstractmethod
    def _whole(body: bytes) -> list[Event]:
        """One JSON document instead of a stream: an error, or the answer of a server that does not stream."""

    @staticmethod
    @abstractmethod
    def _broken(what: str) -> UpstreamError:
        """PROTOCOL: what came is not this API's."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises:
            UpstreamError: the provider's error, PROTOCOL, or CUT (an end that ends nothing).
        """
        if self._error is not None:
            raise self._error
        events: list[Event] = []
        try:
            split = self._split  # first: CPython 3.11 is slower with `self.x()` where x is a slot
            found = split(data)
            if found is not None:
                pieces, data = found
                self._run(pieces, events)
            if data:
                # What is left of a run is no whole event: the parser keeps it until its end comes.
                self._read(self._parser.feed(data), events)
        except _BROKEN as error:
            self._error = self._told(error)
            if not events:
                raise self._error from None
        return events

    def end(self) -> list[Event]:
        """What the last bytes held, and what is told at a stream's end.

        Raises:
            UpstreamError: CUT when the end never came; else as `feed`.
        """
        if self._error is not None:
            raise self._error
        if self._parser.body is not None:
            return self._whole(self._parser.body)
        events: list[Event] = []
        try:
            self._read(self._parser.end(), events)
            self._close(events)
        except _BROKEN as error:
            self._error = self._told(error)
            # Half an event says nothing, and is a cut stream. One that said something before it broke was whole
            # but for the blank line, which no stream owes us at its end: its error is told, as `feed` would.
            if not (events or self._over) and self._error.failure.kind is FailureKind.PROTOCOL:
                raise cut() from None
            raise self._error from None
        return events

    def _close(self, out: list[Event]) -> None:  # noqa: ARG002 - an API may leave something to be told here
        """The stream is over. Raises UpstreamError CUT when its end never came."""
        if not self._over:
            raise cut()

    def _told(self, error: Exception) -> UpstreamError:
        if isinstance(error, UpstreamError):
            return error
        if isinstance(error, orjson.JSONDecodeError):
            return self._broken("invalid JSON")
        return self._broken(f"a {type(error).__name__} in its shape")
