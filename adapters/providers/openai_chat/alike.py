"""The fast path for token chunks that differ in nothing but their text.

Most servers repeat the same bytes around every token. Once a chunk was read in full and found to be plain
text, a later one with the same bytes before and after the text needs no JSON object to be built: its text is a
JSON string, and a run of such chunks is decoded as one JSON array. Anything else goes the general way.
"""

from __future__ import annotations

from typing import Final

import orjson

from service.domain.events import TextDelta

_BEFORE: Final = b'"content":'


class AlikeChunks:
    """Knows the bytes around a stream's text once `learn` has seen a plain chunk."""

    __slots__ = ("_after", "_before", "_choice", "known")

    def __init__(self) -> None:
        self._before = b""
        self._after = b""
        self._choice = 0
        self.known = False

    def learn(self, data: bytes, token: TextDelta) -> None:
        """`data` is a chunk that holds nothing but `token`."""
        start = data.find(_BEFORE) + len(_BEFORE)
        if data[start : start + 1] == b" ":
            start += 1
        text = orjson.dumps(token.text)
        if start < len(_BEFORE) or not data.startswith(text, start):
            # Another spelling of the text than orjson's, or the word stands elsewhere, too: no matter.
            self.known = False
            return
        self._before = data[: start + 1]
        self._after = data[start + len(text) - 1 :]
        self._choice = token.choice
        self.known = True

    def read(self, chunks: list[bytes]) -> TextDelta | None:
        """The text of `chunks` as one delta; None when one of them differs in more than its text."""
        before, after = self._before, self._after
        start, end = len(before), -len(after)
        texts = []
        for chunk in chunks:
            if not (chunk.startswith(before) and chunk.endswith(after)):
                return None
            texts.append(chunk[start:end])
        joined = b'","'.join(texts) + b'"]'
        if b'\\"' in joined and (b'\\","' in joined or joined.endswith(b'\\"]')):
            return None  # a text may end in a backslash, which would swallow the quote that separates it
        try:
            found = orjson.loads(b'["' + joined)
        except orjson.JSONDecodeError:
            return None
        # A text that holds a quote of its own is no JSON string: the number of strings tells.
        if len(found) != len(chunks) or not all(found):
            return None
        return TextDelta("".join(found), self._choice)
