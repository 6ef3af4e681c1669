"""The fast path for token chunks that differ in nothing but their text.

Most servers repeat the same bytes around every token. Once a chunk was read in full and found to be plain
text, a later one with the same bytes before and after the text needs no JSON object to be built: its text is a
JSON string, and a run of such chunks is decoded as one JSON array. Anything else goes the general way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from service.domain.events import TextDelta

_BEFORE: Final = b'"content":'

# Padding against traffic analysis, of another length each time, which nobody reads: OpenAI and Mistral end their
# chunks with it, Azure has it in their middle.
_PADDINGS: Final = (b'"obfuscation":"', b'"p":"')


class AlikeChunks:
    """Knows the bytes around a stream's text once `learn` has seen a plain chunk."""

    __slots__ = ("_after", "_before", "_choice", "_name", "_padded", "_tail", "known")

    def __init__(self, name: bytes = _BEFORE) -> None:
        """`name`: what stands before a chunk's text."""
        self._name = name
        self._before = b""
        self._after = b""
        self._tail = b""
        self._choice = 0
        self._padded = False
        self.known = False

    def learn(self, data: bytes, token: TextDelta) -> None:
        """`data` is a chunk that holds nothing but `token`."""
        start = data.find(self._name) + len(self._name)
        if data[start : start + 1] == b" ":
            start += 1
        text = orjson.dumps(token.text)
        if start < len(self._name) or not data.startswith(text, start):
            # Another spelling of the text than orjson's, or the word stands elsewhere, too: no matter.
            self.known = False
            return
        after = data[start + len(text) - 1 :]
        self._before = data[: start + 1]
        self._after, self._tail = _around_padding(after)
        self._padded = bool(self._tail)
        self._choice = token.choice
        self.known = True

    def run(self, chunks: Sequence[bytes], start: int) -> tuple[TextDelta | None, int]:
        """The text of the chunks from `start` on that are alike, as one delta, and where they end.

        None and `start` when the first of them is not, or their texts are no JSON strings.
        """
        texts = self._padded_texts(chunks, start) if self._padded else self._texts(chunks, start)
        if not texts:
            return None, start
        joined = b'","'.join(texts) + b'"]'
        if b'\\"' in joined and (b'\\","' in joined or joined.endswith(b'\\"]')):
            return None, start  # a text may end in a backslash, which would swallow the quote that separates it
        try:
            found = orjson.loads(b'["' + joined)
        except orjson.JSONDecodeError:
            return None, start
        # A text that holds a quote of its own is no JSON string: the number of strings tells.
        if len(found) != len(texts) or not all(found):
            return None, start
        return TextDelta("".join(found), self._choice), start + len(texts)

    def _texts(self, chunks: Sequence[bytes], start: int) -> list[bytes]:
        before, after = self._before, self._after
        first, last = len(before), -len(after)
        texts = []
        for at in range(start, len(chunks)):
            chunk = chunks[at]
            if not (chunk.startswith(before) and chunk.endswith(after)):
                break
            texts.append(chunk[first:last])
        return texts

    def _padded_texts(self, chunks: Sequence[bytes], start: int) -> list[bytes]:
        before, after, tail = self._before, self._after, self._tail
        first, skip, last = len(before), len(after), -len(tail)
        texts = []
        for at in range(start, len(chunks)):
            chunk = chunks[at]
            if not (chunk.startswith(before) and chunk.endswith(tail)):
                break
            end = chunk.rfind(after, first)
            if end < 0 or not _is_padding(chunk[end + skip : last]):
                break
            texts.append(chunk[first:end])
        return texts


def _around_padding(after: bytes) -> tuple[bytes, bytes]:
    """What stands after a text up to its chunk's padding, and what follows the padding: nothing without one."""
    for name in _PADDINGS:
        at = after.rfind(name)
        if at >= 0:
            start = at + len(name)
            end = after.find(b'"', start)
            if end >= 0 and _is_padding(after[start:end]):
                return after[:start], after[end:]
    return after, b""


def _is_padding(padding: bytes) -> bool:
    return not padding or padding.isalnum()
