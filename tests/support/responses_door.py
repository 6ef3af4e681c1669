"""A plain client of the Responses routes. Every object and event that it reads is held to both descriptions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from yarl import URL

from tests.support import responses_schema
from tests.support.http_door import Answer, events
from tests.support.running import CatalogOf, InProcess, running_service, two_dialects

RESPONSES: Final = "/v1/responses"
TERMINAL: Final = {"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"}


def asked(model: str = "sim/alpha", text: object = "hello", **fields: object) -> dict[str, Any]:
    """A Responses request."""
    return {"model": model, "input": text, **fields}


@dataclass
class Followed:
    """A response as server-sent events; `done` when it ended with [DONE]. `first`: the first event's number."""

    headers: Mapping[str, str]
    events: list[dict[str, Any]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    done: bool = False
    first: int = 0

    @property
    def types(self) -> list[str]:
        """The events' types, in order."""
        return [event["type"] for event in self.events]

    @property
    def last(self) -> dict[str, Any]:
        """The terminal event."""
        return self.events[-1]

    @property
    def response(self) -> dict[str, Any]:
        """The object of the terminal event."""
        shown: dict[str, Any] = self.last["response"]
        return shown

    @property
    def text(self) -> str:
        """All text deltas."""
        return "".join(e["delta"] for e in self.events if e["type"] == "response.output_text.delta")

    def take(self, event: bytes) -> None:
        """Reads one event; anything after the end is a failed test."""
        assert not self.done, f"after [DONE]: {event!r}"
        if event.startswith(b":"):
            self.comments.append(event[1:].decode().strip())
            return
        if event == b"data: [DONE]":
            self.done = True
            return
        name, _, data = event.partition(b"\n")
        assert data.startswith(b"data: "), event
        value = json.loads(data.removeprefix(b"data: "))
        assert name.decode() == f"event: {value['type']}"
        assert value["sequence_number"] == self.first + len(self.events)
        assert not self.events or self.types[-1] not in TERMINAL, f"after the terminal event: {value}"
        responses_schema.check_event(value)
        self.events.append(value)


@dataclass
class ResponsesDoor:
    """The Responses routes of `up`."""

    up: InProcess
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        """Any request below /v1/responses, or with a whole path."""
        whole = path if path.startswith(("/v1", "/api")) else RESPONSES + path
        async with self.session.request(method, URL(self.up.http + whole, encoded=True), **options) as response:
            answer = Answer(response.status, response.headers, await response.read())
        if answer.status == 200 and answer.json.get("object") == "response" and "deleted" not in answer.json:
            responses_schema.check_response(answer.json)
        if answer.status == 200 and path.partition("?")[0].endswith("/input_items"):
            for item in answer.json["data"]:
                responses_schema.check_item(item)
        return answer

    async def create(self, request: object, path: str = RESPONSES, **options: Any) -> Answer:
        """A request that is not streamed; as JSON, or bytes as they are."""
        sent = {"data": request} if isinstance(request, bytes) else {"json": request}
        return await self.call("POST", path, **sent, **options)

    async def stream_begun(self, request: Mapping[str, object]) -> dict[str, Any]:
        """The response in the first event of a stream that is left after it."""
        url = self.up.http + RESPONSES
        async with self.session.post(url, json=request) as response:
            first = await response.content.readuntil(b"\n\n")
        begun: dict[str, Any] = json.loads(first.partition(b"data: ")[2])["response"]
        return begun

    async def stream(self, request: Mapping[str, object], path: str = RESPONSES, **options: Any) -> Followed:
        """A streamed request, read to its end."""
        url = self.up.http + path
        async with self.session.post(url, json={**request, "stream": True}, **options) as response:
            assert response.status == 200, await response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            followed = Followed(response.headers)
            async for event in events(response):
                followed.take(event)
            return followed


@asynccontextmanager
async def responses_door(
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    catalog: CatalogOf = two_dialects,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[ResponsesDoor]:
    """A running service and a client of its Responses routes."""
    async with (
        running_service(folder, settings, catalog, env) as up,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        yield ResponsesDoor(up, session)
