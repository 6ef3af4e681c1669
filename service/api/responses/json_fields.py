"""Checks of strings that hold JSON, by the wire's own table: it writes them as they are."""

from __future__ import annotations

from typing import Final, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from service.api.problems import Problems, json_complaint
from service.wire import rules

_TYPES: Final[dict[rules.JsonShape, type]] = {
    rules.JsonShape.OBJECT: dict,
    rules.JsonShape.ARRAY: list,
    rules.JsonShape.ANY: object,
}

_Checks = tuple[tuple[str, bool, type, str], ...]
_by_descriptor: Final[dict[Descriptor, _Checks]] = {}


def check_json_fields(problems: Problems, at: str, message: Message) -> None:
    """That those of the message's own fields which hold JSON do; unset ones are nobody's business here."""
    descriptor = cast("Descriptor", message.DESCRIPTOR)
    checks = _by_descriptor.get(descriptor)
    if checks is None:
        checks = _by_descriptor[descriptor] = _checks(descriptor)
    for name, optional, kind, what in checks:
        text = getattr(message, name)
        if text or (message.HasField(name) if optional else True):
            complaint = json_complaint(text, kind, what)
            if complaint is not None:
                problems.add(f"{at}.{name}", complaint)


def _checks(descriptor: Descriptor) -> _Checks:
    shaped = [
        (field, rules.JSON_TEXT[field.full_name])
        for field in descriptor.fields
        if field.full_name in rules.JSON_TEXT
    ]
    return tuple((field.name, field.has_presence, _TYPES[shape], shape.value) for field, shape in shaped)
