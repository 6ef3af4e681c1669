"""The fast path for text deltas that differ in nothing but their text, their number and their padding.

Once a delta was read in full, later ones with the same bytes around these three need no JSON object to be built: a
run of them is decoded as one JSON array of strings. The order of the three is learned: OpenAI's answers have
another one than its documentation. Anything else, a stream without padding too, goes the general way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import orjson

# The text, the event's place in its stream, and padding against traffic analysis, which nobody reads.
_CHANGING: Final = {"delta": str, "sequence_number": int, "obfuscation": str}

SHORTEST_RUN: Final = 3
"""Fewer events at a time are read faster one by one."""


class AlikeDeltas:
    """Knows the bytes around a stream's text once `learn` has seen a delta, which is `event` then."""

    __slots__ = ("_first", "_last", "_number", "_padding", "_second", "_text", "_third", "event")

    def __init__(self) -> None:
        self._first = self._second = self._third = self._last = b""
        self._text = self._number = self._padding = 0
        self.event: Mapping[str, Any] | None = None

    def learn(self, data: bytes, event: Mapping[str, Any]) -> None:
        """`data` holds `event`, a text delta without log probabilities."""
        self.event = None
        spans = []
        for key, kind in _CHANGING.items():
            value = event.get(key)
            if type(value) is not kind:
                return
            name, written = f'"{key}":'.encode(), orjson.dumps(value)
            start = data.find(name) + len(name)
            if data[start : start + 1] == b" ":
                start += 1
            if start < len(name) or not data.startswith(written, start):
                return  # another spelling than orjson's: no matter
            quote = kind is str
            spans.append((start + quote, start + len(written) - quote, key))
        spans.sort()
        self._first, self._last = data[: spans[0][0]], data[spans[-1][1] :]
        self._second, self._third = (data[before[1] : after[0]] for before, after in pairwise(spans))
        places = [key for *_, key in spans]
        self._text, self._number, self._padding = (places.index(key) for key in _CHANGING)
        self.event = event

    def run(self, chunks: Sequence[bytes], start: int) -> tuple[str, int]:
        """The text of the chunks from `start` on that are alike, and where they end.

        "" and `start` when there are fewer than SHORTEST_RUN of them, or their texts are no JSON strings.
        """
        texts = self._texts(chunks, start)
        if len(texts) < SHORTEST_RUN:
            return "", start
        joined = b'","'.join(texts) + b'"]'
        if b'\\"' in joined and (b'\\","' in joined or joined.endswith(b'\\"]')):
            return "", start  # a text may end in a backslash, which would swallow the quote that separates it
        try:
            found = orjson.loads(b'["' + joined)
        except orjson.JSONDecodeError:
            return "", start
        # A text that holds a quote of its own is no JSON string: the number of strings tells.
        if len(found) != len(texts):
            return "", start
        return "".join(found), start + len(texts)

    def _texts(self, chunks: Sequence[bytes], start: int) -> list[bytes]:
        first, second, third, last = self._first, self._second, self._third, self._last
        text, number, padding = self._text, self._number, self._padding
        begin, end = len(first), -len(last)
        texts: list[bytes] = []
        for chunk in chunks[start:] if start else chunks:
            if not (chunk.startswith(first) and chunk.endswith(last)):
                break
            one, _, rest = chunk[begin:end].partition(second)
            two, found, three = rest.partition(third)
            changing = (one, two, three)
            if not found or not (changing[number].isdigit() and (changing[padding] or b"0").isalnum()):
                break
            texts.append(changing[text])
        return texts
