"""A whole answer as events."""

from __future__ import annotations

from typing import Any

import orjson

from service.domain.events import Event, Start
from service.domain.failure import UpstreamError

from .answer import Blocks, finish, protocol_error, usage_of
from .errors import failure_in, is_error


def read(body: bytes) -> list[Event]:
    """The events of a whole answer. It has no id and no model of its own: the API that asked gives them.

    Raises:
        UpstreamError: an error in the answer's place (its own kind), PROTOCOL.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise protocol_error("invalid JSON") from None
    if not isinstance(document, dict):
        raise protocol_error("no JSON object")
    if is_error(document):
        raise UpstreamError(failure_in(document))
    try:
        return _events(document)
    except (TypeError, KeyError, AttributeError, ValueError) as broken:
        raise protocol_error(f"a {type(broken).__name__} in its shape") from None


def _events(answer: dict[str, Any]) -> list[Event]:
    events: list[Event] = [Start("", "")]
    blocks = Blocks()
    for block in answer["output"]["message"]["content"]:
        blocks.whole(block, events)
    blocks.close(events)
    events += finish(answer["stopReason"])
    counts = answer.get("usage")
    if counts:
        events.append(usage_of(counts))
    return events
