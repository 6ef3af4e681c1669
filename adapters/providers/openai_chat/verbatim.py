"""JSON texts that go into a body as they came: key order, numbers and unknown kinds survive."""

from __future__ import annotations

import orjson

from service.domain.catalog import Endpoint
from service.domain.errors import ServiceError, invalid
from service.domain.generation import Opaque

_OURS = "openai_chat"


def fragment(text: str) -> orjson.Fragment:
    """JSON text, already known to be valid, for embedding."""
    return orjson.Fragment(text)


def is_ours(value: Opaque) -> bool:
    """Whether a value of a kind that nobody named belongs to this dialect."""
    return value.dialect == _OURS


def opaque(value: Opaque, path: str, endpoint: Endpoint) -> orjson.Fragment:
    """A value of a kind that nobody named, as it came.

    Raises:
        ServiceError: INVALID_REQUEST when it belongs to another dialect.
    """
    if not is_ours(value):
        raise cannot(path, value.type, endpoint)
    return orjson.Fragment(value.json)


def cannot(path: str, what: str, endpoint: Endpoint) -> ServiceError:
    """The plan should not have chosen this endpoint: say so rather than drop something silently."""
    return invalid(path, f"{endpoint.id} can't take {what}; leave it out or choose another model")
