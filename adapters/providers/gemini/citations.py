"""Sources of an answer as annotations: citationMetadata and what of groundingMetadata names a web page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from service.domain.events import Event, OpaqueAnnotation, UrlCitation

# Bytes of UTF-8 that go on with a character: 10xxxxxx.
_CONTINUES: Final = 0b11000000
_CONTINUATION: Final = 0b10000000


def citations(text: str | None, choice: int, cited: Any, grounding: Any) -> Iterator[Event]:
    """The annotations of a choice whose whole text is `text`; both metadata may be None.

    Without the text nothing has a place in it: citations are told as they came, and grounding is told as a whole
    anyway. Google counts in bytes of UTF-8 (SDK `google-genai` 3.4: Segment), ours are characters.
    """
    found = (cited or {}).get("citations") or ()
    supports = (grounding or {}).get("groundingSupports") or () if text is not None else ()
    if not found and not supports:
        return
    segments = [support.get("segment") or {} for support in supports]
    places = Places(text or "", [_ends(each) for each in (*found, *segments)])
    for citation in found:
        if citation.get("uri") and text is not None:
            start, end = _ends(citation)
            yield UrlCitation(citation["uri"], citation.get("title") or "", places[start], places[end], choice)
        else:
            yield OpaqueAnnotation("citation", orjson.dumps(citation).decode(), choice)
    chunks = (grounding or {}).get("groundingChunks") or ()
    for support, segment in zip(supports, segments, strict=True):
        place = places.of(segment)
        if place is None:
            continue
        for index in support.get("groundingChunkIndices") or ():
            page = chunks[index].get("web") if 0 <= index < len(chunks) else None
            if page and page.get("uri"):
                yield UrlCitation(page["uri"], page.get("title") or "", *place, choice)


class Places:
    """Characters of a text by offsets in its UTF-8, found in one pass; a character that one cuts is behind it."""

    __slots__ = ("_at", "_encoded", "_text")

    def __init__(self, text: str, pairs: Iterable[tuple[int, int]]) -> None:
        self._text = text
        self._encoded = encoded = text.encode()
        self._at: dict[int, int] = {}
        done = characters = 0
        for offset in sorted({offset for pair in pairs for offset in pair}):
            edge = min(max(offset, 0), len(encoded))
            while edge < len(encoded) and encoded[edge] & _CONTINUES == _CONTINUATION:
                edge -= 1
            characters += len(encoded[done:edge].decode())
            self._at[offset] = characters
            done = edge

    def __getitem__(self, offset: int) -> int:
        """The character at a byte offset, which must be one of those that the places were made for."""
        return self._at[offset]

    def of(self, segment: dict[str, Any]) -> tuple[int, int] | None:
        """Where a segment stands in the whole text: its offsets count from the start of one of its parts."""
        start, end = _ends(segment)
        said = segment.get("text")
        if said is None or self._encoded[start:end] == said.encode():
            return self[start], self[end]
        at = self._text.find(said)
        return None if at < 0 else (at, at + len(said))


def _ends(segment: dict[str, Any]) -> tuple[int, int]:
    return segment.get("startIndex") or 0, segment.get("endIndex") or 0
