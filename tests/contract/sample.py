"""What a dialect hands in to be held to the contract: itself, an endpoint, errors, and golden answers as files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.providers.dialect import Dialect
from service.domain.catalog import Endpoint, Facts, Price, Provider, Quirks
from service.domain.events import Event
from service.domain.failure import FailureKind
from service.domain.fields import Field
from tests.support import eventstream

# Where the model's family decides what it is told.
_MODELS = {"bedrock": "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"}
GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@dataclass(frozen=True)
class ErrorSample:
    """A failed answer, what it must be taken for, and a piece of its message that must come through."""

    status: int
    body: bytes
    kind: FailureKind
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    says: str = ""


@dataclass(frozen=True)
class DialectSample:
    """One dialect's row in the contract suite.

    Its answers stand in tests/golden/NAME/answers: CASE.json is the whole answer, CASE.sse the same answer
    streamed, whose last event is the terminal marker; a `binary` dialect has CASE.frames.json, its stream in
    the readable form of tests/support/eventstream.py. `lacks`: answer cases that this wire has no words for,
    each with the reason. `carried`: the fields that a request body holds. `error_in_200`: a whole body and
    a stream that fail after status 200, each with its kind.
    """

    dialect: Dialect
    errors: tuple[ErrorSample, ...]
    error_in_200: tuple[bytes, FailureKind]
    error_in_stream: tuple[bytes, FailureKind]
    carried: Callable[[dict[str, Any]], set[Field]]
    lacks: Mapping[str, str] = field(default_factory=dict)
    binary: bool = False

    @property
    def name(self) -> str:
        """The dialect's name."""
        return self.dialect.name

    def answer(self, case: str) -> bytes:
        """The whole answer of a case."""
        return (GOLDEN / self.name / "answers" / f"{case}.json").read_bytes()

    @property
    def stream_file(self) -> str:
        """How the name of a streamed answer's file ends."""
        return ".frames.json" if self.binary else ".sse"

    def stream(self, case: str) -> bytes:
        """The same answer as a stream."""
        return b"".join(self.frames(case))

    def frames(self, case: str) -> list[bytes]:
        """The stream cut after each event; joined they are the stream."""
        stored = (GOLDEN / self.name / "answers" / f"{case}{self.stream_file}").read_bytes()
        return eventstream.encode(json.loads(stored)) if self.binary else sse_events(stored)

    def framed(self, payload: bytes) -> bytes:
        """An event of this dialect's framing with `payload` in the place of its JSON."""
        return eventstream.event("contentBlockDelta", payload) if self.binary else b"data: " + payload + b"\n\n"


def endpoint_for(dialect: Dialect, expressible: frozenset[Field] | None = None, **quirks: Any) -> Endpoint:
    """An endpoint that speaks `dialect`, by default with everything that it can express."""
    provider = Provider(
        slug="upstream",
        name="Upstream",
        dialect=dialect.name,
        base_url="http://127.0.0.1:1/v1",
        quirks=Quirks(**quirks),
    )
    can = dialect.expressible if expressible is None else expressible
    name = _MODELS.get(dialect.name, "upstream-model")
    return Endpoint(
        "upstream/model", provider, "vendor/model", name, Price(), Facts(), can, max_output_tokens=4096
    )


def sse_events(stream: bytes) -> list[bytes]:
    """The stream cut after each event."""
    return [piece for piece in re.split(rb"(?<=\n\n)", stream) if piece]


def decode(dialect: Dialect, pieces: list[bytes]) -> list[Event]:
    """All events of a stream that arrives in these pieces."""
    decoder = dialect.decoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.end()


def cut_every(data: bytes, size: int) -> list[bytes]:
    """`data` in pieces of `size` bytes."""
    return [data[at : at + size] for at in range(0, len(data), size)]
