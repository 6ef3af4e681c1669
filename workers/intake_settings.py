"""How the loops that read from the broker work. Whoever wires them reads it from the settings file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConsumingSettings:
    """`batch`: records at a time.

    In seconds: `poll`, after which a poll without records returns; `gather`, how long a loop waits at least from
    one batch that is not full to the next; `stuck`, after which a call of a consumer is not waited for any more;
    `watch`, how often that is looked at; from `first_wait` to `longest_wait`, longer each time, how long it takes
    until a consumer that failed is followed by another; `drain`, for which a loop that leaves may finish its
    batch; `let_go` and `close`, for which a consumer that is given up may break off and disconnect.
    """

    batch: int = 500
    poll: float = 0.5
    gather: float = 0.05
    stuck: float = 60.0
    watch: float = 1.0
    first_wait: float = 0.5
    longest_wait: float = 10.0
    drain: float = 10.0
    let_go: float = 1.0
    close: float = 10.0

    def __post_init__(self) -> None:
        """Raises ValueError when a poll without records would be taken for one that hangs."""
        if self.stuck <= self.poll:
            raise ValueError("a consumer must be waited for longer than a poll takes")


@dataclass(frozen=True, slots=True)
class IntakeSettings(ConsumingSettings):
    """`high_water`: more jobs that may run than this, and nothing is read until there are fewer than the part
    `low_water` of it; `check`: how often that is asked for at most, in seconds. `batch_bytes`: what is judged and
    stored together has no more, unless it is one record; keys, values and headers count.

    In seconds: from `first_retry` to `longest_retry`, how long a batch waits that could not be stored, longer each
    time; up to `longest_aside`, how long records wait that can't be judged or stored for their own sake.
    `most_aside`: that many of them, and nothing more is read.
    """

    batch_bytes: int = 8 * 1024 * 1024
    high_water: int = 10_000
    low_water: float = 0.8
    check: float = 0.5
    first_retry: float = 0.1
    longest_retry: float = 5.0
    longest_aside: float = 60.0
    most_aside: int = 100


@dataclass(frozen=True, slots=True)
class WakeUpSettings(ConsumingSettings):
    """`commit`: how often places are stored, in seconds; `stale`: the age in seconds at which a wake-up helps
    nobody any more."""

    gather: float = 0.1
    commit: float = 5.0
    stale: float = 30.0
