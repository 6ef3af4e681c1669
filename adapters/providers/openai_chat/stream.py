"""A streamed answer as events."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from adapters.providers.sse import SseEvent, SseParser
from service.domain.events import Event, Extra
from service.domain.failure import Failure, FailureKind, UpstreamError

from .alike import AlikeChunks
from .answer import AnswerReader
from .errors import failure_in
from .read import parse, protocol_error, read


class StreamDecoder:
    """Server-sent chunks up to `[DONE]`, which alone ends a stream well.

    An error that follows good chunks in the same bytes waits for the next call, so that no split of the
    stream loses events.
    """

    __slots__ = ("_alike", "_done", "_error", "_parser", "_reader")

    def __init__(self) -> None:
        self._parser = SseParser()
        self._reader = AnswerReader()
        self._alike = AlikeChunks()
        self._done = False
        self._error: UpstreamError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises:
            UpstreamError: the provider's error, PROTOCOL, or CUT (`[DONE]` though no choice ended).
        """
        self._raise_held()
        found = self._parser.plain(data)
        if found is None:
            return self._events(self._parser.feed(data))
        pieces, rest = found
        events = self._events(plain=pieces)
        if rest and self._error is None:
            # What is left is no whole event: it is kept until its end comes.
            events.extend(self._events(self._parser.feed(rest)))
        return events

    def end(self) -> list[Event]:
        """What the last bytes held.

        Raises:
            UpstreamError: CUT when `[DONE]` never came; else as `feed`.
        """
        self._raise_held()
        if self._parser.body is not None:
            # One JSON document instead of a stream: an error, or a server that does not stream.
            return read(self._parser.body)
        try:
            events = self._events(self._parser.end())
        except UpstreamError as error:
            if error.failure.kind is FailureKind.PROTOCOL:
                raise _cut() from None  # half a chunk is a cut stream
            raise
        self._raise_held()
        if not self._done:
            raise _cut()
        return events

    def _raise_held(self) -> None:
        if self._error is not None:
            raise self._error

    def _events(self, named: Sequence[SseEvent] = (), plain: Sequence[bytes] = ()) -> list[Event]:
        """The events of chunks: `named` ones, or `plain` ones that have data and nothing else."""
        events: list[Event] = []
        try:
            for name, data in named:
                self._chunk(name, data, events)
            self._take(plain, events)
        except UpstreamError as error:
            self._error = error
        except (TypeError, KeyError, AttributeError, ValueError) as broken:
            self._error = protocol_error(f"a {type(broken).__name__} in its shape")
        if self._error is not None and not events:
            raise self._error
        return events

    def _take(self, chunks: Sequence[bytes], events: list[Event]) -> None:
        at, alike = 0, self._alike
        while at < len(chunks):
            if alike.known and not self._done:
                token, at = alike.run(chunks, at)
                if token is not None:
                    events.append(token)
                    continue
            self._chunk(b"", chunks[at], events)
            at += 1

    def _chunk(self, name: bytes, data: bytes, events: list[Event]) -> None:
        if self._done or not data:
            return
        if data[:1] != b"{" and data.strip() == b"[DONE]":
            self._finish(events)
            return
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise protocol_error("invalid JSON") from None
        if name == b"error":
            raise UpstreamError(failure_in(parse(data)))
        token = self._reader.plain(document)
        if token is not None:
            self._alike.learn(data, token)
            events.append(token)
            return
        before = len(events)
        self._reader.take(document, events)
        if any(type(event) is Extra for event in events[before:]):
            # Chunks that are known by their bytes say nothing beside their text only while this is the last word.
            self._alike.known = False

    def _finish(self, events: list[Event]) -> None:
        reader = self._reader
        if reader.has_choices and not reader.finished:
            # Proxies write [DONE] after an upstream that broke off: without one finish_reason it is a cut.
            raise _cut()
        reader.close(events)
        self._done = True


def _cut() -> UpstreamError:
    return UpstreamError(Failure(FailureKind.CUT, "the provider's stream ended before the answer was complete"))
