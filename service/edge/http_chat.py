"""POST /chat/completions: JSON in, JSON or server-sent events out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import orjson
from aiohttp import web
from eurouter.v1 import chat_pb2

from service import wire
from service.api.chat.handler import ChatHandler, ChatStream
from service.domain.errors import ServiceError, Violation
from service.domain.routing import Decision
from service.edge import http_errors
from service.edge.calls import REQUEST_ID
from service.edge.heartbeats import Heartbeats
from service.edge.http_calls import HttpCall, StreamFailedError

_DONE: Final = b"data: [DONE]\n\n"


class HttpChat:
    """The chat route over the same handler as the gRPC service."""

    def __init__(
        self, chat: ChatHandler, heartbeats: Heartbeats, hint_fields: Callable[[], frozenset[str]]
    ) -> None:
        self._chat = chat
        self._heartbeats = heartbeats
        self._hint_fields = hint_fields

    async def create(self, http: HttpCall) -> web.StreamResponse:
        """Answers one request, streamed when its `stream` is true."""
        ignored: list[str] = []
        request = self._parse(await http.request.read(), ignored)
        if request.stream:
            return await self._stream(http, request, tuple(ignored))
        answer = await self._chat.create(request, http.call)
        return web.Response(
            body=wire.render_bytes(answer.completion),
            content_type="application/json",
            headers=_headers(http, _with_ignored(answer.decision, ignored)),
        )

    def _parse(self, body: bytes, ignored: list[str]) -> chat_pb2.CreateChatCompletionRequest:
        try:
            return wire.parse_bytes(
                chat_pb2.CreateChatCompletionRequest, body, hint_paths=self._hint_fields(), ignored=ignored
            )
        except wire.WireError as error:
            violations = tuple(Violation(path, message) for path, message in error.violations)
            first = violations[0]
            text = f"{first.path}: {first.message}" if first.path else first.message
            raise ServiceError(error.reason, text, violations=violations) from None

    async def _stream(
        self, http: HttpCall, request: chat_pb2.CreateChatCompletionRequest, ignored: tuple[str, ...]
    ) -> web.StreamResponse:
        chunks = self._chat.stream(request, http.call)
        try:
            decision = _with_ignored(await chunks.start(), ignored)
            response = web.StreamResponse(headers=_headers(http, decision))
            response.content_type = "text/event-stream"
            response.headers["cache-control"] = "no-cache"
            await response.prepare(http.request)
            self._heartbeats.add(response)
            try:
                await self._write(chunks, response)
            except ServiceError as error:
                # The headers are gone: clients read the error from the stream, which then ends without [DONE].
                told = http_errors.body(error, http.call.request_id, http.request.path)
                await response.write(b"data: " + orjson.dumps(told) + b"\n\n")
                await response.write_eof()
                raise StreamFailedError(error) from None
            finally:
                self._heartbeats.remove(response)
            return response
        finally:
            await chunks.aclose()

    async def _write(self, chunks: ChatStream, response: web.StreamResponse) -> None:
        while batch := await chunks.next():
            await response.write(b"".join(b"data: %b\n\n" % wire.render_bytes(chunk) for chunk in batch))
            self._heartbeats.wrote(response)
        await response.write(_DONE)
        await response.write_eof()


def _with_ignored(decision: Decision, ignored: list[str] | tuple[str, ...]) -> Decision:
    if not ignored:
        return decision
    return replace(decision, ignored=tuple(dict.fromkeys((*decision.ignored, *ignored))))


def _headers(http: HttpCall, decision: Decision) -> dict[str, str]:
    return {REQUEST_ID: http.call.request_id, **dict(decision.headers())}
