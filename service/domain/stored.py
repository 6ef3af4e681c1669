"""Stored responses: what a row holds, and what the store can do. The database itself is an adapter.

Bodies are bytes in a form that the Responses API chooses; a store never looks into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from service.domain.idempotency import Idempotency

RETRY_STORE_SECONDS: Final = 2.0
"""After which a call that failed with the database may be sent again: one that fails over is back in seconds."""


class StoreError(Exception):
    """The database can't be reached or refused. The message holds no content and no credentials."""


class RefusedValueError(StoreError):
    """It refused a value for what the value is, and will again: asking once more is no use."""


@dataclass(frozen=True, slots=True)
class NewResponse:
    """A response to store.

    `status` is the API's word for its state. `response` and `input` are bodies: the answer with its output,
    and the request's own input items. `retention` in seconds from now, on the store's clock.
    """

    id: str
    owner: str
    previous_id: str | None
    status: str
    response: bytes
    input: bytes
    retention: float


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A stored response as `NewResponse` describes it."""

    id: str
    previous_id: str | None
    status: str
    response: bytes
    input: bytes


class ChainEnd(StrEnum):
    """Why a chain ends where it does."""

    COMPLETE = "complete"
    """With a response that had no previous one."""
    GONE = "gone"
    """The next one is deleted, expired, not the owner's, or never was."""
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Chain:
    """A response and those before it, newest first; empty with GONE when the first is not there.

    With TOO_DEEP and TOO_LARGE `links` may be cut anywhere.
    """

    links: Sequence[StoredResponse]
    end: ChainEnd


class ResponseStore(Protocol):
    """Keeps responses. Every method is one transaction; rows of other owners and expired ones don't exist.

    Every method may raise StoreError.
    """

    async def insert(self, new: NewResponse, idempotency: Idempotency | None = None) -> None:
        """Stores a response; it can be read when this returns, on every replica.

        Its key, if it has reserved one, is confirmed with it, also when the reservation's time was over and nobody
        has taken the key since.

        Raises:
            ValueError: the id is taken.
            KeyLostError: another call has the key; nothing was stored.
        """
        ...

    async def get(self, owner: str, response_id: str) -> StoredResponse | None:
        """One response."""
        ...

    async def chain(self, owner: str, response_id: str, *, max_depth: int, max_bytes: int) -> Chain:
        """A response and those before it: at most `max_depth` of them and `max_bytes` of bodies in all."""
        ...

    async def delete(self, owner: str, response_id: str) -> bool:
        """Deletes a response at once, with its job in whatever state, its events and its idempotency key.

        False when there is none.
        """
        ...

    async def sweep(self, limit: int) -> int:
        """Deletes up to `limit` expired rows and says how many; cheap whatever the table's size."""
        ...
