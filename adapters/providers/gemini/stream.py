"""A streamed answer as events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from adapters.providers.decoder import SseDecoder, cut
from adapters.providers.sse import SseEvent
from service.domain.events import Event, TextDelta
from service.domain.failure import FailureKind, UpstreamError

from .alike import SHORTEST_RUN, AlikeChunks
from .answer import AnswerReader, protocol_error
from .errors import failure_in
from .read import read

_MOST_OF_AN_ERROR: Final = 256 * 1024


class StreamDecoder(SseDecoder):
    """Server-sent chunks. No marker ends them: the answer is whole when each of its candidates has a finishReason.

    Chunks may follow it, with counts or another finishReason, so that the ends are told at the stream's own end.
    """

    __slots__ = ("_alike", "_at_line", "_bare", "_reader", "_streams")
    _broken = staticmethod(protocol_error)

    def __init__(self) -> None:
        super().__init__(named=False)
        self._reader = AnswerReader()
        self._alike = AlikeChunks()
        self._streams = False  # an event has come: what follows is no JSON body
        self._at_line = False
        self._bare = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """As every decoder's; a blocked prompt is an UpstreamError, too."""
        return SseDecoder.feed(self, self._without_bare_error(data))

    @property
    def _over(self) -> bool:
        return self._reader.finished

    @staticmethod
    def _whole(body: bytes) -> list[Event]:
        """A list of chunks as well, which is what a stream without `alt=sse` is."""
        try:
            return read(body)
        except UpstreamError as error:
            if error.failure.kind is FailureKind.PROTOCOL and body.lstrip()[:1] == b"[":
                raise cut() from None
            raise

    def _close(self, out: list[Event]) -> None:
        if self._bare:
            raise _bare_error(bytes(self._bare))
        super()._close(out)
        self._reader.close(out)

    def _read(self, received: Sequence[SseEvent], out: list[Event]) -> None:
        self._run([data for _, data in received], out)

    def _run(self, pieces: Sequence[bytes], out: list[Event]) -> None:
        if len(pieces) < SHORTEST_RUN:
            for data in pieces:
                self._chunk(data, out)
            return
        at, reader, alike = 0, self._reader, self._alike
        while at < len(pieces):
            if alike.known and len(pieces) - at >= SHORTEST_RUN:
                text, end = alike.run(pieces, at)
                if text:
                    out.append(reader.more(text, orjson.loads(pieces[end - 1])))
                    at = end
                    continue
            token = self._chunk(pieces[at], out)
            if token is not None:
                alike.learn(pieces[at], token.text)
            at += 1

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
                raise self._error or protocol_error("text without end in a stream")
            return b""
        if not data:
            return data
        at_line, self._at_line = self._at_line, data[-1:] == b"\n"
        if not (self._streams or data.startswith(b"data:")):
            return data
        at = 0 if at_line and data[:1] == b"{" else data.find(b"\n{") + 1 or -1
        if at < 0:
            return data
        self._bare += data[at:]
        return data[:at]


def _bare_error(text: bytes) -> UpstreamError:
    try:
        return UpstreamError(failure_in(orjson.loads(text)))
    except (orjson.JSONDecodeError, AttributeError):
        return cut()
