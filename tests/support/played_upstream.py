"""A provider that answers with given documents, whole or streamed as asked, and keeps what it was sent.

Anthropic's Messages, the Chat API's shape and Gemini's, on one port of loopback; every answer is a whole one, from
which the stream is made.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiohttp import web

Document: TypeAlias = dict[str, Any]


def message(*content: Document, stop_reason: str = "end_turn") -> Document:
    """Anthropic's answer with these blocks."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": list(content),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 7},
    }


def completion(said: Document, finish_reason: str = "stop") -> Document:
    """The Chat API's answer with this message."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "open",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": None, **said}, "finish_reason": finish_reason}
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19},
    }


def candidate(*parts: Document) -> Document:
    """Gemini's answer with these parts."""
    return {
        "candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": 7, "totalTokenCount": 19},
        "modelVersion": "gemini",
        "responseId": "answer-1",
    }


@dataclass
class PlayedUpstream:
    """Answers calls with `answers` in their order; `received` are the bodies as they came."""

    url: str = ""
    answers: list[Document] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)

    def sent(self, call: int) -> Document:
        """The body of a call, from 0."""
        body: Document = json.loads(self.received[call])
        return body

    async def messages(self, request: web.Request) -> web.Response:
        """POST /messages."""
        return await self._answer(request, message_events)

    async def completions(self, request: web.Request) -> web.Response:
        """POST /chat/completions."""
        return await self._answer(request, completion_events)

    async def candidates(self, request: web.Request) -> web.Response:
        """POST /models/NAME:generateContent and NAME:streamGenerateContent."""
        streamed = request.path.endswith(":streamGenerateContent")
        return await self._answer(request, candidate_events, streamed=streamed)

    async def _answer(
        self, request: web.Request, events: Callable[[Document], Iterator[bytes]], *, streamed: bool = False
    ) -> web.Response:
        body = await request.read()
        self.received.append(body)
        document = self.answers.pop(0)
        if not (streamed or json.loads(body).get("stream")):
            return web.json_response(document)
        return web.Response(body=b"".join(events(document)), content_type="text/event-stream")


def message_events(document: Document) -> Iterator[bytes]:
    """Anthropic's stream of an answer, its texts in halves."""

    def event(kind: str, **more: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()

    yield event("message_start", message={**document, "content": [], "stop_reason": None})
    for index, block in enumerate(document["content"]):
        shown, deltas = _opened(block)
        yield event("content_block_start", index=index, content_block=shown)
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    yield event("message_delta", delta={"stop_reason": document["stop_reason"]}, usage=document["usage"])
    yield event("message_stop")


def _opened(block: Document) -> tuple[Document, list[Document]]:
    kind = block["type"]
    if kind == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": half} for half in _halves(block["text"])]
    if kind == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": half} for half in _halves(block["thinking"])]
        deltas += [{"type": "signature_delta", "signature": block["signature"]}]
        return {**block, "thinking": "", "signature": ""}, deltas
    if kind == "tool_use":
        halves = _halves(json.dumps(block["input"]))
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": half} for half in halves]
    return block, []


def completion_events(document: Document) -> Iterator[bytes]:
    """The Chat API's stream of an answer: a role, all of the message, the end."""
    (choice,) = document["choices"]
    common = {key: document[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    calls = choice["message"].get("tool_calls")
    delta = {**choice["message"]}
    if calls:
        delta["tool_calls"] = [{"index": at, **call} for at, call in enumerate(calls)]
    for chunk in (
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]},
        {"choices": [], "usage": document["usage"]},
    ):
        yield f"data: {json.dumps({**common, **chunk})}\n\n".encode()
    yield b"data: [DONE]\n\n"


def candidate_events(document: Document) -> Iterator[bytes]:
    """Gemini's stream of an answer: a part in each event, why it ended in the last."""
    (whole,) = document["candidates"]
    parts = whole["content"]["parts"]
    for at, part in enumerate(parts, 1):
        shown = {"content": {"role": "model", "parts": [part]}, "index": 0}
        if at == len(parts):
            shown["finishReason"] = whole["finishReason"]
        yield f"data: {json.dumps({**document, 'candidates': [shown]})}\r\n\r\n".encode()


def _halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [half for half in (text[:middle], text[middle:]) if half]


@asynccontextmanager
async def played_upstream() -> AsyncIterator[PlayedUpstream]:
    """The provider on a free port of loopback."""
    upstream = PlayedUpstream()
    app = web.Application()
    app.router.add_post("/v1/messages", upstream.messages)
    app.router.add_post("/v1/chat/completions", upstream.completions)
    app.router.add_post("/v1/models/{call}", upstream.candidates)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port: int = runner.addresses[0][1]
        upstream.url = f"http://127.0.0.1:{port}/v1"
        yield upstream
    finally:
        await runner.cleanup()
