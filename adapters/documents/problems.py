"""What pydantic found wrong with a document, said for the person who wrote it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import BaseModel, ValidationError

from adapters.documents.read import Document, Problem, format_path

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_BOUNDS: Final = {"ge": "{} or more", "gt": "more than {}", "le": "{} or less", "lt": "less than {}"}

_PLAIN: Final = {
    "missing": "is required",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text (put it in quotes if it looks like a number)",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
    "set_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "decimal_parsing": "must be a number",
    "decimal_type": "must be a number",
    "finite_number": "must be a number, not infinity or NaN",
    "date_from_datetime_parsing": "must be a date, as 2026-11-22",
    "date_parsing": "must be a date, as 2026-11-22",
    "date_type": "must be a date, as 2026-11-22",
    "date_from_datetime_inexact": "must be a date without a time, as 2026-11-22",
}
# Only what can't be a secret pasted into the wrong place is repeated in an error.
_ECHOED: Final = (
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "literal_error",
    "enum",
    "bool_parsing",
    "int_from_float",
)


def problems_in(error: ValidationError, model: type[BaseModel], document: Document) -> list[Problem]:
    """Every error of `model` on `document`, each with its path, what to do and the line."""
    found = []
    details = error.errors(include_url=False)
    for detail in details:
        location = tuple(detail["loc"])
        if detail["type"] == "too_short" and any(_is_inside(other, location) for other in details):
            # pydantic counts only the entries that are right.
            continue
        found.append(Problem(format_path(location), _message(detail, model), document.line(location)))
    return found


def _is_inside(detail: ErrorDetails, location: tuple[int | str, ...]) -> bool:
    return len(detail["loc"]) > len(location) and tuple(detail["loc"][: len(location)]) == location


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'port'?` for the known name nearest to `name`, "" when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def model_at(model: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel] | None:
    """The model that the keys at `location` belong to; None when it is no model."""
    here: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int):
            continue
        info = here.model_fields.get(part) if here else None
        here = inner_model(info.annotation) if info else None
    return here


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation: itself, of an optional, or of a list's items."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        if (found := inner_model(inner)) is not None:
            return found
    return None


def _message(detail: ErrorDetails, model: type[BaseModel]) -> str:
    kind, location, context = detail["type"], tuple(detail["loc"]), detail.get("ctx") or {}
    if kind == "extra_forbidden":
        owner = model_at(model, location[:-1])
        known = list(owner.model_fields) if owner else []
        return f"is not a known key{suggestion(str(location[-1]), known)}"
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    if kind == "string_type" and isinstance(detail["input"], bool):
        return "must be text: put it in quotes (YAML reads yes, no, on and off as true and false)"
    text = _expectation(kind, context, _field_at(model, location)) or detail["msg"]
    return f"{text}, got {detail['input']!r}" if kind in _ECHOED else text


def _expectation(kind: str, context: dict[str, Any], field: FieldInfo | None) -> str | None:
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}"
    if kind in ("literal_error", "enum"):
        return f"must be {context['expected']}"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        own = {context.get(b) is not None and b for b in _BOUNDS} - {False}
        return f"must be {bounds(field)}" if field and bounds(field) else _from_context(own, context)
    if kind in ("too_short", "string_too_short"):
        if context["min_length"] == 1:
            return "must not be empty"
        return f"must have at least {context['min_length']} {_unit(kind)}"
    if kind in ("too_long", "string_too_long"):
        return f"must have at most {context['max_length']} {_unit(kind)}"
    return None


def _unit(kind: str) -> str:
    return "characters" if kind.startswith("string") else "entries"


def _from_context(own: set[Any], context: dict[str, Any]) -> str:
    return "must be " + " and ".join(_BOUNDS[b].format(context[b]) for b in sorted(own))


def bounds(field: FieldInfo) -> str:
    """A number field's range as `1..65535`, `0 or more`, "" without one."""
    limits = {b: v for m in field.metadata for b in _BOUNDS if (v := getattr(m, b, None)) is not None}
    if set(limits) == {"ge", "le"}:
        return f"{limits['ge']}..{limits['le']}"
    return " and ".join(_BOUNDS[b].format(limits[b]) for b in _BOUNDS if b in limits)


def _field_at(model: type[BaseModel], location: Sequence[int | str]) -> FieldInfo | None:
    keys = [part for part in location if isinstance(part, str)]
    owner = model_at(model, keys[:-1]) if keys else None
    return owner.model_fields.get(keys[-1]) if owner else None
