"""The fast path for chunks that differ in nothing but their text and their counts.

Once a chunk was read in full and found to be plain text, later ones with the same bytes around the text need no
JSON object to be built: a run of them is decoded as one JSON array of strings. Only the last one's counts matter,
as they are totals; so those of the others may differ in their digits. Anything else goes the general way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

_BEFORE: Final = b'"text":'
_COUNTS: Final = b'"usageMetadata"'
_DIGITS: Final = b"0123456789"

SHORTEST_RUN: Final = 3
"""Fewer chunks at a time are read faster one by one."""


class AlikeChunks:
    """Knows the bytes around a stream's text once `learn` has seen a plain chunk."""

    __slots__ = ("_before", "_close", "_rest", "known")

    def __init__(self) -> None:
        self._before = b""
        self._close = b""
        self._rest = b""
        self.known = False

    def learn(self, data: bytes, text: str) -> None:
        """`data` is a chunk that holds nothing but `text` and counts."""
        written = orjson.dumps(text)
        start = data.find(_BEFORE) + len(_BEFORE)
        if data[start : start + 1] == b" ":
            start += 1
        # Another spelling of the text than orjson's, or the word stands elsewhere, too: no matter.
        self.known = start >= len(_BEFORE) and data.startswith(written, start)
        if not self.known:
            return
        after = data[start + len(written) - 1 :]
        counts = after.find(_COUNTS)
        # Up to the counts all bytes are the same: a digit there may tell one candidate from another.
        self._before = data[: start + 1]
        self._close = after if counts < 0 else after[:counts]
        self._rest = b"" if counts < 0 else after[counts:].translate(None, _DIGITS)

    def run(self, chunks: Sequence[bytes], start: int) -> tuple[str, int]:
        """The text of the chunks from `start` on that are alike, and where they end.

        "" and `start` when there are fewer than SHORTEST_RUN of them, or their texts are no JSON strings.
        """
        texts = self._texts(chunks, start)
        if len(texts) < SHORTEST_RUN:
            return "", start
        try:
            found = orjson.loads(b'["' + b'","'.join(texts) + b'"]')
        except orjson.JSONDecodeError:
            return "", start
        # A text that holds a quote of its own is no JSON string: the number of strings tells.
        if len(found) != len(texts):
            return "", start
        return "".join(found), start + len(texts)

    def _texts(self, chunks: Sequence[bytes], start: int) -> list[bytes]:
        before, close, rest = self._before, self._close, self._rest
        first, skip = len(before), len(close)
        after = close + b"\0"  # what followed the text last time; nothing as yet
        texts: list[bytes] = []
        for at in range(start, len(chunks)):
            chunk = chunks[at]
            if not chunk.startswith(before):
                break
            if chunk.endswith(after):
                text = chunk[first : -len(after)]
            else:
                end = chunk.rfind(close, first)
                if end < 0 or chunk[end + skip :].translate(None, _DIGITS) != rest:
                    break
                text, after = chunk[first:end], chunk[end:]
            if text.endswith(b"\\"):
                break  # it would swallow the quote that separates it from the next
            texts.append(text)
        return texts
