"""How a relay works. Whoever wires it reads it from the settings file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """In seconds: `lease` of a shard and how often it is renewed (`renew`); limits of `start`, `send` and `close`
    of a publisher; `poll`, how often an idle relay looks for rows that nobody told it of; `gather`, how long it
    waits at least from one batch to the next; `stale`, the age at which a wake-up helps nobody any more; `rest`,
    for which a topic waits that refused; `aside`, for which a record waits that is never taken; `patience`, after
    which a relay that reaches no broker has its shards left to others, and `away`, for how long at least.

    `rows` and `most_bytes` bound a batch. A result of more than `most_value` bytes goes without its content.
    """

    lease: float = 15.0
    renew: float = 3.0
    start: float = 5.0
    send: float = 5.0
    close: float = 2.0
    poll: float = 0.5
    gather: float = 0.05
    stale: float = 30.0
    rest: float = 5.0
    aside: float = 60.0
    patience: float = 15.0
    away: float = 10.0
    rows: int = 500
    most_bytes: int = 8 * 1024 * 1024
    most_value: int = 900_000

    def __post_init__(self) -> None:
        """Raises ValueError when a lease is too short for a batch or over before it is renewed."""
        if self.trusted <= max(self.send + self.close, self.renew):
            raise ValueError(
                "a lease must be longer than it takes to send and to close, and than `renew`, by a quarter"
            )

    @property
    def trusted(self) -> float:
        """For how long after a renewal was asked for a shard is surely ours, whatever clocks do."""
        return self.lease * 0.8
