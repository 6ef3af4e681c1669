"""Content parts on the wire: what goes in (input_*), and what an assistant said earlier (output_text, refusal)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from service.domain.catalog import Endpoint
from service.domain.fields import Field
from service.domain.generation import File, Image, Opaque, Part, Refusal, Text
from service.domain.media import is_data_uri

from .verbatim import cannot, opaque

Content = str | list[Any]


def input_content(parts: Sequence[Part], path: str, endpoint: Endpoint) -> Content:
    """The content of a message that goes in, or a tool's output: a lone text as a string, else parts.

    Raises:
        ServiceError: INVALID_REQUEST for a part that the endpoint can't take.
    """
    if not parts:
        return ""
    if len(parts) == 1 and isinstance(parts[0], Text) and not _marks(parts[0], endpoint):
        return parts[0].text
    return [_input_part(part, f"{path}.content[{index}]", endpoint) for index, part in enumerate(parts)]


def output_content(parts: Sequence[Part], annotations: list[Any], path: str, endpoint: Endpoint) -> Content:
    """The content of an assistant's message. `annotations` belong to its last text.

    A lone text goes as a string: servers that check the listed form strictly want the ids and states of a
    provider's own items with it.

    Raises:
        ServiceError: INVALID_REQUEST for a part that has no place in an assistant's message.
    """
    if len(parts) == 1 and isinstance(parts[0], Text) and not annotations:
        return parts[0].text
    content: list[Any] = []
    for index, part in enumerate(parts):
        match part:
            case Text():
                content.append({"type": "output_text", "text": part.text, "annotations": [], "logprobs": []})
            case Refusal():
                content.append({"type": "refusal", "refusal": part.text})
            case Opaque():
                content.append(_opaque(part, f"{path}.content[{index}]", endpoint))
            case _:
                raise cannot(f"{path}.content[{index}]", f"{type(part).__name__} from an assistant", endpoint)
    if annotations:
        texts = [part for part in content if isinstance(part, dict) and part["type"] == "output_text"]
        texts[-1]["annotations"] = annotations
    return content


def read_annotations(text: str) -> list[Any]:
    """An earlier answer's sources in this API's form; in the Chat API's they stand one level deeper."""
    found = orjson.loads(text)
    return [_flat(entry) for entry in found] if isinstance(found, list) else []


def _flat(entry: Any) -> Any:
    inner = entry.get("url_citation") if isinstance(entry, dict) else None
    return {"type": "url_citation", **inner} if isinstance(inner, dict) else entry


def _input_part(part: Part, path: str, endpoint: Endpoint) -> dict[str, Any] | orjson.Fragment:
    can = endpoint.expressible
    written: dict[str, Any]
    match part:
        case Text():
            written = {"type": "input_text", "text": part.text}
        case Image():
            _demand(Field.IMAGE_INPUT, path, "images", endpoint)
            if not is_data_uri(part.url):
                _demand(Field.IMAGE_URL, f"{path}.image_url", "images by their address", endpoint)
            detail = part.detail if Field.IMAGE_DETAIL in can else None
            # The schema wants a detail with every image; auto is what none means.
            written = {"type": "input_image", "image_url": part.url, "detail": detail or "auto"}
        case File():
            _demand(Field.FILE_INPUT, path, "files", endpoint)
            written = {"type": "input_file", **_file(part, path, endpoint)}
        case Opaque():
            return _opaque(part, path, endpoint)
        case _:
            raise cannot(path, f"{type(part).__name__} here", endpoint)
    if _marks(part, endpoint):
        written["prompt_cache_breakpoint"] = {"mode": "explicit"}
    return written


def _file(part: File, path: str, endpoint: Endpoint) -> dict[str, str]:
    if part.url is not None:
        _demand(Field.FILE_URL, f"{path}.file_url", "files by their address", endpoint)
    detail = part.detail if Field.FILE_DETAIL in endpoint.expressible else None
    values = {
        "file_id": part.file_id,
        "filename": part.filename,
        "file_data": part.data,
        "file_url": part.url,
        "detail": detail,
    }
    return {name: value for name, value in values.items() if value is not None}


def _opaque(part: Opaque, path: str, endpoint: Endpoint) -> orjson.Fragment:
    _demand(Field.OPAQUE_INPUT, path, part.type, endpoint)
    return opaque(part, path, endpoint)


def _marks(part: Text | Image | File, endpoint: Endpoint) -> bool:
    return part.cache_breakpoint and Field.PROMPT_CACHE_BREAKPOINT in endpoint.expressible


def _demand(need: Field, path: str, what: str, endpoint: Endpoint) -> None:
    if need not in endpoint.expressible:
        raise cannot(path, what, endpoint)
