"""Tables of keys for the documentation, from the pydantic models that check the documents."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from adapters.documents.problems import bounds, inner_model

if typing.TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_PLAIN: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    Decimal: "number",
    date: "date",
}


def table(model: type[BaseModel]) -> Iterator[str]:
    """The keys of one mapping as lines of a Markdown table."""
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for name, field in model.model_fields.items():
        cells = (f"`{name}`", value_of(field), default_of(field), field.description or "")
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def models_in(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """`model` and every model inside it, each once, in the order in which a reader meets them."""
    seen: set[type[BaseModel]] = set()
    waiting = [model]
    while waiting:
        here = waiting.pop(0)
        if here in seen:
            continue
        seen.add(here)
        yield here
        inner = (inner_model(field.annotation) for field in here.model_fields.values())
        waiting += [found for found in inner if found is not None]


def title(model: type[BaseModel]) -> str:
    """`ProviderPart` as `provider`."""
    name = model.__name__.partition("[")[0].removesuffix("Part").removesuffix("Document").removesuffix("Settings")
    return "".join(f" {c.lower()}" if c.isupper() and at else c.lower() for at, c in enumerate(name))


def value_of(field: FieldInfo) -> str:
    """What may stand there: `whole number, 1..65535`."""
    limits = bounds(field)
    return _kind(field.annotation) + (f", {limits}" if limits else "")


def default_of(field: FieldInfo) -> str:
    """The default as a person would write it, `required` without one, "" for an empty one."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None or isinstance(value, BaseModel):
        return ""
    if isinstance(value, str | tuple | frozenset | dict) and not value:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(a) for a in arguments if a is not type(None))
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin in (tuple, list, frozenset, set):
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return f"mapping of text to {_kind(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{title(annotation)}](#{title(annotation).replace(' ', '-')})"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "request field"
    return _PLAIN.get(annotation, "text")
