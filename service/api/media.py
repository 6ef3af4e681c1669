"""Checks of what content holds beside text: images, audio, documents, cache marks, values of unnamed kinds.

What names something stored at a provider is refused here, too, wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from eurouter.v1 import content_pb2 as pb

from service.api.draft import Draft
from service.api.problems import Problems, in_base64, is_word, read_json, shown
from service.domain.fields import Field
from service.domain.generation import Audio, Image, Opaque
from service.domain.media import AUDIO_TYPES, PDF, is_data_uri, media_type_of, sniff_base64

FOREIGN: Final = "is stored at a provider, which knows this service's account and not yours"

_STORED: Final = frozenset({"vector_store_ids", "file_ids", "file_id", "container_id", "skill_id", "tunnel_id"})
"""Keys under which a tool, an item or a part names what is stored at a provider."""

_AUDIO_FORMATS: Final = ("wav", "mp3", "flac", "m4a", "ogg", "pcm16", "pcm24")
_IMAGE_HEAD: Final = re.compile(r"data:image/(jpeg|png|gif|webp);base64,", re.IGNORECASE)
_DATA_HEAD: Final = re.compile(
    r"data:[a-z0-9.+-]+/[a-z0-9.+-]+(;[a-z0-9.+-]+=[a-z0-9.+-]+)*;base64,", re.IGNORECASE
)
_HEAD_LENGTH: Final = 256
_SIGNATURE: Final = 64
_NO_FILE: Final = "must be the bytes in base64, padded, alone or as a data URI"
_WEB_ADDRESS: Final = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)
_MAX_ADDRESS: Final = 8192


def read_opaque(draft: Draft, at: str, opaque: pb.Opaque, known: frozenset[str]) -> Opaque:
    """A value of a kind that nobody named. `known` kinds must not hide in it: they would escape their checks."""
    parsed = read_json(opaque.json)
    value = parsed[0] if isinstance(parsed, tuple) else None
    if not isinstance(value, dict):
        why = f": {parsed}" if isinstance(parsed, str) else ""
        draft.problems.add(at, f"must be a JSON object as text{why}")
    elif not opaque.type or value.get("type") != opaque.type:
        draft.problems.add(at, "must have a `type` that says what it is")
    elif opaque.type in known:
        draft.problems.add(at, f"{opaque.type} is a kind of its own: use the field of that name")
    return Opaque(draft.dialect, opaque.type, opaque.json)


def refuse_stored(draft: Draft, at: str, text: str, advice: str) -> None:
    """Notes what the JSON text of a value at `at` names that is stored at a provider; `advice` says what to do."""
    parsed = read_json(text)
    if isinstance(parsed, tuple):
        for path, instead in _stored(parsed[0], at):
            draft.problems.foreign(path, f"{FOREIGN}: {instead or advice}")


def _stored(value: object, at: str) -> Iterator[tuple[str, str]]:
    """The paths below `at` that name something stored, each with what to do where that is special."""
    if isinstance(value, dict):
        for key, below in value.items():
            path = f"{at}.{key}"
            if key in _STORED and below and isinstance(below, str | list):
                yield path, ""
            elif key == "container" and isinstance(below, str):
                yield path, 'use {"type": "auto"}'
            else:
                yield from _stored(below, path)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _stored(below, f"{at}[{index}]")


def read_breakpoint(draft: Draft, at: str, mark: pb.PromptCacheBreakpoint) -> None:
    """A cache mark at `at`."""
    if mark.HasField("mode") and mark.mode != "explicit":
        draft.problems.add(f"{at}.mode", f"must be explicit; got {shown(mark.mode)}")
    draft.need(Field.PROMPT_CACHE_BREAKPOINT, at)


def read_image(draft: Draft, at: str, url: str, url_name: str, detail: str | None, *, cached: bool) -> Image:
    """An image whose address stands at `at` under `url_name`."""
    complaint = _image_complaint(url)
    if complaint is not None:
        draft.problems.add(f"{at}.{url_name}", complaint)
    elif not is_data_uri(url):
        draft.need_address(Field.IMAGE_URL, url, f"{at}.{url_name}")
    if detail is not None:
        # What every endpoint does unasked, and what stored images say that were sent without a word.
        if detail != "auto":
            draft.need(Field.IMAGE_DETAIL, f"{at}.detail")
        if not is_word(detail):
            draft.problems.add(f"{at}.detail", f"must be auto, low or high; got {shown(detail)}")
    return Image(url, detail, cached)


def _image_complaint(url: str) -> str | None:
    if is_data_uri(url):
        head = _IMAGE_HEAD.match(url)
        if head is None:
            start = url[:_HEAD_LENGTH].partition(",")[0]
            return (
                f"must start with data:image/ and one of jpeg, png, gif, webp, then ;base64, ; got {shown(start)}"
            )
        data = url[head.end() :]
        if not in_base64(data):
            return "must hold the image's bytes in base64, padded"
        stated, found = f"image/{head[1].lower()}", sniff_base64(data[:_SIGNATURE])
        if found == stated:
            return None
        return f"says {stated}, but its bytes are {found or 'no image of that kind'}: state what it is"
    if len(url) > _MAX_ADDRESS:
        return f"must be at most {_MAX_ADDRESS} characters long, unless it is a data URI"
    if _WEB_ADDRESS.fullmatch(url) is None:
        return "must be an http or https address, or a data URI with a jpeg, png, gif or webp image"
    return None


def read_audio(draft: Draft, at: str, audio: pb.InputAudio, *, cached: bool = False) -> Audio:
    """Inline audio."""
    if audio.format not in _AUDIO_FORMATS:
        draft.problems.add(
            f"{at}.format", f"must be one of {', '.join(_AUDIO_FORMATS)}; got {shown(audio.format)}"
        )
    if not in_base64(audio.data):
        draft.problems.add(f"{at}.data", "must be the audio's bytes in base64, padded")
    elif audio.format in AUDIO_TYPES:
        found = sniff_base64(audio.data[:_SIGNATURE])
        if found is not None and found != AUDIO_TYPES[audio.format]:
            draft.problems.add(f"{at}.format", f"says {audio.format}, but the bytes are {found}: state what it is")
    draft.need(Field.AUDIO_INPUT, at)
    return Audio(audio.data, audio.format, cached)


def check_file_data(problems: Problems, at: str, data: str) -> None:
    """That `data` holds a document's bytes, of the kind that it states if that is one known by its bytes."""
    stated, start = "", 0
    if is_data_uri(data):
        head = _DATA_HEAD.match(data[:_HEAD_LENGTH])
        if head is None:
            problems.add(at, _NO_FILE)
            return
        stated, start = media_type_of(head[0][5:]), head.end()
    data = data[start:]
    if not in_base64(data):
        problems.add(at, _NO_FILE)
        return
    found = sniff_base64(data[:_SIGNATURE])
    if found is not None and found != stated and (stated == PDF or stated.startswith("image/")):
        problems.add(at, f"says {stated}, but its bytes are {found}: state what it is")


def address_complaint(url: str) -> str | None:
    """What is wrong with a web address; None if nothing is."""
    if len(url) > _MAX_ADDRESS:
        return f"must be at most {_MAX_ADDRESS} characters long"
    return None if _WEB_ADDRESS.fullmatch(url) is not None else "must be an http or https address"
