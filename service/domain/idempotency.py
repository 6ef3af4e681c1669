"""Idempotency keys: which request came under a key, and what became of it. The database is an adapter.

A key is its owner's; background and foreground share them. A background response takes its key when it is accepted
(service/domain/job_store.py). One in the foreground reserves its key before a provider is asked and confirms it
when it is stored (service/domain/stored.py: insert), so that a repeat never asks twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Idempotency:
    """`key` is the owner's; `digest` of the request after defaults tells whether a repeat is one."""

    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Reserved:
    """The key is the caller's, until it stores its response with it, releases it, or its time is over."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same request came before under this key: this is its response."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another request came before under this key."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Running:
    """The same request came before under this key and is not over; look again after so many seconds."""

    retry_after: float


class KeyLostError(Exception):
    """A response can't be stored under its key: the reservation's time was over, and another call has the key."""


class IdempotencyKeys(Protocol):
    """Keys of responses. Every method may raise StoreError.

    A key that has its response is free when the response is gone: swept, or at the end of its time.
    """

    async def reserve(
        self, owner: str, idempotency: Idempotency, response_id: str, seconds: float
    ) -> Reserved | Repeated | Conflict | Running:
        """Takes the key for a response in the foreground that is about to be made, for so many seconds.

        May be repeated after a StoreError: whoever has the reservation already has it.
        """
        ...

    async def find(
        self, owner: str, idempotency: Idempotency, *, gone: bool = False
    ) -> Repeated | Conflict | Running | None:
        """What came before under the key; None: it is free. One read.

        `gone`: also of a response that was deleted, as long as its key is kept.
        """
        ...

    async def free(self, owner: str, key: str, response_id: str) -> None:
        """Ends the key of a response that is gone; of one that is there or being made, nothing changes."""
        ...

    async def release(self, owner: str, key: str, response_id: str) -> None:
        """Gives a reserved key back; of one that is confirmed, or somebody else's, nothing changes."""
        ...
