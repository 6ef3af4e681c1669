"""A streamed answer as events."""

from __future__ import annotations

from typing import Any

import orjson

from adapters.providers.sse import SseEvent, SseParser
from service.domain.events import Event
from service.domain.failure import Failure, FailureKind, UpstreamError

from .answer import protocol_error
from .errors import failure_in
from .events import EventReader
from .read import read


class StreamDecoder:
    """Server-sent events up to the one that holds the whole answer; nothing after it is read.

    An error that follows good events in the same bytes waits for the next call, so that no split of the
    stream loses events.
    """

    __slots__ = ("_error", "_parser", "_reader")

    def __init__(self) -> None:
        self._parser = SseParser()
        self._reader = EventReader()
        self._error: UpstreamError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises:
            UpstreamError: the provider's error, PROTOCOL.
        """
        self._raise_held()
        return self._events(self._parser.feed(data))

    def end(self) -> list[Event]:
        """What the last bytes held.

        Raises:
            UpstreamError: CUT when no terminal event came; else as `feed`.
        """
        self._raise_held()
        if self._parser.body is not None:
            # One JSON document instead of a stream: an error, or a server that does not stream.
            return read(self._parser.body)
        try:
            events = self._events(self._parser.end())
        except UpstreamError as error:
            if error.failure.kind is FailureKind.PROTOCOL:
                raise _cut() from None  # half an event is a cut stream
            raise
        self._raise_held()
        if not self._reader.done:
            raise _cut()
        return events

    def _raise_held(self) -> None:
        if self._error is not None:
            raise self._error

    def _events(self, received: list[SseEvent]) -> list[Event]:
        events: list[Event] = []
        reader = self._reader
        try:
            for name, data in received:
                if reader.done:
                    break
                if data and (data[:1] == b"{" or data.strip() != b"[DONE]"):
                    _take(reader, name, orjson.loads(data), events)
        except UpstreamError as error:
            self._error = error
        except orjson.JSONDecodeError:
            self._error = protocol_error("invalid JSON")
        except (TypeError, KeyError, AttributeError, ValueError) as broken:
            self._error = protocol_error(f"a {type(broken).__name__} in its shape")
        if self._error is not None and not events:
            raise self._error
        return events


def _take(reader: EventReader, name: bytes, event: dict[str, Any], events: list[Event]) -> None:
    kind = event.get("type")
    if kind is None:
        if name == b"error" or event.get("error"):
            raise UpstreamError(failure_in(event))
        # Some servers leave the type to the event's name.
        kind = name.decode("utf-8", "replace")
    reader.take(kind, event, events)


def _cut() -> UpstreamError:
    return UpstreamError(Failure(FailureKind.CUT, "the provider's stream ended before the answer was complete"))
