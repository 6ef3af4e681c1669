"""What was kept beside what is found today: fields may have been added, nothing else. Knows no files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from eurouter.v1 import chat_pb2, response_object_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from service.edge.kafka import names
from tests.upgrades.releases import with_bytes

_PUBLISHED: Final[Mapping[str, type[Message]]] = {
    kind.DESCRIPTOR.full_name: kind for kind in (chat_pb2.ChatCompletion, response_object_pb2.Response)
}


def changes(kept: object, found: object, path: str = "") -> Iterator[str]:
    """Where what is found is not what was kept; objects may have more fields, lists no more elements."""
    if isinstance(kept, dict) and isinstance(found, dict):
        for name, value in kept.items():
            if name in found:
                yield from changes(value, found[name], f"{path}.{name}")
            else:
                yield f"{path}.{name} is gone"
    elif isinstance(kept, list) and isinstance(found, list):
        if len(kept) != len(found):
            yield f"{path} has {len(found)} elements, not {len(kept)}"
        for at, (one, other) in enumerate(zip(kept, found, strict=False)):
            yield from changes(one, other, f"{path}[{at}]")
    elif kept != found:
        yield f"{path} is {found!r}, not {kept!r}"


def read(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a message to Kafka as its reader has them: headers by name, a result as an object."""
    headers = dict(fields["headers"])
    value = fields["value"]
    if value is not None and names.STATUS in headers:
        value = body_of(with_bytes(dict(fields)))
    return {**fields, "headers": headers, "value": value}


def body_of(message: Mapping[str, Any]) -> Any:
    """A result, of whichever form its content type says it is."""
    if _content_type(message).startswith("application/protobuf"):
        return MessageToDict(published(message))
    return json.loads(message["value"])


def published(message: Mapping[str, Any]) -> Message:
    """A result as protobuf."""
    return _PUBLISHED[_content_type(message).rpartition("proto=")[2]].FromString(message["value"])


def _content_type(message: Mapping[str, Any]) -> str:
    return str(dict(message["headers"])[names.CONTENT_TYPE], "ascii")
