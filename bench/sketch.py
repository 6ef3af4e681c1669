"""The sketch: the least that turns a gRPC chat call into an HTTP call and back. What the service is judged by.

grpc.aio on uvloop, httpx's request over the aiohttp transport with aiohttp's reader for the answer (as the
service did it when the sketch was made), orjson both ways, both wire forms mapped by hand. No checks, no
routing, no keys, no deadlines, no errors, no logs, no metrics. It imports nothing of the service, so that the
service's own progress doesn't move it. Unmerged it writes one message for each upstream event, with
`--merge` one for all that one read brought: `python -m bench.sketch --port N --upstream URL [--merge]`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import orjson
from eurouter.v1 import chat_pb2
from httpx_aiohttp import AiohttpTransport
from multidict import CIMultiDict

from bench import grpc_process

if TYPE_CHECKING:
    from bench.grpc_process import Context, Request

_ROLES = {
    chat_pb2.CHAT_ROLE_SYSTEM: "system",
    chat_pb2.CHAT_ROLE_USER: "user",
    chat_pb2.CHAT_ROLE_ASSISTANT: "assistant",
}
_FINISH = {
    None: chat_pb2.FINISH_REASON_UNSPECIFIED,
    "stop": chat_pb2.FINISH_REASON_STOP,
    "length": chat_pb2.FINISH_REASON_LENGTH,
}
_TIMEOUT = {"timeout": {"connect": 5.0, "pool": 5.0, "read": 60.0}}
_DONE = b"[DONE]"


class Sketch:
    """Both RPCs over one pooled client."""

    def __init__(self, upstream: str, *, merge: bool) -> None:
        self._url = httpx.URL(f"{upstream}/chat/completions")
        self._transport = AiohttpTransport(verify=False, client=self._session, trust_env=False)
        self.stream = self._stream_merged if merge else self._stream_unmerged

    async def create(self, request: Request, context: Context) -> chat_pb2.ChatCompletion:  # noqa: ARG002
        """One completion."""
        response = await self._post(_body(request))
        return _completion(orjson.loads(await response.read()))

    async def aclose(self) -> None:
        """Closes the client."""
        await self._transport.aclose()

    async def _stream_unmerged(self, request: Request, context: Context) -> None:
        content, rest = (await self._post(_body(request) | {"stream": True})).content, b""
        while data := await content.readany():
            *events, rest = (rest + data).split(b"\n\n")
            for event in events:
                if not event.endswith(_DONE):
                    await context.write(_chunk(orjson.loads(event[6:])))

    async def _stream_merged(self, request: Request, context: Context) -> None:
        content, rest = (await self._post(_body(request) | {"stream": True})).content, b""
        while data := await content.readany():
            *events, rest = (rest + data).split(b"\n\n")
            chunks = [orjson.loads(event[6:]) for event in events if not event.endswith(_DONE)]
            if chunks:
                await context.write(_merged(chunks))

    async def _post(self, body: dict[str, Any]) -> aiohttp.ClientResponse:
        stream = httpx.ByteStream(orjson.dumps(body))
        request = httpx.Request("POST", self._url, stream=stream, extensions=_TIMEOUT)
        request.read()
        headers = CIMultiDict({"content-type": "application/json", "authorization": "Bearer none"})
        request.headers = headers  # type: ignore[assignment]  # the transport only hands them on
        response = await self._transport.handle_async_request(request)
        raw: aiohttp.ClientResponse = response.stream._aiohttp_response  # type: ignore[union-attr]
        return raw

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, ssl=False)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)


def _body(request: Request) -> dict[str, Any]:
    messages = [{"role": _ROLES[m.role], "content": m.content[0].text} for m in request.messages]
    body: dict[str, Any] = {"model": request.model, "messages": messages}
    if request.HasField("temperature"):
        body["temperature"] = request.temperature
    if request.HasField("max_completion_tokens"):
        body["max_completion_tokens"] = request.max_completion_tokens
    return body


def _completion(answer: dict[str, Any]) -> chat_pb2.ChatCompletion:
    choices = [
        chat_pb2.Choice(
            index=choice["index"],
            message=chat_pb2.AssistantMessage(
                role=chat_pb2.CHAT_ROLE_ASSISTANT, content=choice["message"]["content"]
            ),
            finish_reason=_FINISH[choice["finish_reason"]],
        )
        for choice in answer["choices"]
    ]
    usage = answer["usage"]
    return chat_pb2.ChatCompletion(
        id=answer["id"],
        object=answer["object"],
        created=answer["created"],
        model=answer["model"],
        choices=choices,
        usage=chat_pb2.Usage(
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage["completion_tokens"],
            total_tokens=usage["total_tokens"],
        ),
    )


def _chunk(event: dict[str, Any]) -> chat_pb2.ChatCompletionChunk:
    choice = event["choices"][0]
    return _message(event, choice["delta"].get("content"), choice["finish_reason"])


def _merged(events: list[dict[str, Any]]) -> chat_pb2.ChatCompletionChunk:
    choices = [event["choices"][0] for event in events]
    text = "".join([choice["delta"].get("content") or "" for choice in choices])
    return _message(events[0], text, choices[-1]["finish_reason"])


def _message(event: dict[str, Any], text: str | None, finish: str | None) -> chat_pb2.ChatCompletionChunk:
    choice = chat_pb2.ChunkChoice(delta=chat_pb2.Delta(content=text), finish_reason=_FINISH[finish])
    return chat_pb2.ChatCompletionChunk(
        id=event["id"],
        object=event["object"],
        created=event["created"],
        model=event["model"],
        choices=[choice],
    )


def _methods(upstream: str, *, merge: bool) -> grpc_process.Methods:
    sketch = Sketch(upstream, merge=merge)
    return grpc_process.Methods(sketch.create, sketch.stream, sketch.aclose)


if __name__ == "__main__":
    sys.exit(grpc_process.main(lambda options: _methods(options.upstream, merge=options.merge)))
