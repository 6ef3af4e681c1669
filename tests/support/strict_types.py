"""A provider's own types of a request, held strictly: no field that they do not name, at any depth.

The official clients' TypedDicts and models take unknown keys, and check some of their lists only when somebody
walks them; here neither.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator

_OBJECTS = {"typed-dict", "model-fields", "dataclass-args"}


@cache
def strict_validator(kind: Any) -> SchemaValidator:
    """A validator of JSON text for `kind`, a TypedDict, a model or a union of them.

    What a TypedDict itself declares open (JSON Schemas of tools, for one) stays open.
    """
    with warnings.catch_warnings():
        # Of the client's own definitions: nothing to be done about them here.
        warnings.simplefilter("ignore")
        schema: Any = TypeAdapter(kind).core_schema
        # A model that was used before has a validator by then, which knows nothing of ours.
        return SchemaValidator(cast("Any", _strict(schema)), _use_prebuilt=False)


def problems(kind: Any, body: bytes) -> list[str]:
    """What is wrong with a body by these types, for each arm of a union that it might have been."""
    try:
        strict_validator(kind).validate_json(body, strict=True)
    except ValidationError as error:
        return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)]
    return []


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if isinstance(node, tuple):
        return tuple(_strict(each) for each in node)
    if not isinstance(node, dict):
        return node
    made = {key: _strict(value) for key, value in node.items()}
    kind = made.get("type")
    if kind == "generator":
        made["type"] = "list"
    # In a dictionary of fields one may be called "type": that is no kind of schema.
    elif isinstance(kind, str) and kind in _OBJECTS and not _is_open(made):
        made["extra_behavior"] = "forbid"
    return made


def _is_open(schema: dict[str, Any]) -> bool:
    return schema["type"] == "typed-dict" and schema.get("extra_behavior") == "allow"
