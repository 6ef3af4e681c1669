"""A streamed answer as events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from adapters.providers.decoder import cut
from adapters.providers.openai_chat.alike import AlikeChunks
from service.domain.events import Event, Start, TextDelta
from service.domain.failure import UpstreamError

from .answer import Blocks, finish, protocol_error, usage_of
from .errors import failure_named
from .frames import MAX_FRAME_BYTES, Frames, Kind
from .read import read

# No frame begins with one of these: it would be larger than any that is taken.
_JSON: Final = b"{ \t\r\n"
_DELTA: Final = "contentBlockDelta"
# Fewer at a time are read faster one by one.
_SHORTEST_RUN: Final = 3


class StreamDecoder:
    """Frames up to `messageStop` and the `metadata` with the usage behind it, which together end a stream well.

    Every recorded stream has both. An error that follows good events in the same bytes waits for the next call,
    so that no split of the stream loses events.
    """

    __slots__ = (
        *("_alike", "_blocks", "_body", "_counted", "_error", "_frames", "_size", "_started", "_stopped"),
        "_texts",
    )

    def __init__(self) -> None:
        self._frames = Frames()
        self._alike = AlikeChunks(b'"text":')
        self._blocks = Blocks()
        self._started = False
        self._stopped = False
        self._counted = False
        self._texts: list[str] = []  # of the frames at hand: neighbours are told as one
        self._body: list[bytes] | None = None  # one JSON document instead of a stream
        self._size = 0
        self._error: UpstreamError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises:
            UpstreamError: the provider's error, PROTOCOL.
        """
        if self._error is not None:
            raise self._error
        if not self._started and self._is_json(data):
            return []
        if self._stopped and self._counted:
            return []
        events: list[Event] = []
        try:
            self._read(data, events)
        except UpstreamError as error:
            self._error = error
        except orjson.JSONDecodeError:
            self._error = protocol_error("invalid JSON")
        except (TypeError, KeyError, AttributeError, ValueError) as broken:
            self._error = protocol_error(f"a {type(broken).__name__} in its shape")
        self._tell_texts(events)
        if self._error is not None and not events:
            raise self._error
        return events

    def end(self) -> list[Event]:
        """Nothing is held until the end, but a whole answer in the stream's place.

        Raises:
            UpstreamError: CUT when the answer's end never came; else as `feed`.
        """
        if self._error is not None:
            raise self._error
        if self._body is not None:
            return read(b"".join(self._body))
        if not (self._stopped and self._counted):
            raise cut()
        return []

    def _is_json(self, data: bytes) -> bool:
        """Whether the bytes are an error or an answer of someone who does not stream; kept then."""
        if self._body is None:
            if self._size or not data or data[:1] not in _JSON:
                self._size += len(data)
                return False
            self._body = []
        self._body.append(data)
        self._size += len(data)
        if self._size > MAX_FRAME_BYTES:
            self._error = protocol_error(f"more than {MAX_FRAME_BYTES} bytes in the place of a stream")
            raise self._error
        return True

    def _read(self, data: bytes, out: list[Event]) -> None:
        deltas: list[bytes] = []
        content = self._started and not self._stopped
        delta: Kind | None = None  # frames with the same headers have the same one
        try:
            for told, payload in self._frames.feed(data):
                if told is delta:
                    deltas.append(payload)
                    continue
                kind, name, message = told
                if name == _DELTA and kind == "event" and content:
                    delta = told
                    deltas.append(payload)
                    continue
                if deltas:
                    # Emptied first: what fails below must not be read twice.
                    payloads, deltas = deltas, []
                    self._deltas(payloads, out)
                if kind != "event":
                    raise UpstreamError(failure_named(name, message, payload))
                self._tell_texts(out)
                self._take(name, orjson.loads(payload), out)
                content = self._started and not self._stopped
                delta = delta if content else None
        finally:
            self._deltas(deltas, out)

    def _deltas(self, payloads: Sequence[bytes], out: list[Event]) -> None:
        at, alike = 0, self._alike
        while at < len(payloads):
            if alike.known and len(payloads) - at >= _SHORTEST_RUN:
                token, at = alike.run(payloads, at)
                if token is not None:
                    self._texts.append(token.text)
                    continue
            payload = payloads[at]
            at += 1
            document = orjson.loads(payload)
            delta = document["delta"]
            text = delta.get("text")
            if not isinstance(text, str):
                self._tell_texts(out)
                self._take(_DELTA, document, out)
                continue
            self._texts.append(text)
            if len(delta) == 1 and len(payloads) > _SHORTEST_RUN:
                alike.learn(payload, TextDelta(text))

    def _tell_texts(self, out: list[Event]) -> None:
        if self._texts:
            self._blocks.text("".join(self._texts), out)
            self._texts.clear()

    def _take(self, name: str, document: dict[str, Any], out: list[Event]) -> None:
        if not self._started:
            if name == "messageStart":
                self._started = True
                out.append(Start("", ""))
            elif name != "initial-response":
                raise protocol_error("it begins without a messageStart")
        elif name == "metadata":
            if not self._counted and document.get("usage"):
                out.append(usage_of(document["usage"]))
            self._counted = True
        elif not self._stopped:
            # Content that follows the end belongs to no answer.
            self._content(name, document, out)

    def _content(self, name: str, document: dict[str, Any], out: list[Event]) -> None:
        if name == _DELTA:
            self._blocks.delta(document["contentBlockIndex"], document["delta"], out)
        elif name == "contentBlockStart":
            self._blocks.begin(document["contentBlockIndex"], document["start"], out)
        elif name == "contentBlockStop":
            self._blocks.end(document["contentBlockIndex"], out)
        elif name == "messageStop":
            self._blocks.close(out)
            out += finish(document["stopReason"])
            self._stopped = True
        # Kinds to come are not for us to refuse.
