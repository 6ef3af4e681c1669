"""What relays need of others: what rows look like when they are published, and whom they tell how they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service.domain.outbox import OutboxKind, OutboxRow
from service.domain.publishing import Delivery, Message


class Render(Protocol):
    """Makes the message of a row."""

    def __call__(self, row: OutboxRow, *, small: bool) -> Message | None:
        """The message; None: there is nothing to say, the row is forgotten. Quick, and the same each time.

        `small`: without content, which was too large to be published.
        """
        ...


class RelayTelemetry(Protocol):
    """Counts what relays do; never content. Cheap enough for every batch."""

    def holds(self, shards: int) -> None:
        """The relay has so many shards now."""
        ...

    def sent(self, rows: Sequence[OutboxRow]) -> None:
        """Rows were published."""
        ...

    def dropped(self, rows: Sequence[OutboxRow]) -> None:
        """Rows were forgotten: hints that are too old to help, and results whose response is gone."""
        ...

    def failed(self, delivery: Delivery, topic: str) -> None:
        """A message was not sent, as far as one knows. It is kept."""
        ...

    def late(self, rows: int) -> None:
        """So many rows may have gone out when their shard was another's: their newest state is sent again."""
        ...

    def store_failed(self, what: str) -> None:
        """The database failed at `what`, and will be asked again."""
        ...

    def publisher_failed(self, error: BaseException) -> None:
        """The broker can't be reached; it is tried again."""
        ...

    def turn_crashed(self, error: BaseException) -> None:
        """A turn ended by a fault of ours. Nothing of it is lost; another one follows."""
        ...

    def crashed(self, kind: OutboxKind, error: BaseException) -> None:
        """A row could not be made a message, by a fault of ours. It is kept, and the others go on."""
        ...
