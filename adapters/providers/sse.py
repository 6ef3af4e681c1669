"""Server-sent events, from bytes: framing only. What an event's data means is a dialect's business.

Bytes are split before anything is decoded: a line ends at LF, CRLF or CR and nowhere else, so that U+2028
inside JSON stays where it is.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from service.domain.failure import Failure, FailureKind, UpstreamError

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """One event: its `event` field (b"" when unset) and its data lines joined by LF."""

    event: bytes
    data: bytes


def event_of(piece: bytes) -> SseEvent | None:
    """The event of one of the pieces that `SseParser.named` gives; None where it has no data."""
    name, line, data = piece.partition(b"\ndata: ")
    if b"\n" in data:
        # The counts said one line of data for each event: two of this one mean that another has none.
        data = data.replace(b"\ndata: ", b"\n")
    return SseEvent(name, data) if line else None


class SseParser:
    """Push parser: `feed` bytes as they come, `end` once after the last.

    A body that is one JSON document in place of a stream (an error with status 200, or a server that does not
    stream) yields no events and stands in `body` as a whole instead.
    """

    __slots__ = ("_data", "_event", "_fresh", "_json", "_max", "_partial", "_size", "_skip_lf")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._partial: list[bytes] = []  # pieces of a line whose end has not come
        self._data: list[bytes] = []
        self._event = b""
        self._size = 0
        self._fresh = True
        self._skip_lf = False
        self._json = False

    @property
    def body(self) -> bytes | None:
        """The bytes so far, when they are a JSON document and no event stream; else None."""
        return b"".join(self._partial) if self._json else None

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that `data` completes.

        Raises:
            UpstreamError: PROTOCOL, an event larger than the limit.
        """
        named = False
        found = self.plain(data)
        if found is None:
            found, named = self.named(data), True
        if found is None:
            if self._fresh or self._json:
                held = self._open(data)
                if held is None:
                    return []
                data = held
            return self._lines(data)
        pieces, rest = found
        if named:
            events = [event for piece in pieces if (event := event_of(piece)) is not None]
        else:
            events = [SseEvent(b"", piece) for piece in pieces]
        if rest:
            events.extend(self._lines(rest))
        return events

    def plain(self, data: bytes) -> tuple[list[bytes], bytes] | None:
        """The data of whole events of one `data: ` line each, and what comes after them; decided in C.

        None when `data` is anything else, and nothing is taken then. What comes after must be fed next.
        """
        found = self._whole(data, b"data: ")
        if found is None:
            return None
        head, rest = found
        pieces = head[6:-2].split(b"\n\ndata: ")
        if head.count(b"\n") != 2 * len(pieces):
            return None
        self._taken()
        return pieces, rest

    def named(self, data: bytes) -> tuple[list[bytes], bytes] | None:
        """The same for whole events of an `event: ` line and one `data: ` line each: pieces for `event_of`."""
        found = self._whole(data, b"event: ")
        if found is None:
            return None
        head, rest = found
        pieces = head[7:-2].split(b"\n\nevent: ")
        count = len(pieces)
        if head.count(b"\n") != 3 * count or head.count(b"\ndata: ") != count:
            return None
        self._taken()
        return pieces, rest

    def _whole(self, data: bytes, first: bytes) -> tuple[bytes, bytes] | None:
        """The bytes up to the last blank line, and the rest; None where they are for `feed` alone."""
        if self._data or self._event or self._skip_lf or self._json:
            return None
        if self._partial:
            if b"\n" not in data:
                return None
            data = b"".join((*self._partial, data))
        cut = data.rfind(b"\n\n") + 2
        if cut < 8 or not data.startswith(first) or cut > self._max:
            return None
        head = data if cut == len(data) else data[:cut]
        return None if b"\r" in head else (head, data[cut:])

    def _taken(self) -> None:
        self._partial.clear()
        self._size = 0
        self._fresh = False

    def end(self) -> list[SseEvent]:
        """The event that no blank line ended, if there is one."""
        if self._json:
            return []
        events: list[SseEvent] = []
        if self._partial:
            line = b"".join(self._partial)
            self._partial.clear()
            self._line(line, events)
        self._line(b"", events)
        return events

    def _open(self, data: bytes) -> bytes | None:
        """What to parse of the first bytes: None while they are too few to tell, or are JSON."""
        if self._json:
            self._keep(data)
            return None
        data = b"".join((*self._partial, data))
        self._partial.clear()
        self._size = 0
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._keep(data)
            return None
        rest = data.removeprefix(_BOM)
        start = rest.lstrip()[:1]
        if not start:
            self._keep(data)
            return None
        self._fresh = False
        if start in (b"{", b"["):
            self._json = True
            self._keep(rest)
            return None
        return rest

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._partial.append(piece)
            self._grow(len(piece))

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._max:
            raise UpstreamError(
                Failure(FailureKind.PROTOCOL, f"the provider sent an event of more than {self._max} bytes")
            )

    def _lines(self, data: bytes) -> list[SseEvent]:
        if not data:
            return []
        if self._skip_lf:
            self._skip_lf = False
            data = data.removeprefix(b"\n")
        events: list[SseEvent] = []
        # bytes.splitlines knows LF, CRLF and CR only, unlike that of str.
        lines = data.splitlines()
        last = data[-1:]
        # A CR that ends the bytes may be half of a CRLF: the line counts now, a LF that follows does not.
        self._skip_lf = last == b"\r"
        rest = lines.pop() if lines and last not in (b"\n", b"\r") else b""
        for piece in lines:
            line = piece
            self._grow(len(line))
            if self._partial:
                line = b"".join((*self._partial, line))
                self._partial.clear()
            self._line(line, events)
        if rest:
            self._keep(rest)
        return events

    def _line(self, line: bytes, events: list[SseEvent]) -> None:
        if not line:
            if self._data:
                events.append(SseEvent(self._event, b"\n".join(self._data)))
                self._data.clear()
            self._event = b""
            self._size = 0
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif name == b"event":
            self._event = value.removeprefix(b" ")
        else:
            # Comments (an empty name), id, retry and unknown names carry nothing for us; heartbeats may go on
            # for hours without a blank line.
            self._size -= len(line)
