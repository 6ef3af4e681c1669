"""A streamed answer as events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from adapters.providers.decoder import SseDecoder
from adapters.providers.sse import SseEvent, event_of
from service.domain.events import Event
from service.domain.failure import UpstreamError

from .alike import SHORTEST_RUN, AlikeDeltas
from .answer import protocol_error
from .errors import failure_in
from .events import EventReader
from .read import read

_TEXT: Final = "response.output_text.delta"


class StreamDecoder(SseDecoder):
    """Server-sent events up to the one that holds the whole answer; nothing after it is read."""

    __slots__ = ("_alike", "_reader")
    _whole = staticmethod(read)
    _broken = staticmethod(protocol_error)

    def __init__(self) -> None:
        super().__init__(named=True)
        self._alike = AlikeDeltas()
        self._reader = EventReader()

    @property
    def _over(self) -> bool:
        return self._reader.done

    def _read(self, received: Sequence[SseEvent], out: list[Event]) -> None:
        for name, data in received:
            self._one(name, data, out)

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
            event = None if received is None else self._one(received.event, received.data, out)
            if (
                event is not None
                and event.get("type") == _TEXT
                and not event.get("logprobs")
                and len(pieces) > SHORTEST_RUN
            ):
                alike.learn(piece, event)

    def _one(self, name: bytes, data: bytes, out: list[Event]) -> dict[str, Any] | None:
        """Takes one event; what it says, None of one that counts for nothing."""
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
