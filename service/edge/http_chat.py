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
from service.edge.calls import REQUEST_ID
from service.edge.heartbeats import Heartbeats
from service.edge.http_calls import HttpCall

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
        request = self._parse(await http.read(), ignored)
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
            decision = await chunks.start()
            response = web.StreamResponse(headers=_headers(http, _with_ignored(decision, ignored)))
            response.content_type = "text/event-stream"
            response.headers["cache-control"] = "no-cache"
            # nginx buffers streams otherwise.
            response.headers["x-accel-buffering"] = "no"
            await response.prepare(http.request)
            http.stream = response
            self._heartbeats.add(response, http.request.transport)
            try:
                await self._write(chunks, response, _chunk_writer(request))
            finally:
                # Before the end: a comment after it would stand in the connection's next answer.
                self._heartbeats.remove(response)
            await response.write_eof(_late(decision, chunks.decision) + _DONE)
            return response
        finally:
            await chunks.aclose()

    async def _write(
        self,
        chunks: ChatStream,
        response: web.StreamResponse,
        render: Callable[[chat_pb2.ChatCompletionChunk], bytes],
    ) -> None:
        while batch := await chunks.next():
            await response.write(b"".join(b"data: %b\n\n" % render(chunk) for chunk in batch))
            self._heartbeats.wrote(response)


def _chunk_writer(
    request: chat_pb2.CreateChatCompletionRequest,
) -> Callable[[chat_pb2.ChatCompletionChunk], bytes]:
    return _with_usage if request.stream_options.include_usage else wire.render_bytes


def _with_usage(chunk: chat_pb2.ChatCompletionChunk) -> bytes:
    """As OpenAI writes chunks when usage was asked for: null in all but the last."""
    shown = wire.render(chunk)
    shown.setdefault("usage", None)
    return orjson.dumps(shown)


def _late(told: Decision, final: Decision) -> bytes:
    """Comments with the routing headers that have changed since `told`: there was no output for long."""
    changed = set(final.headers()) - set(told.headers())
    return b"".join(f": {name}: {value}\n\n".encode() for name, value in sorted(changed))


def _with_ignored(decision: Decision, ignored: list[str] | tuple[str, ...]) -> Decision:
    if not ignored:
        return decision
    return replace(decision, ignored=tuple(dict.fromkeys((*decision.ignored, *ignored))))


def _headers(http: HttpCall, decision: Decision) -> dict[str, str]:
    return {REQUEST_ID: http.call.request_id, **dict(decision.headers())}
