"""Documents and sounds as Mistral's parts (OpenAPI document: DocumentURLChunk, FileChunk, AudioChunk)."""

from __future__ import annotations

from typing import Any, Final

from service.domain.errors import invalid
from service.domain.generation import Audio, File
from service.domain.media import PDF, PDF_IN_BASE64, is_data_uri

_RAW: Final = ("pcm16", "pcm24")


def document_chunk(file: File, path: str) -> dict[str, Any]:
    """An address, inline bytes as a data URI, or a file that is stored there.

    Raises:
        ServiceError: INVALID_REQUEST for bytes of which nobody says what they are.
    """
    if file.url is None and file.data is None:
        return {"type": "file", "file_id": file.file_id}
    chunk = {"type": "document_url", "document_url": file.url or _data_uri(file, path)}
    if file.filename is not None:
        chunk["document_name"] = file.filename
    return chunk


def _data_uri(file: File, path: str) -> str:
    data = file.data or ""
    if is_data_uri(data):
        return data
    if data.startswith(PDF_IN_BASE64) or (file.filename or "").lower().endswith(".pdf"):
        return f"data:{PDF};base64,{data}"
    raise invalid(
        f"{path}.file.file_data", "say what it is: send a data URI, such as data:application/pdf;base64,..."
    )


def audio_chunk(audio: Audio, path: str) -> dict[str, Any]:
    """The sound in base64; the wire has no place for the format, which the bytes must tell.

    Raises:
        ServiceError: INVALID_REQUEST for samples without a container.
    """
    if audio.format in _RAW:
        raise invalid(
            f"{path}.input_audio.format", "this endpoint takes files such as wav and mp3, no raw samples"
        )
    return {"type": "input_audio", "input_audio": audio.data}
