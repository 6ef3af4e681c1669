"""Sources of an answer as annotations: citationMetadata and what of groundingMetadata names a web page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from service.domain.events import Event, OpaqueAnnotation, UrlCitation


def citations(text: str, choice: int, cited: Any, grounding: Any) -> Iterator[Event]:
    """The annotations of a choice whose whole text is `text`; both metadata may be None.

    Google counts in bytes of UTF-8 (SDK `google-genai` 3.4: Segment), ours are characters.
    """
    if not cited and not grounding:
        return
    encoded = text.encode()
    for citation in (cited or {}).get("citations") or ():
        if citation.get("uri"):
            start, end = citation.get("startIndex") or 0, citation.get("endIndex") or 0
            place = _characters(encoded, start), _characters(encoded, end)
            yield UrlCitation(citation["uri"], citation.get("title") or "", *place, choice)
        else:
            yield OpaqueAnnotation("citation", orjson.dumps(citation).decode(), choice)
    chunks = (grounding or {}).get("groundingChunks") or ()
    for support in (grounding or {}).get("groundingSupports") or ():
        found = _place(text, encoded, support.get("segment") or {})
        if found is None:
            continue
        for index in support.get("groundingChunkIndices") or ():
            page = chunks[index].get("web") if 0 <= index < len(chunks) else None
            if page and page.get("uri"):
                yield UrlCitation(page["uri"], page.get("title") or "", *found, choice)


def _place(text: str, encoded: bytes, segment: dict[str, Any]) -> tuple[int, int] | None:
    """Where a segment stands in the whole text: its offsets count from the start of one of the answer's parts."""
    start, end = segment.get("startIndex") or 0, segment.get("endIndex") or 0
    said = segment.get("text")
    if said is None or encoded[start:end] == said.encode():
        return _characters(encoded, start), _characters(encoded, end)
    at = text.find(said)
    return None if at < 0 else (at, at + len(said))


def _characters(encoded: bytes, offset: int) -> int:
    return len(encoded[:offset].decode("utf-8", "ignore"))
