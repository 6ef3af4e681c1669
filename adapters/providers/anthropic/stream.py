"""A streamed answer as events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from adapters.providers.openai_chat.alike import AlikeChunks
from adapters.providers.sse import SseEvent, SseParser, event_of
from service.domain.events import Event, Start, TextDelta
from service.domain.failure import Failure, FailureKind, UpstreamError

from .answer import Blocks, finish, protocol_error, usage_of
from .errors import failure_in
from .read import read

_TEXT: Final = b'"text":'
_PLAIN: Final = frozenset({"type", "text"})


class StreamDecoder:
    """Server-sent events up to `message_stop`, which alone ends a stream well.

    An error that follows good events in the same bytes waits for the next call, so that no split of the
    stream loses events.
    """

    __slots__ = ("_alike", "_blocks", "_done", "_error", "_parser", "_started", "_stop_reason", "_usage")

    def __init__(self) -> None:
        self._parser = SseParser()
        self._alike = AlikeChunks(_TEXT)
        self._blocks = Blocks()
        self._started = False
        self._done = False
        self._stop_reason: str | None = None
        self._usage: dict[str, Any] = {}
        self._error: UpstreamError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises:
            UpstreamError: the provider's error, PROTOCOL.
        """
        if self._error is not None:
            raise self._error
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
            UpstreamError: CUT when `message_stop` never came; else as `feed`.
        """
        if self._error is not None:
            raise self._error
        if self._parser.body is not None:
            # One JSON document instead of a stream: an error, or a server that does not stream.
            return read(self._parser.body)
        try:
            events = self._events(self._parser.end())
        except UpstreamError as error:
            if error.failure.kind is FailureKind.PROTOCOL and not self._done:
                raise _cut() from None  # half an event is a cut stream
            raise
        held = self._held()
        if held is not None and held.failure.kind is not FailureKind.PROTOCOL:
            raise held
        if not self._done:
            raise _cut()
        return events

    def _held(self) -> UpstreamError | None:
        """The error that `_events` keeps back until what came before it is taken."""
        return self._error

    def _events(self, received: Sequence[SseEvent] = (), pieces: Sequence[bytes] = ()) -> list[Event]:
        """Of events that were `received`, or of `pieces` as the parser gives them."""
        events: list[Event] = []
        try:
            for _, data in received:
                if data and not self._done:
                    self._take(orjson.loads(data), events)
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
        at, alike = 0, self._alike
        while at < len(pieces) and not self._done:
            if alike.known:
                token, at = alike.run(pieces, at)
                if token is not None:
                    self._blocks.text(token.text, out)
                    continue
            piece = pieces[at]
            at += 1
            received = event_of(piece)
            if received is None or not received.data:
                continue
            event = orjson.loads(received.data)
            self._take(event, out)
            if event["type"] == "content_block_delta" and event["delta"].keys() == _PLAIN:
                alike.learn(piece, TextDelta(event["delta"]["text"]))

    def _take(self, event: dict[str, Any], out: list[Event]) -> None:
        kind = event["type"]
        if kind == "content_block_delta":
            self._blocks.delta(event["delta"], out)
        elif kind == "content_block_start":
            self._blocks.begin(event["content_block"], out)
        elif kind == "content_block_stop":
            self._blocks.end(out)
        elif kind == "message_start":
            self._start(event["message"], out)
        elif kind == "message_delta":
            self._stop_reason = event["delta"].get("stop_reason") or self._stop_reason
            self._count(event.get("usage"))
        elif kind == "message_stop":
            self._stop(out)
        elif kind == "error":
            raise UpstreamError(failure_in(event))
        # A ping only shows that the connection lives; kinds to come are not for us to refuse.

    def _start(self, message: dict[str, Any], out: list[Event]) -> None:
        self._started = True
        out.append(Start(message["id"], message["model"]))
        self._count(message.get("usage"))

    def _stop(self, out: list[Event]) -> None:
        if not self._started:
            raise protocol_error("it ends without having begun")
        self._blocks.close(out)
        out += finish(self._stop_reason)
        if self._usage:
            out.append(usage_of(self._usage))
        self._done = True

    def _count(self, counts: dict[str, Any] | None) -> None:
        """Counts are totals so far; what a later event does not say stays as it was."""
        if counts:
            self._usage.update((name, count) for name, count in counts.items() if count is not None)


def _cut() -> UpstreamError:
    return UpstreamError(Failure(FailureKind.CUT, "the provider's stream ended before the answer was complete"))
