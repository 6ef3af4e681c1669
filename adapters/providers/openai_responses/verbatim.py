"""JSON texts that go into a body as they came, and the names that mark them as this dialect's."""

from __future__ import annotations

from typing import Any, Final

import orjson

from service.domain.catalog import Endpoint
from service.domain.errors import ServiceError, invalid
from service.domain.fields import Field
from service.domain.generation import Opaque

NAME: Final = "openai_responses"

FORMAT: Final = "openai-responses-v1"
"""Marks reasoning that came from an endpoint of this dialect; others' encrypted content can't be read there."""


def opaque(value: Opaque, path: str, endpoint: Endpoint) -> orjson.Fragment:
    """A value of a kind that nobody named, as it came.

    Raises:
        ServiceError: INVALID_REQUEST when it belongs to another dialect.
    """
    if not is_ours(value):
        raise cannot(path, value.type, endpoint)
    return orjson.Fragment(value.json)


def is_ours(value: Opaque) -> bool:
    """Whether a value of a kind that nobody named belongs to this dialect."""
    return value.dialect == NAME


def json_of(text: str, kind: type, path: str, what: str) -> orjson.Fragment:
    """JSON text that a model or a caller wrote, for embedding once it is known to be whole.

    Raises:
        ServiceError: INVALID_REQUEST when it is not a JSON value of this `kind` (dict or list).
    """
    try:
        found: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, kind):
        raise invalid(path, f"{what} must be a JSON {'object' if kind is dict else 'array'}")
    return orjson.Fragment(text)


def details_of(details: str | None, can: frozenset[Field]) -> dict[str, Any]:
    """What only this API says of a tool, a call or a result, where the endpoint can say it."""
    found: dict[str, Any] = orjson.loads(details) if details is not None and Field.TOOL_DETAILS in can else {}
    return found


def cannot(path: str, what: str, endpoint: Endpoint) -> ServiceError:
    """The plan should not have chosen this endpoint: say so rather than drop something silently."""
    return invalid(path, f"{endpoint.id} can't take {what}; leave it out or choose another model")
