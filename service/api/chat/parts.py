"""Content parts of a message: from protobuf to the domain's parts, checked. Messages as wholes are elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

from eurouter.v1 import content_pb2 as pb

from service.api.chat.call import ChatDraft
from service.api.media import (
    FOREIGN,
    check_file_data,
    read_audio,
    read_breakpoint,
    read_image,
    read_opaque,
    refuse_stored,
)
from service.domain.fields import Field
from service.domain.generation import File, Image, Part, Refusal, Text

TEXT_ONLY: Final = frozenset({"text", "opaque"})
USER_PARTS: Final = frozenset({"text", "image_url", "input_audio", "file", "opaque"})
ASSISTANT_PARTS: Final = frozenset({"text", "refusal", "opaque"})


def read_parts(
    draft: ChatDraft, path: str, parts: Iterable[pb.ContentPart], allowed: frozenset[str], owner: str
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


def _part(draft: ChatDraft, at: str, part: pb.ContentPart) -> Part:
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
            return read_audio(draft, f"{at}.input_audio", part.input_audio, cached=cached)
        case "file":
            return _file(draft, f"{at}.file", part.file, cached)
        case "refusal":
            return Refusal(part.refusal, in_content=True)
        case "opaque" | None:
            draft.need(Field.OPAQUE_INPUT, at)
            draft.need_dialect(at)
            if part.opaque.type not in _KINDS:
                refuse_stored(draft, at, part.opaque.json, "send what it holds")
            return read_opaque(draft, at, part.opaque, _KINDS)
        case _:
            assert_never(kind)


def _breakpoint(draft: ChatDraft, at: str, part: pb.ContentPart) -> None:
    if part.WhichOneof("part") in ("refusal", "opaque"):
        draft.problems.add(at, "may stand at text, image_url, input_audio and file parts only")
    read_breakpoint(draft, at, part.prompt_cache_breakpoint)


def _image(draft: ChatDraft, at: str, image: pb.ImageUrl, cached: bool) -> Image:
    draft.need(Field.IMAGE_INPUT, at)
    return read_image(
        draft, at, image.url, "url", image.detail if image.HasField("detail") else None, cached=cached
    )


def _file(draft: ChatDraft, at: str, file: pb.File, cached: bool) -> File:
    has_data, has_id = file.HasField("file_data"), file.HasField("file_id")
    if has_data == has_id:
        draft.problems.add(at, "must have either file_data or file_id")
    elif has_id:
        draft.problems.foreign(f"{at}.file_id", f"{FOREIGN}: send the bytes in file_data")
    else:
        check_file_data(draft.problems, f"{at}.file_data", file.file_data)
    draft.need(Field.FILE_INPUT, at)
    return File(
        data=file.file_data if has_data else None,
        filename=file.filename if file.HasField("filename") else None,
        file_id=file.file_id if has_id else None,
        cache_breakpoint=cached,
    )


_KINDS: Final = frozenset(
    field.name for field in pb.ContentPart.DESCRIPTOR.oneofs_by_name["part"].fields if field.name != "opaque"
)
