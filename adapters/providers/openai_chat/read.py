"""A whole answer as events."""

from __future__ import annotations

from typing import Any

import orjson

from service.domain.events import Event
from service.domain.failure import Failure, FailureKind, UpstreamError

from .answer import AnswerReader


def protocol_error(what: str) -> UpstreamError:
    """The provider did not answer in this dialect; `what` holds nothing of the answer's content."""
    return UpstreamError(Failure(FailureKind.PROTOCOL, f"the provider's answer is not a chat completion: {what}"))


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
    reader = AnswerReader()
    events: list[Event] = []
    try:
        reader.take(document, events)
        if not reader.has_choices:
            raise protocol_error("no choices")
        reader.close(events)
    except (TypeError, KeyError, AttributeError, ValueError) as broken:
        raise protocol_error(f"a {type(broken).__name__} in its shape") from None
    return events
