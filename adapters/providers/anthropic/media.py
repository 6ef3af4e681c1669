"""Images and documents as Anthropic's blocks (docs: vision, PDF support)."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from service.domain.errors import invalid
from service.domain.generation import File, Image
from service.domain.media import PDF_IN_BASE64, is_data_uri, split_data_uri

_IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PDF: Final = "application/pdf"


def image_block(image: Image, path: str) -> dict[str, Any]:
    """An address or inline bytes.

    Raises:
        ServiceError: INVALID_REQUEST for a kind of image that is not taken.
    """
    if not is_data_uri(image.url):
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    media_type, data = split_data_uri(image.url)
    if media_type not in _IMAGES:
        raise invalid(path, "this endpoint takes jpeg, png, gif and webp images")
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


def document_block(file: File, path: str) -> dict[str, Any]:
    """A PDF, inline or by its address, or an inline plain text. (SDK `anthropic` 2.12: URLPDFSourceParam and its
    neighbours.)

    Raises:
        ServiceError: INVALID_REQUEST for another kind of file, or one that is stored elsewhere.
    """
    if file.data is None and file.url is None:
        raise invalid(f"{path}.file.file_id", "this endpoint can't read files stored elsewhere: send file_data")
    source: dict[str, Any]
    media_type, data = _inline(file)
    if file.url is not None:
        source = {"type": "url", "url": file.url}
    elif media_type == _PDF:
        source = {"type": "base64", "media_type": _PDF, "data": data}
    elif media_type == "text/plain":
        source = {"type": "text", "media_type": "text/plain", "data": _text(data, path)}
    else:
        raise invalid(f"{path}.file.file_data", "this endpoint takes PDF and plain text files")
    block: dict[str, Any] = {"type": "document", "source": source}
    if file.filename:
        block["title"] = file.filename
    return block


def _inline(file: File) -> tuple[str, str]:
    data = file.data or ""
    return split_data_uri(data) if is_data_uri(data) else (_guess(file), data)


def _guess(file: File) -> str:
    name = (file.filename or "").lower()
    if name.endswith(".txt"):
        return "text/plain"
    return _PDF if name.endswith(".pdf") or (file.data or "").startswith(PDF_IN_BASE64) else ""


def _text(data: str, path: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise invalid(f"{path}.file.file_data", "a plain text file must be UTF-8 in base64") from None
