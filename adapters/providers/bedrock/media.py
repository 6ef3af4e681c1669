"""Images, documents and sounds as Converse's blocks: bytes in base64, never addresses.

Formats: botocore 1.44.5, shapes ImageFormat, DocumentFormat and AudioFormat.
"""

from __future__ import annotations

import re
from typing import Any, Final

from service.domain.errors import invalid
from service.domain.generation import Audio, File, Image
from service.domain.media import PDF_IN_BASE64, is_data_uri, split_data_uri

_IMAGES: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/plain": "txt",
    "text/markdown": "md",
    "text/html": "html",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
_EXTENSIONS: Final = frozenset(_DOCUMENTS.values())
_SOUNDS: Final = frozenset({"wav", "mp3", "flac", "m4a", "ogg"})

# Docs of DocumentBlock.name: letters and digits, single spaces, hyphens, parentheses, square brackets.
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9\s()\[\]-]+")
_SPACES: Final = re.compile(r"\s+")
_LONGEST_NAME: Final = 190


def image_block(image: Image, path: str) -> dict[str, Any]:
    """Inline bytes.

    Raises:
        ServiceError: INVALID_REQUEST for an address, or a kind of image that is not taken.
    """
    at = f"{path}.image_url.url"
    if not is_data_uri(image.url):
        raise invalid(at, "this endpoint takes images inline only: send a data URI")
    media_type, data = split_data_uri(image.url)
    kind = _IMAGES.get(media_type)
    if kind is None:
        raise invalid(at, "this endpoint takes jpeg, png, gif and webp images")
    return {"image": {"format": kind, "source": {"bytes": data}}}


def document_block(file: File, path: str, names: dict[str, int]) -> dict[str, Any]:
    """A document with a name that is not in `names`, and then is: names must differ within a request.

    `names` holds for each name given how often it was wanted, so that as many files of one name take linear time.

    Raises:
        ServiceError: INVALID_REQUEST for a kind of file that is not taken, or one that is not inline.
    """
    if file.url is not None:
        raise invalid(f"{path}.file.file_url", "this endpoint takes files inline only: send file_data")
    if file.data is None:
        raise invalid(f"{path}.file.file_id", "this endpoint can't read files stored elsewhere: send file_data")
    stem, _, extension = (file.filename or "").rpartition(".")
    if is_data_uri(file.data):
        media_type, data = split_data_uri(file.data)
        kind = _DOCUMENTS.get(media_type)
    else:
        kind, data = _guess(extension.lower(), file.data), file.data
    if kind is None:
        known = ", ".join(sorted(_EXTENSIONS))
        raise invalid(f"{path}.file.file_data", f"this endpoint takes files of these kinds: {known}")
    return {"document": {"format": kind, "name": _name(stem or extension, names), "source": {"bytes": data}}}


def audio_block(audio: Audio, path: str) -> dict[str, Any]:
    """A sound.

    Raises:
        ServiceError: INVALID_REQUEST for a format that is not taken.
    """
    if audio.format not in _SOUNDS:
        raise invalid(
            f"{path}.input_audio.format",
            f"this endpoint takes {', '.join(sorted(_SOUNDS))}: raw samples have no rate",
        )
    return {"audio": {"format": audio.format, "source": {"bytes": audio.data}}}


def _guess(extension: str, data: str) -> str | None:
    if extension in _EXTENSIONS:
        return extension
    return "pdf" if data.startswith(PDF_IN_BASE64) else None


def _name(stem: str, names: dict[str, int]) -> str:
    allowed = _SPACES.sub(" ", _NOT_IN_NAMES.sub("-", stem)).strip(" -")
    base = name = allowed[:_LONGEST_NAME].rstrip() or "document"
    while name in names:
        names[base] += 1
        name = f"{base} ({names[base]})"
    names[name] = 1
    return name
