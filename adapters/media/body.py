"""What a host answers, encoded while it comes and held to its type. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from service.domain.media import (
    PLAIN,
    TAKEN,
    DataUri,
    FetchedMedia,
    MediaKind,
    TextCheck,
    media_type_of,
    sniff,
)

from .errors import FetchError

_UNSAID: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_NAMES: Final[Mapping[MediaKind, str]] = {
    "image": "a jpeg, png, gif or webp image",
    "file": "a PDF or a plain text",
}
_HEAD: Final = 64
"""Bytes that hold every signature."""


class Body:
    """One body: `feed` its bytes as they come, then `finish`."""

    __slots__ = ("_head", "_kind", "_stated", "_text", "_uri")

    def __init__(self, kind: MediaKind, content_type: str) -> None:
        """`content_type` is the answer's header.

        Raises:
            FetchError: wrong_type.
        """
        self._kind: MediaKind = kind
        self._stated = media_type_of(content_type)
        if self._stated not in _UNSAID and self._stated not in TAKEN[kind]:
            raise FetchError("wrong_type", f"must be {_NAMES[kind]}; its host says otherwise")
        self._text = TextCheck() if self._stated == PLAIN else None
        self._uri = DataUri()
        self._head = b""

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._uri.size

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        if len(self._head) < _HEAD:
            self._head += data[:_HEAD]
        if self._text is not None:
            self._text.feed(data)
        self._uri.feed(data)

    def finish(self) -> FetchedMedia:
        """What all of it is.

        Raises:
            FetchError: wrong_type.
        """
        found = sniff(self._head)
        if found is None and self._text is not None and self.size and self._text.passes():
            found = PLAIN
        if found is None or found not in TAKEN[self._kind]:
            raise FetchError("wrong_type", f"must be {_NAMES[self._kind]}; its bytes are something else")
        if self._stated not in (*_UNSAID, found):
            raise FetchError("wrong_type", f"is {found} by its bytes, and its host says {self._stated}")
        return self._uri.finish(found)
