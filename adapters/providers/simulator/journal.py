"""What the simulator was asked and how each call ended. Bounded: the oldest calls are forgotten."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECRET_WORDS = ("authorization", "cookie", "key", "secret", "token")


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as it stands when the journal is read.

    `headers`: names in lower case, credentials redacted. `body`: the parsed JSON, or None when it was none.
    `started`, `ended`: Unix seconds, `ended` None while it runs. `began`, `closed`: the same moments on the
    machine's monotonic clock, which all its processes share. `status`: the HTTP status sent, None before
    the headers. `cancelled`: the client left before the end. `tokens_sent`: pieces of a stream written.
    `finished`: the answer went out whole, terminal marker included (a cut, stalled or garbled one: no).
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    model: str | None
    started: float
    ended: float | None
    status: int | None
    cancelled: bool
    tokens_sent: int
    finished: bool
    began: float
    closed: float | None

    def as_json(self) -> dict[str, Any]:
        """The record as plain JSON types."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "headers"} | {
            "headers": dict(self.headers)
        }


@dataclass(slots=True)
class Entry:
    """A call under way; the journal hands out frozen copies."""

    method: str
    path: str
    headers: Mapping[str, str]
    started: float = field(default_factory=time.time)
    body: Any = None
    model: str | None = None
    ended: float | None = None
    status: int | None = None
    cancelled: bool = False
    hung_up: bool = False
    tokens_sent: int = 0
    finished: bool = False
    began: float = field(default_factory=time.monotonic)
    closed: float | None = None

    def end(self) -> None:
        """Notes the time of the end."""
        self.ended, self.closed = time.time(), time.monotonic()

    def call(self) -> Call:
        """The frozen record."""
        headers = {name.lower(): redacted(name, value) for name, value in self.headers.items()}
        return Call(
            method=self.method,
            path=self.path,
            headers=MappingProxyType(headers),
            body=self.body,
            model=self.model,
            started=self.started,
            ended=self.ended,
            status=self.status,
            cancelled=self.cancelled,
            tokens_sent=self.tokens_sent,
            finished=self.finished,
            began=self.began,
            closed=self.closed,
        )


class Journal:
    """The last `kept` calls, oldest first."""

    def __init__(self, kept: int) -> None:
        self._entries: deque[Entry] = deque(maxlen=kept)

    def open(self, method: str, path: str, headers: Mapping[str, str]) -> Entry:
        """Begins a call."""
        entry = Entry(method, path, headers)
        self._entries.append(entry)
        return entry

    def calls(self) -> tuple[Call, ...]:
        """Frozen records of the calls kept."""
        return tuple(entry.call() for entry in self._entries)

    def clear(self) -> None:
        """Forgets all calls."""
        self._entries.clear()


def redacted(name: str, value: str) -> str:
    """A credential as its scheme and a short hash, so that two can be compared; other values as they are."""
    lowered = name.lower()
    if not any(word in lowered for word in _SECRET_WORDS):
        return value
    scheme, blank, secret = value.rpartition(" ")
    digest = hashlib.sha256(secret.encode()).hexdigest()[:12]
    return f"{scheme}{blank}[redacted sha256:{digest}]"
