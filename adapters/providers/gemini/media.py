"""Images, sounds and documents as Gemini's inlineData (docs: image, audio and document understanding)."""

from __future__ import annotations

from typing import Any, Final

from service.domain.errors import invalid
from service.domain.generation import Audio, File, Image
from service.domain.media import PDF_IN_BASE64, is_data_uri, split_data_uri

Blob = dict[str, Any]

_IMAGES: Final = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")
_PDF: Final = "application/pdf"
_FILES: Final = (
    _PDF,
    "text/plain",
    "text/html",
    "text/css",
    "text/csv",
    "text/markdown",
    "text/xml",
    "text/rtf",
    *_IMAGES,
    "video/mp4",
    "video/mpeg",
    "video/mov",
    "video/webm",
    "video/3gpp",
)
_SOUNDS: Final = {
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "m4a": "audio/m4a",
}
_ENDINGS: Final = {
    ".pdf": _PDF,
    ".txt": "text/plain",
    ".html": "text/html",
    ".css": "text/css",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".xml": "text/xml",
    ".rtf": "text/rtf",
}


def inline_data(part: Image | Audio | File, path: str) -> Blob:
    """The Blob of what stands inline; `path` is the part's.

    Raises:
        ServiceError: INVALID_REQUEST for an address, a file stored elsewhere, or a kind that is not taken.
    """
    match part:
        case Image():
            return _image(part, f"{path}.image_url.url")
        case Audio():
            return _sound(part, f"{path}.input_audio.format")
        case File():
            return _file(part, f"{path}.file")


def _image(image: Image, path: str) -> Blob:
    if not is_data_uri(image.url):
        raise invalid(path, "this endpoint takes inline images only: send a data URI")
    media_type, data = split_data_uri(image.url)
    if media_type not in _IMAGES:
        raise invalid(path, "this endpoint takes png, jpeg, webp, heic and heif images")
    return {"mimeType": media_type, "data": data}


def _sound(audio: Audio, path: str) -> Blob:
    if audio.format not in _SOUNDS:
        raise invalid(path, f"this endpoint takes {', '.join(_SOUNDS)}")
    return {"mimeType": _SOUNDS[audio.format], "data": audio.data}


def _file(file: File, path: str) -> Blob:
    if file.url is not None:
        raise invalid(f"{path}.file_url", "this endpoint takes inline files only: send file_data")
    if file.data is None:
        raise invalid(f"{path}.file_id", "this endpoint can't read files stored elsewhere: send file_data")
    media_type, data = split_data_uri(file.data) if is_data_uri(file.data) else (_guess(file), file.data)
    if media_type not in _FILES:
        raise invalid(f"{path}.file_data", "this endpoint takes PDF, text, image and video files")
    return {"mimeType": media_type, "data": data}


def _guess(file: File) -> str:
    name = (file.filename or "").lower()
    ending = name[name.rfind(".") :] if "." in name else ""
    return _ENDINGS.get(ending) or (_PDF if (file.data or "").startswith(PDF_IN_BASE64) else "")
