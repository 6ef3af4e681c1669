"""A streamed answer as events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from adapters.providers.decoder import SseDecoder, cut
from adapters.providers.sse import SseEvent
from service.domain.events import Event, Extra, ReasoningDelta, ReasoningSeal
from service.domain.failure import UpstreamError

from .alike import AlikeChunks
from .answer import AnswerReader
from .errors import failure_in
from .read import parse, protocol_error, read

_LAST_WORDS: Final = frozenset({Extra, ReasoningDelta, ReasoningSeal})


class StreamDecoder(SseDecoder):
    """Server-sent chunks up to `[DONE]`, which alone ends a stream well, though none in which no choice ended."""

    __slots__ = ("_alike", "_done", "_reader")
    _whole = staticmethod(read)
    _broken = staticmethod(protocol_error)

    def __init__(self) -> None:
        super().__init__(named=False)
        self._reader = AnswerReader()
        self._alike = AlikeChunks()
        self._done = False

    @property
    def _over(self) -> bool:
        return self._done

    def _read(self, received: Sequence[SseEvent], out: list[Event]) -> None:
        for name, data in received:
            self._chunk(name, data, out)

    def _run(self, pieces: Sequence[bytes], out: list[Event]) -> None:
        at, alike = 0, self._alike
        while at < len(pieces):
            if alike.known and not self._done:
                token, at = alike.run(pieces, at)
                if token is not None:
                    out.append(token)
                    continue
            self._chunk(b"", pieces[at], out)
            at += 1

    def _chunk(self, name: bytes, data: bytes, out: list[Event]) -> None:
        if self._done or not data:
            return
        if data[:1] != b"{" and data.strip() == b"[DONE]":
            self._finish(out)
            return
        document = orjson.loads(data)
        if name == b"error":
            raise UpstreamError(failure_in(parse(data)))
        token = self._reader.plain(document)
        if token is not None:
            self._alike.learn(data, token)
            out.append(token)
            return
        before = len(out)
        self._reader.take(document, out)
        if any(type(event) in _LAST_WORDS for event in out[before:]):
            # Chunks that are known by their bytes say nothing beside their text only while this is the last word,
            # and a piece of reasoning ends where text follows.
            self._alike.known = False

    def _finish(self, out: list[Event]) -> None:
        reader = self._reader
        if reader.has_choices and not reader.finished:
            # Proxies write [DONE] after an upstream that broke off: without one finish_reason it is a cut.
            raise cut()
        reader.close(out)
        self._done = True
