"""A whole answer as events."""

from __future__ import annotations

from typing import Any

import orjson

from service.domain.events import Event
from service.domain.failure import UpstreamError

from .answer import AnswerReader, protocol_error
from .errors import failure_in


def parse(data: bytes) -> dict[str, Any]:
    """One JSON object.

    Raises:
        UpstreamError: PROTOCOL.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise protocol_error("invalid JSON") from None
    if not isinstance(document, dict):
        raise protocol_error("no JSON object")
    return document


def read(body: bytes) -> list[Event]:
    """The events of a whole answer.

    Raises:
        UpstreamError: an error in the answer's place (its own kind), PROTOCOL.
    """
    document = parse(body)
    if document.get("error"):
        raise UpstreamError(failure_in(document))
    if "output" not in document and document.get("status") not in ("failed", "cancelled"):
        raise protocol_error("no output")
    events: list[Event] = []
    try:
        AnswerReader().end(document, document.get("status") or "completed", events)
    except (TypeError, KeyError, AttributeError, ValueError) as broken:
        raise protocol_error(f"a {type(broken).__name__} in its shape") from None
    return events
