"""What differs between two settings, and which of it a reload can apply."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel

from service.settings.model import Settings

_Part = TypeVar("_Part", bound=BaseModel)


def changes(old: Settings, new: Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Paths of changed settings: those that apply at once, and those that need a restart."""
    found = list(_changed(old, new, "", live=False))
    return tuple(path for path, live in found if live), tuple(path for path, live in found if not live)


def in_force(started_with: _Part, fresh: _Part) -> _Part:
    """`fresh`, but what needs a restart is as a process has it that started with others."""
    kept: dict[str, Any] = {}
    for name, field in type(fresh).model_fields.items():
        before, after = getattr(started_with, name), getattr(fresh, name)
        if before == after or is_live(field.json_schema_extra):
            continue
        both = isinstance(before, BaseModel) and isinstance(after, BaseModel)
        kept[name] = in_force(before, after) if both else before
    return fresh.model_copy(update=kept) if kept else fresh


def is_live(extra: Any) -> bool:
    """Whether a field's metadata marks it as applied by a reload."""
    return isinstance(extra, dict) and bool(extra.get("live"))


def _changed(old: BaseModel, new: BaseModel, above: str, *, live: bool) -> Iterator[tuple[str, bool]]:
    for name, field in type(old).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        path = f"{above}.{name}" if above else name
        applies = live or is_live(field.json_schema_extra)
        if isinstance(before, BaseModel) and isinstance(after, BaseModel):
            yield from _changed(before, after, path, live=applies)
        else:
            yield path, applies
