"""A whole answer as events."""

from __future__ import annotations

from typing import Any

import orjson

from adapters.providers.decoder import cut
from service.domain.events import Event

from .answer import AnswerReader, protocol_error


def read(body: bytes) -> list[Event]:
    """The events of a whole answer; of a list of chunks as well, which is what a stream without `alt=sse` is.

    Raises:
        UpstreamError: an error in the answer's place (its own kind), a blocked prompt, PROTOCOL, CUT (a list of
            chunks without an end).
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise protocol_error("invalid JSON") from None
    events: list[Event] = []
    reader = AnswerReader()
    try:
        for chunk in document if isinstance(document, list) else (document,):
            reader.take(_checked(chunk), events)
        if isinstance(document, list) and document and not reader.finished:
            raise cut()
        reader.close(events)
    except (TypeError, KeyError, IndexError, AttributeError, ValueError) as broken:
        raise protocol_error(f"a {type(broken).__name__} in its shape") from None
    return events


def _checked(chunk: Any) -> dict[str, Any]:
    if not isinstance(chunk, dict):
        raise protocol_error("no JSON object")
    return chunk
