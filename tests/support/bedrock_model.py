"""What botocore knows of Converse: its service model, its validator, its serializer and its parsers. No client."""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from typing import Any

from botocore.eventstream import EventStream
from botocore.model import OperationModel, Shape
from botocore.parsers import EventStreamJSONParser, create_parser
from botocore.serialize import create_serializer
from botocore.session import Session
from botocore.validate import ParamValidator


@cache
def operation(*, stream: bool) -> OperationModel:
    """Converse or ConverseStream."""
    model = Session().get_service_model("bedrock-runtime")
    return model.operation_model("ConverseStream" if stream else "Converse")


def params_of(body: dict[str, Any], model_id: str, *, stream: bool) -> dict[str, Any]:
    """The arguments that a caller of boto3 would give for a request with this body."""
    decoded: dict[str, Any] = _decoded(body, operation(stream=stream).input_shape)
    return {"modelId": model_id, **decoded}


def problems_of(params: dict[str, Any], *, stream: bool) -> list[str]:
    """What botocore's validator has against the arguments, and what its model says beyond that."""
    shape = operation(stream=stream).input_shape
    report = ParamValidator().validate(params, shape)
    return [report.generate_report()] * report.has_errors() + list(_beyond(params, shape, ""))


def serialized(params: dict[str, Any], *, stream: bool) -> tuple[str, bytes]:
    """Path and body as botocore writes them."""
    request = create_serializer("rest-json").serialize_to_request(params, operation(stream=stream))
    return request["url_path"], request["body"]


def parsed(body: bytes, status: int = 200) -> dict[str, Any]:
    """A whole answer as botocore reads it."""
    response = {"headers": {}, "body": body, "status_code": status}
    read: dict[str, Any] = create_parser("rest-json").parse(response, operation(stream=False).output_shape)
    return read


def parsed_stream(body: bytes) -> list[dict[str, Any]]:
    """A stream's events as botocore reads them, each {event type: its members}."""
    shape = operation(stream=True).output_shape.members["stream"]
    return list(EventStream(_Raw(body), shape, EventStreamJSONParser(), "ConverseStream"))


def gathered(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Those events put together as the answer that botocore reads when it is not streamed."""
    blocks: dict[int, dict[str, Any]] = {}
    answer: dict[str, Any] = {}
    for event in events:
        ((kind, members),) = event.items()
        if kind == "contentBlockStart":
            blocks[members["contentBlockIndex"]] = {"toolUse": {**members["start"]["toolUse"], "input": ""}}
        elif kind == "contentBlockDelta":
            delta = members["delta"]
            block = blocks.setdefault(members["contentBlockIndex"], {"text": ""})
            if "toolUse" in delta:
                block["toolUse"]["input"] += delta["toolUse"]["input"]
            else:
                assert delta.keys() == {"text"}
                block["text"] += delta["text"]
        elif kind in ("messageStop", "metadata"):
            answer |= members
        else:
            assert kind in ("messageStart", "contentBlockStop")
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return {**answer, "output": {"message": {"content": [blocks[index] for index in sorted(blocks)]}}}


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> list[bytes]:
        return [self._body]


def _decoded(value: Any, shape: Shape) -> Any:
    if shape.type_name == "blob":
        return base64.b64decode(value, validate=True)
    if shape.type_name == "list":
        return [_decoded(item, shape.member) for item in value]
    if shape.type_name == "structure" and not shape.is_document_type:
        members = shape.members
        return {name: _decoded(item, members[name]) if name in members else item for name, item in value.items()}
    return value


def _beyond(value: Any, shape: Shape, path: str) -> list[str]:
    """Enums, patterns and greatest lengths, which botocore leaves to the service."""
    if shape.type_name == "list":
        found = [problem for item in value for problem in _beyond(item, shape.member, f"{path}[]")]
    elif shape.type_name == "structure" and not shape.is_document_type:
        found = [
            problem
            for name, item in value.items()
            if name in shape.members
            for problem in _beyond(item, shape.members[name], f"{path}.{name}")
        ]
    else:
        found = []
        if shape.type_name == "string":
            pattern = shape.metadata.get("pattern")
            if pattern and not re.fullmatch(pattern, value):
                found.append(f"{path}: {value!r} does not match")
            if shape.enum and value not in shape.enum:
                found.append(f"{path}: {value!r} is not in the list")
    most = shape.metadata.get("max")
    if most is not None:
        size = value if isinstance(value, int | float) else len(value)
        found += [f"{path}: {size} is beyond {most}"] * (size > most)
    return found
