"""What images, documents and sounds are by their bytes, and what is to be fetched of them. Pure.

Signatures are those of the formats' own specifications: PNG (RFC 2083, 3.1), JPEG (ITU-T T.81, B.1.1), GIF89a,
WebP and WAVE (RIFF containers), PDF (ISO 32000-1, 7.5.2), FLAC (RFC 9639), Ogg (RFC 3533), ID3v2, MP4 (ISO
14496-12). Who fetches, and from whom not, is for adapters.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import b2a_base64
from codecs import getincrementaldecoder
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

MediaKind: TypeAlias = Literal["image", "file"]

IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
PDF: Final = "application/pdf"
PDF_IN_BASE64: Final = "JVBERi"
"""How a PDF begins (%PDF) in base64."""
PLAIN: Final = "text/plain"
TAKEN: Final[dict[MediaKind, tuple[str, ...]]] = {"image": IMAGES, "file": (PDF, PLAIN)}
"""The types that are fetched as an image or as a file."""

AUDIO_TYPES: Final[dict[str, str]] = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "m4a": "audio/mp4",
}
"""The type of what a format of inline audio holds; raw samples (pcm16, pcm24) look like nothing."""

_ALIASES: Final = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "application/x-pdf": PDF}
_STARTS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", PDF),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
)
_HEAD: Final = 64
"""Characters of base64 that hold every signature."""
_LONGEST_NAME: Final = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """What stands at `url`, to be sent inline. `path` is where the caller wrote the address."""

    url: str
    kind: MediaKind
    path: str


@dataclass(frozen=True, slots=True)
class FetchedMedia:
    """What stood at an address: its type, as its bytes have it, how many those are, and they as `data_uri`."""

    media_type: str
    size: int
    data_uri: str


class DataUri:
    """Bytes written as an address of their own (RFC 2397) while they come: no moment has to encode all of them."""

    __slots__ = ("_over", "_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._over = b""
        self.size = 0

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        self.size += len(data)
        data = self._over + data
        whole = len(data) - len(data) % 3
        self._over = data[whole:]
        self._pieces.append(b2a_base64(data[:whole], newline=False).decode("ascii"))

    def finish(self, media_type: str) -> FetchedMedia:
        """All of them, as what this type says."""
        self._pieces.append(b2a_base64(self._over, newline=False).decode("ascii"))
        return FetchedMedia(media_type, self.size, "".join((f"data:{media_type};base64,", *self._pieces)))


def sniff(data: bytes) -> str | None:
    """The type of what begins with `data`, by its signature; None for what has none of those known here."""
    if data[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(bytes(data[8:12]))
    if data[4:8] == b"ftyp":
        return "audio/mp4" if data[8:11] in (b"M4A", b"M4B") else None
    return next((name for start, name in _STARTS if data.startswith(start)), None)


def sniff_base64(text: str) -> str | None:
    """The same for bytes in base64, which must be well-formed. Decodes no more than their beginning."""
    return sniff(b64decode(text[:_HEAD]))


class TextCheck:
    """Whether bytes that come one after another are text in UTF-8, with no character that only binary data has."""

    __slots__ = ("_decoder", "_fails", "_head")

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")()
        self._fails = False
        self._head = b""

    def feed(self, data: bytes) -> None:
        """The next bytes."""
        if self._fails:
            return
        self._head = (self._head + data[:_HEAD])[:_HEAD]
        self._fails = b"\x00" in data or not self._decodes(data, final=False)

    def passes(self) -> bool:
        """Whether those were text, now that there are no more."""
        return not self._fails and self._decodes(b"", final=True) and sniff(self._head) is None

    def _decodes(self, data: bytes, *, final: bool) -> bool:
        try:
            self._decoder.decode(data, final)
        except UnicodeDecodeError:
            return False
        return True


def media_type_of(header: str) -> str:
    """The type that a content-type header or a data URI's head names: lower case, no parameters, usual name."""
    name = header.partition(";")[0].strip().lower()
    return _ALIASES.get(name, name)


def file_name_of(url: str, media_type: str) -> str:
    """A name for the file at `url`: the last part of its path if that is one, else one after its type."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    if 0 < len(name) <= _LONGEST_NAME and name.isprintable() and not set(name) & set('\\/:*?"<>|'):
        return name
    return {PDF: "document.pdf", PLAIN: "document.txt"}.get(media_type, f"image.{media_type.rpartition('/')[2]}")


def is_data_uri(url: str) -> bool:
    """Whether an image's address holds the image itself."""
    return url[:5].lower() == "data:"


def split_data_uri(uri: str) -> tuple[str, str]:
    """The media type of a data URI as `media_type_of` tells it, and what stands behind its comma."""
    head, _, data = uri.partition(",")
    return media_type_of(head[5:]), data
