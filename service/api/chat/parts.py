"""Content parts of a message: from protobuf to the domain's parts, checked. Messages as wholes are elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, assert_never

from eurouter.v1 import content_pb2 as pb

from service.api.chat.call import DIALECT, Draft
from service.api.problems import Problems, in_base64, is_word, read_json, shown
from service.domain.fields import Field
from service.domain.generation import Audio, File, Image, Opaque, Part, Refusal, Text

TEXT_ONLY: Final = frozenset({"text", "opaque"})
USER_PARTS: Final = frozenset({"text", "image_url", "input_audio", "file", "opaque"})
ASSISTANT_PARTS: Final = frozenset({"text", "refusal", "opaque"})

_AUDIO_FORMATS: Final = ("wav", "mp3", "flac", "m4a", "ogg", "pcm16", "pcm24")
_IMAGE_HEAD: Final = re.compile(r"data:image/(jpeg|png|gif|webp);base64,", re.IGNORECASE)
_DATA_HEAD: Final = re.compile(
    r"data:[a-z0-9.+-]+/[a-z0-9.+-]+(;[a-z0-9.+-]+=[a-z0-9.+-]+)*;base64,", re.IGNORECASE
)
_HEAD_LENGTH: Final = 256
_WEB_ADDRESS: Final = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)
_MAX_ADDRESS: Final = 8192

FOREIGN: Final = "is stored at a provider, which knows this service's account and not yours"


def read_parts(
    draft: Draft, path: str, parts: Iterable[pb.ContentPart], allowed: frozenset[str], owner: str
) -> tuple[Part, ...]:
    """The parts at `path`; kinds beside `allowed` are violations that name `owner`, such as "a tool message"."""
    read: list[Part] = []
    for index, part in enumerate(parts):
        kind = part.WhichOneof("part")
        if kind == "text" and not part.HasField("prompt_cache_breakpoint"):
            read.append(Text(part.text))
            continue
        at = f"{path}[{index}]"
        if kind is None:
            draft.problems.add(at, "is empty: give it a type, such as text, and the value for it")
        elif kind not in allowed:
            names = " and ".join(sorted(allowed - {"opaque"}))
            draft.problems.add(at, f"{owner} takes {names} parts only, not {kind}")
        else:
            read.append(_part(draft, at, part))
    return tuple(read)


def _part(draft: Draft, at: str, part: pb.ContentPart) -> Part:
    cached = part.HasField("prompt_cache_breakpoint")
    if cached:
        _breakpoint(draft, f"{at}.prompt_cache_breakpoint", part)
    kind = part.WhichOneof("part")
    match kind:
        case "text":
            return Text(part.text, cached)
        case "image_url":
            return _image(draft, f"{at}.image_url", part.image_url, cached)
        case "input_audio":
            return _audio(draft, f"{at}.input_audio", part.input_audio, cached)
        case "file":
            return _file(draft, f"{at}.file", part.file, cached)
        case "refusal":
            return Refusal(part.refusal, in_content=True)
        case "opaque" | None:
            draft.need(Field.OPAQUE_INPUT, at)
            draft.need_dialect(at)
            return read_opaque(draft.problems, at, part.opaque, _KINDS)
        case _:
            assert_never(kind)


def read_opaque(problems: Problems, at: str, opaque: pb.Opaque, known: frozenset[str]) -> Opaque:
    """A value of a kind that nobody named. `known` kinds must not hide in it: they would escape their checks."""
    parsed = read_json(opaque.json)
    value = parsed[0] if isinstance(parsed, tuple) else None
    if not isinstance(value, dict):
        problems.add(at, "must be a JSON object as text")
    elif not opaque.type or value.get("type") != opaque.type:
        problems.add(at, "must have a `type` that says what it is")
    elif opaque.type in known:
        problems.add(at, f"{opaque.type} is a kind of its own: use the field of that name")
    return Opaque(DIALECT, opaque.type, opaque.json)


def _breakpoint(draft: Draft, at: str, part: pb.ContentPart) -> None:
    mark = part.prompt_cache_breakpoint
    if mark.HasField("mode") and mark.mode != "explicit":
        draft.problems.add(f"{at}.mode", f"must be explicit; got {shown(mark.mode)}")
    if part.WhichOneof("part") in ("refusal", "opaque"):
        draft.problems.add(at, "may stand at text, image_url, input_audio and file parts only")
    draft.need(Field.PROMPT_CACHE_BREAKPOINT, at)


def _image(draft: Draft, at: str, image: pb.ImageUrl, cached: bool) -> Image:
    complaint = _image_complaint(image.url)
    if complaint is not None:
        draft.problems.add(f"{at}.url", complaint)
    draft.need(Field.IMAGE_INPUT, at)
    detail = None
    if image.HasField("detail"):
        detail = image.detail
        draft.need(Field.IMAGE_DETAIL, f"{at}.detail")
        if not is_word(detail):
            draft.problems.add(f"{at}.detail", f"must be auto, low or high; got {shown(detail)}")
    return Image(image.url, detail, cached)


def _image_complaint(url: str) -> str | None:
    if url[:5].lower() == "data:":
        head = _IMAGE_HEAD.match(url)
        if head is None:
            start = url[:_HEAD_LENGTH].partition(",")[0]
            return (
                f"must start with data:image/ and one of jpeg, png, gif, webp, then ;base64, ; got {shown(start)}"
            )
        return None if in_base64(url[head.end() :]) else "must hold the image's bytes in base64, padded"
    if len(url) > _MAX_ADDRESS:
        return f"must be at most {_MAX_ADDRESS} characters long, unless it is a data URI"
    if _WEB_ADDRESS.fullmatch(url) is None:
        return "must be an http or https address, or a data URI with a jpeg, png, gif or webp image"
    return None


def _audio(draft: Draft, at: str, audio: pb.InputAudio, cached: bool) -> Audio:
    if audio.format not in _AUDIO_FORMATS:
        draft.problems.add(
            f"{at}.format", f"must be one of {', '.join(_AUDIO_FORMATS)}; got {shown(audio.format)}"
        )
    if not in_base64(audio.data):
        draft.problems.add(f"{at}.data", "must be the audio's bytes in base64, padded")
    draft.need(Field.AUDIO_INPUT, at)
    return Audio(audio.data, audio.format, cached)


def _file(draft: Draft, at: str, file: pb.File, cached: bool) -> File:
    has_data, has_id = file.HasField("file_data"), file.HasField("file_id")
    if has_data == has_id:
        draft.problems.add(at, "must have either file_data or file_id")
    elif has_id:
        draft.problems.foreign(f"{at}.file_id", f"{FOREIGN}: send the bytes in file_data")
    elif not _is_file_data(file.file_data):
        draft.problems.add(f"{at}.file_data", "must be the bytes in base64, padded, alone or as a data URI")
    draft.need(Field.FILE_INPUT, at)
    return File(
        data=file.file_data if has_data else None,
        filename=file.filename if file.HasField("filename") else None,
        file_id=file.file_id if has_id else None,
        cache_breakpoint=cached,
    )


def _is_file_data(data: str) -> bool:
    if data[:5].lower() != "data:":
        return in_base64(data)
    head = _DATA_HEAD.match(data[:_HEAD_LENGTH])
    return head is not None and in_base64(data[head.end() :])


_KINDS: Final = frozenset(
    field.name for field in pb.ContentPart.DESCRIPTOR.oneofs_by_name["part"].fields if field.name != "opaque"
)
