"""A plain client of the HTTP door. Every answer and chunk that it reads is held to OpenAI's schema."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from yarl import URL

from tests.support import openai_schema
from tests.support.running import CatalogOf, InProcess, running_service, two_dialects

CHAT: Final = "/v1/chat/completions"
PREFIXES: Final = ("/v1", "/api/v1")


def body(model: str = "sim/alpha", text: str = "hello", **fields: object) -> dict[str, Any]:
    """A chat request with one user message."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


@dataclass
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def error(self) -> dict[str, Any]:
        """The error object of a failed call."""
        assert self.status >= 400, self.raw
        shown: dict[str, Any] = self.json["error"]
        return shown


@dataclass
class Streamed:
    """An answer as server-sent events. `chunks` come before `error`; `done` when it ended with [DONE]."""

    status: int
    headers: Mapping[str, str]
    chunks: list[dict[str, Any]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    done: bool = False

    @property
    def text(self) -> str:
        """The content of choice 0."""
        deltas = (choice["delta"] for chunk in self.chunks for choice in chunk["choices"])
        return "".join(delta.get("content") or "" for delta in deltas)

    def take(self, event: bytes) -> None:
        """Reads one event; anything after the end is a failed test."""
        assert not self.done, f"after [DONE]: {event!r}"
        assert self.error is None, f"after the error: {event!r}"
        assert b"\n" not in event, event
        if event.startswith(b":"):
            self.comments.append(event[1:].decode().strip())
            return
        assert event.startswith(b"data: "), event
        data = event.removeprefix(b"data: ")
        if data == b"[DONE]":
            self.done = True
            return
        value = json.loads(data)
        if "error" in value:
            self.error = value["error"]
            return
        assert openai_schema.problems(openai_schema.CHUNK, value) == [], value
        self.chunks.append(value)


@dataclass
class Door:
    """The HTTP door of `up`."""

    up: InProcess
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        """Any request; the path goes out as it is written."""
        url = URL(self.up.http + path, encoded=True)
        async with self.session.request(method, url, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def post(self, request: object, path: str = CHAT, **options: Any) -> Answer:
        """A chat request that is not streamed; `request` as JSON, or bytes as they are."""
        sent = {"data": request} if isinstance(request, bytes) else {"json": request}
        answer = await self.call("POST", path, **sent, **options)
        if answer.status == 200:
            assert openai_schema.problems(openai_schema.WHOLE, answer.json) == [], answer.raw
        return answer

    async def stream(self, request: Mapping[str, object], path: str = CHAT, **options: Any) -> Streamed:
        """A streamed chat request, read to its end."""
        url = self.up.http + path
        async with self.session.post(url, json={**request, "stream": True}, **options) as response:
            assert response.status == 200, await response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            streamed = Streamed(response.status, response.headers)
            async for event in events(response):
                streamed.take(event)
            return streamed


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The events of a stream, without the blank line that ends each."""
    rest = b""
    async for data in response.content.iter_any():
        *whole, rest = (rest + data).split(b"\n\n")
        for event in whole:
            yield event
    assert rest == b"", f"an event without its end: {rest!r}"


@asynccontextmanager
async def http_door(
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    catalog: CatalogOf = two_dialects,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Door]:
    """A running service and a client of its HTTP door."""
    async with (
        running_service(folder, settings, catalog, env) as up,
        # As SDKs do it: many connections, kept.
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        yield Door(up, session)
