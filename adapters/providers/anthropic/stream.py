"""A streamed answer as events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from adapters.providers.decoder import SseDecoder
from adapters.providers.openai_chat.alike import AlikeChunks
from adapters.providers.sse import SseEvent, event_of
from service.domain.events import Event, Start, TextDelta
from service.domain.failure import UpstreamError

from .answer import Blocks, finish, protocol_error, usage_of
from .errors import failure_in
from .read import read

_TEXT: Final = b'"text":'
_PLAIN: Final = frozenset({"type", "text"})


class StreamDecoder(SseDecoder):
    """Server-sent events up to `message_stop`, which alone ends a stream well."""

    __slots__ = ("_alike", "_blocks", "_done", "_started", "_stop_reason", "_usage")
    _whole = staticmethod(read)
    _broken = staticmethod(protocol_error)

    def __init__(self) -> None:
        super().__init__(named=True)
        self._alike = AlikeChunks(_TEXT)
        self._blocks = Blocks()
        self._started = False
        self._done = False
        self._stop_reason: str | None = None
        self._usage: dict[str, Any] = {}

    @property
    def _over(self) -> bool:
        return self._done

    def _read(self, received: Sequence[SseEvent], out: list[Event]) -> None:
        for _, data in received:
            if data and not self._done:
                self._take(orjson.loads(data), out)

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
            self._count(event.get("usage"), out)
        elif kind == "message_stop":
            self._stop(out)
        elif kind == "error":
            raise UpstreamError(failure_in(event))
        # A ping only shows that the connection lives; kinds to come are not for us to refuse.

    def _start(self, message: dict[str, Any], out: list[Event]) -> None:
        self._started = True
        out.append(Start(message["id"], message["model"]))
        self._count(message.get("usage"), out)

    def _stop(self, out: list[Event]) -> None:
        if not self._started:
            raise protocol_error("it ends without having begun")
        self._blocks.close(out)
        out += finish(self._stop_reason)
        self._done = True

    def _count(self, counts: dict[str, Any] | None, out: list[Event]) -> None:
        """Counts are totals so far; what a later event does not say stays as it was."""
        if counts:
            self._usage.update((name, count) for name, count in counts.items() if count is not None)
            # Told at once: a stream that breaks, or that its caller gives up, is to be paid, too.
            out.append(usage_of(self._usage))
