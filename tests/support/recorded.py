"""Recorded exchanges between real clients and real providers, and an upstream that plays the provider's side.

No judgement here: what must be equal stands in `normal_form` and in the tests.
"""

from __future__ import annotations

import base64
import json
import lzma
import random
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from aiohttp import web

_SPENT_ON_THE_WAY: Final = frozenset({"content-length", "content-encoding", "transfer-encoding", "connection"})
_PIECES: Final = (7, 60, 700, 5000)
_LONG: Final = 20_000


@dataclass(frozen=True)
class Exchange:
    """One recorded request with its answer; `number` is its line in the file, counted from 1.

    A binary answer stands in `raw`, its `body` is empty. `path` is the request's, percent-encoded as it was.
    """

    number: int
    kind: str
    origin: str
    request: dict[str, Any] | None
    status: int
    headers: dict[str, str]
    body: str
    raw: bytes = b""
    path: str = ""

    def __str__(self) -> str:
        return f"line {self.number}, {self.origin}"

    @property
    def model(self) -> str:
        """The name under which our catalogue lists the recorded model."""
        return f"recorded/{self.number}"

    @property
    def streamed(self) -> bool:
        """Whether the request asked for a stream, in its body or by its path."""
        return bool(self.request and self.request.get("stream")) or self.path.endswith("-stream")

    @cached_property
    def document(self) -> dict[str, Any] | None:
        """The answer, when it is one JSON object; None for a stream or nothing."""
        return json.loads(self.body) if self.body.lstrip().startswith("{") else None

    @cached_property
    def chunks(self) -> list[dict[str, Any]]:
        """The documents of a recorded stream, without its end marker."""
        lines = (line for line in self.body.split("\n") if line.startswith("data:"))
        texts = (line.removeprefix("data:").strip() for line in lines)
        return [json.loads(text) for text in texts if text not in {"", "[DONE]"}]


def read_exchanges(shared: Path, kind: str) -> list[Exchange]:
    """All exchanges of a kind, such as openai.chat, in the file's order."""
    with lzma.open(shared / "fixtures" / "recorded-exchanges.jsonl.xz", "rt", encoding="utf-8") as lines:
        rows = [(number, json.loads(line)) for number, line in enumerate(lines, 1)]
    return [
        Exchange(
            number,
            kind,
            f"{row['repo']} {row['file']} exchange {row['i']}",
            row["request"],
            row["status"],
            row["headers"] or {},
            row.get("body") or "",
            base64.b64decode(row.get("body_b64") or ""),
            row.get("path") or "",
        )
        for number, row in rows
        if row["kind"] == kind
    ]


@dataclass
class RecordedUpstream:
    """Answers the next requests as `exchange` says; `received` are the bodies that it got since `play`."""

    url: str = ""
    exchange: Exchange | None = None
    received: list[dict[str, Any]] = field(default_factory=list)
    _chance: random.Random = field(default_factory=lambda: random.Random(11))

    def play(self, exchange: Exchange) -> None:
        """From now on, this one."""
        self.exchange = exchange
        self.received = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The recorded status, headers and body, the body in pieces that heed no boundary."""
        exchange = self.exchange
        assert exchange is not None
        self.received.append(json.loads(await request.read()))
        headers = {name: value for name, value in exchange.headers.items() if name not in _SPENT_ON_THE_WAY}
        headers.setdefault("content-type", "application/json" if exchange.document else "text/event-stream")
        response = web.StreamResponse(status=exchange.status, headers=headers)
        await response.prepare(request)
        for piece in self._pieces(exchange.raw or exchange.body.encode()):
            await response.write(piece)
        await response.write_eof()
        return response

    def _pieces(self, body: bytes) -> Iterator[bytes]:
        # Long bodies go in long pieces only: a hundred thousand writes would show nothing more.
        sizes = _PIECES if len(body) < _LONG else _PIECES[-1:]
        largest = self._chance.choice(sizes)
        start = 0
        while start < len(body):
            end = start + self._chance.randint(1, largest)
            yield body[start:end]
            start = end


@asynccontextmanager
async def recorded_upstream() -> AsyncIterator[RecordedUpstream]:
    """A provider on a free port of loopback."""
    upstream = RecordedUpstream()
    app = web.Application(client_max_size=64 * 1024**2)
    paths = (
        "/chat/completions",
        "/responses",
        "/messages",
        "/model/{model}/converse",
        "/model/{model}/converse-stream",
    )
    for path in paths:
        app.router.add_post(f"/v1{path}", upstream.answer)
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


def catalog_of(
    exchanges: Iterable[Exchange], url: str, passthrough: Iterable[str], dialect: str = "openai_chat"
) -> dict[str, Any]:
    """A catalogue in which each exchange has a model of its own at the upstream, so that none cools another down.

    The models take and give everything that their dialect has words for.
    """
    return {
        "providers": [
            {
                "slug": "recorded",
                "dialect": dialect,
                "base_url": url,
                "passthrough": sorted(passthrough),
            }
        ],
        "models": [
            {
                "id": exchange.model,
                "input_modalities": ["text", "image", "audio", "file"],
                "output_modalities": ["text", "audio"],
                "endpoints": [{"provider": "recorded", "model": exchange.request.get("model", "none")}],
            }
            for exchange in exchanges
            if exchange.request is not None
        ],
    }
