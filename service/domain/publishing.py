"""Messages on their way out, and who carries them. The broker is an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from service.domain.outbox import Headers


class PublisherError(Exception):
    """The broker can't be reached or refused. The message holds no content and no credentials."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is published; a value None is a tombstone."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Delivery(StrEnum):
    """What became of a message."""

    SENT = "sent"
    """It is stored as safely as the topic says."""
    TOO_LARGE = "too_large"
    """It is not stored, and never will be as it is."""
    REFUSED = "refused"
    """It is not stored: its topic is not there, or not ours to write to. That may change."""
    UNKNOWN = "unknown"
    """Nobody can tell; it may be stored at any time until `aclose` returns."""


class Publisher(Protocol):
    """A connection to a broker: started once, closed once. After any delivery but SENT it is of no more use."""

    async def start(self) -> None:
        """Connects, in a bounded time.

        Raises:
            PublisherError: it can't be had.
        """
        ...

    async def send(self, messages: Sequence[Message]) -> Sequence[Delivery]:
        """Publishes messages, in order where they have the same topic and key; what became of each.

        Returns in a bounded time. When one of a key was not sent, none after it is sent for certain.
        """
        ...

    async def aclose(self) -> None:
        """Disconnects at once: what was not stored is not stored later. In a bounded time; never raises."""
        ...
