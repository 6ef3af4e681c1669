"""POST /chat/completions: JSON in, JSON or server-sent events out."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from aiohttp import web
from eurouter.v1 import chat_pb2

from service import wire
from service.api.chat.handler import ChatHandler
from service.edge import http_bodies
from service.edge.heartbeats import Heartbeats
from service.edge.http_calls import HttpCall


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
        request = http_bodies.parse(
            chat_pb2.CreateChatCompletionRequest, await http.read(), self._hint_fields(), ignored
        )
        if request.stream:
            return await self._stream(http, request, ignored)
        answer = await self._chat.create(request, http.call)
        return web.Response(
            body=wire.render_bytes(answer.completion),
            content_type="application/json",
            headers=http_bodies.headers(http, answer.decision, ignored, answer.cost),
        )

    async def _stream(
        self, http: HttpCall, request: chat_pb2.CreateChatCompletionRequest, ignored: list[str]
    ) -> web.StreamResponse:
        chunks = self._chat.stream(request, http.call)
        render = _chunk_writer(request)
        try:
            decision = await chunks.start()
            shown = http_bodies.headers(http, decision, ignored)
            async with http_bodies.event_stream(http, self._heartbeats, shown) as response:
                while batch := await chunks.next():
                    await response.write(b"".join(b"data: %b\n\n" % render(chunk) for chunk in batch))
                    self._heartbeats.wrote(response)
            await response.write_eof(http_bodies.late(decision, chunks.decision) + http_bodies.DONE)
            return response
        finally:
            await chunks.aclose()


def _chunk_writer(
    request: chat_pb2.CreateChatCompletionRequest,
) -> Callable[[chat_pb2.ChatCompletionChunk], bytes]:
    return _with_usage if request.stream_options.include_usage else wire.render_bytes


def _with_usage(chunk: chat_pb2.ChatCompletionChunk) -> bytes:
    """As OpenAI writes chunks when usage was asked for: null in all but the last."""
    shown = wire.render(chunk)
    shown.setdefault("usage", None)
    return orjson.dumps(shown)
