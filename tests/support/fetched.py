"""What stands at an address, as a fetcher gives it and back."""

from __future__ import annotations

from base64 import b64decode, b64encode

from service.domain.media import FetchedMedia


def fetched(media_type: str, data: bytes) -> FetchedMedia:
    """These bytes as they come from a fetcher."""
    return FetchedMedia(media_type, len(data), f"data:{media_type};base64,{b64encode(data).decode()}")


def bytes_of(media: FetchedMedia) -> bytes:
    """What was fetched."""
    return b64decode(media.data_uri.partition(",")[2], validate=True)
