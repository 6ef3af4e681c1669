"""A streamed answer as events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from adapters.providers.sse import SseEvent, SseParser, event_of
from service.domain.events import Event
from service.domain.failure import Failure, FailureKind, UpstreamError

from .alike import SHORTEST_RUN, AlikeDeltas
from .answer import protocol_error
from .errors import failure_in
from .events import EventReader
from .read import read

_TEXT: Final = "response.output_text.delta"


class StreamDecoder:
    """Server-sent events up to the one that holds the whole answer; nothing after it is read.

    An error that follows good events in the same bytes waits for the next call, so that no split of the
    stream loses events.
    """

    __slots__ = ("_alike", "_error", "_parser", "_reader")

    def __init__(self) -> None:
        self._parser = SseParser()
        self._alike = AlikeDeltas()
        self._reader = EventReader()
        self._error: UpstreamError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises:
            UpstreamError: the provider's error, PROTOCOL.
        """
        self._raise_held()
        found = self._parser.named(data)
        if found is None:
            return self._events(self._parser.feed(data))
        pieces, rest = found
        events = self._events(pieces=pieces)
        if rest and self._error is None:
            # What is left is no whole event: it is kept until its end comes.
            events.extend(self._events(self._parser.feed(rest)))
        return events

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

    def _events(self, received: Sequence[SseEvent] = (), pieces: Sequence[bytes] = ()) -> list[Event]:
        """Of events that were `received`, or of `pieces` as the parser gives them."""
        events: list[Event] = []
        try:
            for each in received:
                self._one(each, events)
            self._run(pieces, events)
        except UpstreamError as error:
            self._error = error
        except orjson.JSONDecodeError:
            self._error = protocol_error("invalid JSON")
        except (TypeError, KeyError, AttributeError, ValueError) as broken:
            self._error = protocol_error(f"a {type(broken).__name__} in its shape")
        if self._error is not None and not events:
            raise self._error
        return events

    def _run(self, pieces: Sequence[bytes], out: list[Event]) -> None:
        at, alike, reader = 0, self._alike, self._reader
        while at < len(pieces) and not reader.done:
            if alike.event is not None and len(pieces) - at >= SHORTEST_RUN:
                text, at = alike.run(pieces, at)
                if text:
                    reader.take(_TEXT, {**alike.event, "delta": text}, out)
                    continue
            piece = pieces[at]
            at += 1
            received = event_of(piece)
            event = None if received is None else self._one(received, out)
            if (
                event is not None
                and event.get("type") == _TEXT
                and not event.get("logprobs")
                and len(pieces) > SHORTEST_RUN
            ):
                alike.learn(piece, event)

    def _one(self, received: SseEvent, out: list[Event]) -> dict[str, Any] | None:
        """Takes one event; what it says, None of one that counts for nothing."""
        name, data = received
        if self._reader.done or not data or (data[:1] != b"{" and data.strip() == b"[DONE]"):
            return None
        event: dict[str, Any] = orjson.loads(data)
        _take(self._reader, name, event, out)
        return event


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
