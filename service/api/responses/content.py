"""Content of items: from protobuf to the domain's parts, checked. Items as wholes are elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, assert_never

import orjson
from eurouter.v1 import response_items_pb2 as pb

from service.api.media import (
    FOREIGN,
    address_complaint,
    check_file_data,
    read_audio,
    read_breakpoint,
    read_image,
    read_opaque,
    refuse_stored,
)
from service.api.problems import is_word, shown
from service.api.responses.call import ResponsesDraft
from service.domain.fields import Field
from service.domain.generation import File, Image, Part, Refusal, Text
from service.wire import render_bytes

USER_PARTS: Final = frozenset({"input_text", "input_image", "input_file", "input_audio", "opaque"})
SYSTEM_PARTS: Final = frozenset({"input_text", "opaque"})
ASSISTANT_PARTS: Final = frozenset({"output_text", "refusal", "input_text", "opaque"})
OUTPUT_PARTS: Final = frozenset({"input_text", "input_image", "input_file", "opaque"})

_KINDS: Final = frozenset(
    field.name for field in pb.ResponseContent.DESCRIPTOR.oneofs_by_name["part"].fields if field.name != "opaque"
)
_ANNOTATIONS: Final = frozenset(
    field.name
    for field in pb.ResponseAnnotation.DESCRIPTOR.oneofs_by_name["annotation"].fields
    if field.name != "opaque"
)


def read_parts(
    draft: ResponsesDraft, path: str, parts: Iterable[pb.ResponseContent], allowed: frozenset[str], owner: str
) -> tuple[Part, ...]:
    """The parts at `path`; kinds beside `allowed` are violations that name `owner`, such as "a tool's output"."""
    read: list[Part] = []
    for index, part in enumerate(parts):
        kind = part.WhichOneof("part")
        at = f"{path}[{index}]"
        if kind is None:
            draft.problems.add(at, "is empty: give it a type, such as input_text, and what belongs to it")
            draft.problems.unknown_fields(part, at)
        elif kind not in allowed:
            names = " and ".join(sorted(allowed - {"opaque"}))
            draft.problems.add(at, f"{owner} takes {names} parts only, not {kind}")
        else:
            draft.problems.unknown_fields(getattr(part, kind), at)
            read.append(_part(draft, at, part))
    return tuple(read)


def _part(draft: ResponsesDraft, at: str, part: pb.ResponseContent) -> Part:
    kind = part.WhichOneof("part")
    match kind:
        case "input_text":
            return Text(part.input_text.text, _cached(draft, at, part.input_text))
        case "output_text":
            # Log probabilities of what was said are no part of what is asked.
            return Text(part.output_text.text)
        case "reasoning_text":
            return Text(part.reasoning_text.text)
        case "summary_text":
            return Text(part.summary_text.text)
        case "refusal":
            return Refusal(part.refusal.refusal, in_content=True)
        case "input_image":
            return _image(draft, at, part.input_image)
        case "input_file":
            return _file(draft, at, part.input_file)
        case "input_audio":
            return read_audio(draft, f"{at}.input_audio", part.input_audio.input_audio)
        case "opaque" | None:
            draft.need(Field.OPAQUE_INPUT, at)
            draft.need_dialect(at)
            if part.opaque.type not in _KINDS:
                refuse_stored(draft, at, part.opaque.json, "send what it holds")
            return read_opaque(draft, at, part.opaque, _KINDS)
        case _:
            assert_never(kind)


def _cached(
    draft: ResponsesDraft, at: str, part: pb.ResponseInputText | pb.ResponseInputImage | pb.ResponseInputFile
) -> bool:
    if not part.HasField("prompt_cache_breakpoint"):
        return False
    read_breakpoint(draft, f"{at}.prompt_cache_breakpoint", part.prompt_cache_breakpoint)
    return True


def _image(draft: ResponsesDraft, at: str, image: pb.ResponseInputImage) -> Image:
    cached = _cached(draft, at, image)
    detail = image.detail if image.HasField("detail") else None
    draft.need(Field.IMAGE_INPUT, f"{at}.image_url")
    if image.HasField("file_id") == image.HasField("image_url"):
        draft.problems.add(at, "must have either image_url or file_id")
        return Image(image.image_url)
    if image.HasField("file_id"):
        draft.problems.foreign(f"{at}.file_id", f"{FOREIGN}: send the image in image_url")
        return Image("")
    return read_image(draft, at, image.image_url, "image_url", detail, cached=cached)


def _file(draft: ResponsesDraft, at: str, file: pb.ResponseInputFile) -> File:
    given = [name for name in ("file_data", "file_url", "file_id") if file.HasField(name)]
    if len(given) != 1:
        draft.problems.add(at, "must have one of file_data, file_url and file_id")
    elif given == ["file_id"]:
        draft.problems.foreign(f"{at}.file_id", f"{FOREIGN}: send the bytes in file_data")
    elif given == ["file_data"]:
        check_file_data(draft.problems, f"{at}.file_data", file.file_data)
    else:
        draft.need_address(Field.FILE_URL, file.file_url, f"{at}.file_url")
        if (complaint := address_complaint(file.file_url)) is not None:
            draft.problems.add(f"{at}.file_url", complaint)
    draft.need(Field.FILE_INPUT, at)
    if file.HasField("detail"):
        draft.need(Field.FILE_DETAIL, f"{at}.detail")
        if not is_word(file.detail):
            draft.problems.add(f"{at}.detail", f"must be low or high; got {shown(file.detail)}")
    return File(
        data=file.file_data if file.HasField("file_data") else None,
        filename=file.filename if file.HasField("filename") else None,
        file_id=file.file_id if file.HasField("file_id") else None,
        cache_breakpoint=_cached(draft, at, file),
        url=file.file_url if file.HasField("file_url") else None,
        detail=file.detail if file.HasField("detail") else None,
    )


def read_texts(
    draft: ResponsesDraft, path: str, parts: Iterable[pb.ResponseContent], kind: str, owner: str
) -> list[str]:
    """The texts of parts that are all of one kind."""
    read = read_parts(draft, path, parts, frozenset({kind}), owner)
    return [part.text for part in read if isinstance(part, Text)]


def read_annotations(draft: ResponsesDraft, path: str, parts: Sequence[pb.ResponseContent]) -> str | None:
    """The sources of an assistant's message, as JSON text in the neutral form (the Chat API's)."""
    texts: list[str] = []
    for place, part in enumerate(parts):
        for index, annotation in enumerate(part.output_text.annotations if part.HasField("output_text") else ()):
            at = f"{path}[{place}].annotations[{index}]"
            draft.need(Field.ANNOTATION_HISTORY, at)
            texts.append(_annotation(draft, at, annotation))
    return f"[{','.join(texts)}]" if texts else None


def _annotation(draft: ResponsesDraft, at: str, annotation: pb.ResponseAnnotation) -> str:
    kind = annotation.WhichOneof("annotation")
    match kind:
        case "url_citation":
            cited = annotation.url_citation
            body = {field.name: getattr(cited, field.name) for field in cited.DESCRIPTOR.fields}
            return orjson.dumps({"type": kind, kind: body}).decode()
        case "file_citation" | "container_file_citation" | "file_path":
            return render_bytes(annotation).decode()
        case "opaque":
            return read_opaque(draft, at, annotation.opaque, _ANNOTATIONS).json
        case None:
            draft.problems.add(at, "is empty: give it a type, such as url_citation")
            return "null"
        case _:
            assert_never(kind)
