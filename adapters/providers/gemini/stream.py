"""A streamed answer as events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from adapters.providers.sse import SseParser
from service.domain.events import Event, TextDelta
from service.domain.failure import FailureKind, UpstreamError

from .alike import SHORTEST_RUN, AlikeChunks
from .answer import AnswerReader, cut, protocol_error
from .errors import failure_in
from .read import read

_MOST_OF_AN_ERROR: Final = 256 * 1024


class StreamDecoder:
    """Server-sent chunks. No marker ends them: the answer is whole when each of its candidates has a finishReason.

    Chunks may follow it, with counts or another finishReason, so that the ends are told at the stream's own end.
    An error that follows good chunks in the same bytes waits for the next call, so that no split of the stream
    loses events.
    """

    __slots__ = ("_alike", "_at_line", "_bare", "_error", "_parser", "_reader", "_streams")

    def __init__(self) -> None:
        self._parser = SseParser()
        self._reader = AnswerReader()
        self._alike = AlikeChunks()
        self._error: UpstreamError | None = None
        self._streams = False  # an event has come: what follows is no JSON body
        self._at_line = False
        self._bare = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises:
            UpstreamError: the provider's error, a blocked prompt, PROTOCOL.
        """
        self._raise_held()
        data = self._without_bare_error(data)
        found = self._parser.plain(data)
        if found is None:
            return self._events([event.data for event in self._parser.feed(data)])
        pieces, rest = found
        events = self._events(pieces)
        if rest and self._error is None:
            events.extend(self._events([event.data for event in self._parser.feed(rest)]))
        return events

    def end(self) -> list[Event]:
        """What the last bytes held, and how the answer ended.

        Raises:
            UpstreamError: CUT when a candidate has no finishReason; else as `feed`.
        """
        self._raise_held()
        if self._parser.body is not None:
            return _whole(self._parser.body)
        try:
            events = self._events([event.data for event in self._parser.end()])
        except UpstreamError as error:
            if error.failure.kind is FailureKind.PROTOCOL and not self._reader.finished:
                raise cut() from None  # half a chunk is a cut stream
            raise
        self._raise_held()
        if self._bare:
            raise _bare_error(bytes(self._bare))
        if not self._reader.finished:
            raise cut()
        try:
            self._reader.close(events)
        except (TypeError, KeyError, IndexError, AttributeError, ValueError) as broken:
            raise protocol_error(f"a {type(broken).__name__} in its shape") from None
        return events

    def _raise_held(self) -> None:
        if self._error is not None:
            raise self._error

    def _events(self, chunks: Sequence[bytes]) -> list[Event]:
        events: list[Event] = []
        reader, alike = self._reader, self._alike
        try:
            at = 0
            while at < len(chunks):
                if alike.known and len(chunks) - at >= SHORTEST_RUN:
                    text, end = alike.run(chunks, at)
                    if text:
                        events.append(reader.more(text, orjson.loads(chunks[end - 1])))
                        at = end
                        continue
                token = self._chunk(chunks[at], events)
                if token is not None and len(chunks) >= SHORTEST_RUN:
                    alike.learn(chunks[at], token.text)
                at += 1
        except UpstreamError as error:
            self._error = error
        except orjson.JSONDecodeError:
            self._error = protocol_error("invalid JSON")
        except (TypeError, KeyError, IndexError, AttributeError, ValueError) as broken:
            self._error = protocol_error(f"a {type(broken).__name__} in its shape")
        if self._error is not None and not events:
            raise self._error
        return events

    def _chunk(self, data: bytes, events: list[Event]) -> TextDelta | None:
        """Takes one chunk; returns its event where it holds nothing but text."""
        self._streams = True
        document = orjson.loads(data)
        token = self._reader.plain(document)
        if token is None:
            self._reader.take(document, events)
        else:
            events.append(token)
        return token

    def _without_bare_error(self, data: bytes) -> bytes:
        """`data` up to an error that Google writes into a running stream as bare JSON, which is no event.

        The SDK reads it so (`google-genai` 3.4: _api_client).
        """
        if self._bare:
            self._bare += data
            if len(self._bare) > _MOST_OF_AN_ERROR:
                raise protocol_error("text without end in a stream")
            return b""
        if not (self._streams or data.startswith(b"data:")):
            return data
        at = 0 if self._at_line and data[:1] == b"{" else data.find(b"\n{") + 1 or -1
        self._at_line = data[-1:] == b"\n" if data else self._at_line
        if at < 0:
            return data
        self._bare += data[at:]
        return data[:at]


def _whole(body: bytes) -> list[Event]:
    """One JSON document instead of a stream: an error, a server that does not stream, or a list of chunks."""
    try:
        return read(body)
    except UpstreamError as error:
        if error.failure.kind is FailureKind.PROTOCOL and body.lstrip()[:1] == b"[":
            raise cut() from None
        raise


def _bare_error(text: bytes) -> UpstreamError:
    try:
        return UpstreamError(failure_in(orjson.loads(text)))
    except (orjson.JSONDecodeError, AttributeError):
        return cut()
