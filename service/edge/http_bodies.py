"""What the HTTP routes share: JSON bodies read into messages, the headers of answers, event streams.

Knows no route.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, TypeVar

from aiohttp import web
from google.protobuf.message import Message

from service import wire
from service.domain.errors import ServiceError, Violation
from service.domain.money import Cost
from service.domain.routing import Decision
from service.edge.calls import REQUEST_ID
from service.edge.heartbeats import Heartbeats
from service.edge.http_calls import HttpCall

M = TypeVar("M", bound=Message)

DONE: Final = b"data: [DONE]\n\n"


def parse(message_type: type[M], body: bytes, hint_paths: frozenset[str], ignored: list[str]) -> M:
    """The message that a JSON body stands for; hints that nobody named are appended to `ignored`.

    Raises:
        ServiceError: MALFORMED_BODY, UNKNOWN_FIELD or INVALID_REQUEST, naming every wrong field.
    """
    try:
        return wire.parse_bytes(message_type, body, hint_paths=hint_paths, ignored=ignored)
    except wire.WireError as error:
        violations = tuple(Violation(path, message) for path, message in error.violations)
        first = violations[0]
        text = f"{first.path}: {first.message}" if first.path else first.message
        raise ServiceError(error.reason, text, violations=violations) from None


def headers(
    http: HttpCall, decision: Decision, ignored: Iterable[str] = (), cost: Cost | None = None
) -> dict[str, str]:
    """The headers of an answer: the request's id, how its endpoint was chosen, what it costs if that is known."""
    names = tuple(dict.fromkeys((*decision.ignored, *ignored)))
    told = replace(decision, ignored=names) if names != decision.ignored else decision
    paid = () if cost is None else cost.headers()
    return {REQUEST_ID: http.call.request_id, **dict(told.headers()), **dict(paid)}


def late(told: Decision, final: Decision) -> bytes:
    """Comments with the routing headers that have changed since `told`: there was no output for long."""
    changed = set(final.headers()) - set(told.headers())
    return b"".join(f": {name}: {value}\n\n".encode() for name, value in sorted(changed))


@asynccontextmanager
async def event_stream(
    http: HttpCall, beats: Heartbeats, shown: dict[str, str]
) -> AsyncIterator[web.StreamResponse]:
    """A stream of server-sent events whose headers are out, kept alive inside the block; the caller ends it."""
    response = web.StreamResponse(headers=shown)
    response.content_type = "text/event-stream"
    response.headers["cache-control"] = "no-cache"
    # nginx buffers streams otherwise.
    response.headers["x-accel-buffering"] = "no"
    await response.prepare(http.request)
    http.stream = response
    beats.add(response, http.request.transport)
    try:
        yield response
    finally:
        # Before the end: a comment after it would stand in the connection's next answer.
        beats.remove(response)
