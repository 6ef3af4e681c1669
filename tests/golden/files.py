"""Golden files: compared, or rewritten under --update-golden. And neutral values as readable JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def compare(path: Path, actual: Any, update: bool) -> None:
    """Hold `actual` (JSON values; key order counts) against the file at `path`."""
    text = json.dumps(actual, indent=2, ensure_ascii=False) + "\n"
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert path.exists(), f"no golden file {path.name}: run pytest with --update-golden and read what it wrote"
    assert text == path.read_text(encoding="utf-8")


def readable(value: Any) -> Any:
    """Neutral dataclasses as JSON values, with what is unset left out and each object named by its type."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {"": type(value).__name__} | {
            name: readable(item) for name, item in pairs if item is not None and item != ()
        }
    if isinstance(value, Mapping):
        return {key: readable(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [readable(item) for item in value]
    return value
