"""What is wrong with a process now, part by part: logged when it begins, changes and ends, shown while it lasts.

Nothing is asked here: whoever uses a part tells what came of it. What that means to the probes is decided here;
how it is shown is the edge's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from service.edge import log_events
from service.edge.admin import Health

REMIND_SECONDS: Final = 300.0
"""After so long, what lasts is logged again."""

SETTLED_SECONDS: Final = 15.0
"""What was logged lately is logged again when it came back only once it has lasted for so long."""

NOT_YET: Final = "not reached yet"


class Part(StrEnum):
    """What may be wrong; the value is the label `part` of the gauge `eurouter_condition`."""

    SETTINGS = "settings"
    CATALOG = "catalog"
    SECRETS = "secrets"
    DATABASE = "database"
    TOPICS = "topics"
    INTAKE = "intake"
    WAKE_UPS = "wake_ups"
    RESTART = "restart"


@dataclass(slots=True)
class _Lasting:
    """`logged`: whether its beginning was, so that its end is news."""

    why: tuple[str, ...]
    since: float
    logged: bool = False


class Conditions:
    """What is wrong with one process. Use it on the event loop's thread.

    The process has begun once the database was good: without it a rollout must not go on. `clock` is monotonic.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, remind: float = REMIND_SECONDS) -> None:
        self._clock = clock
        self._remind = remind
        self._lasting: dict[Part, _Lasting] = {}
        self._told: dict[Part, dict[tuple[str, ...], float]] = {}
        self._good: set[Part] = set()
        self._show: Callable[[str, bool], None] = lambda _part, _good: None
        self._log = structlog.get_logger().bind()

    @property
    def begun(self) -> bool:
        """Whether everything that is needed to begin was there once."""
        return Part.DATABASE in self._good

    def show_by(self, show: Callable[[str, bool], None]) -> None:
        """From now on `show` is told of each part whether it is good, and at once what is known."""
        self._show = show
        show(Part.DATABASE.value, self.begun and Part.DATABASE not in self._lasting)
        for part in self._good | self._lasting.keys():
            show(part.value, part not in self._lasting)

    def tell(self, part: Part, *why: str) -> None:
        """What is wrong with a part now, a sentence each; no sentence: it is good."""
        if not why:
            self._end(part)
            return
        now = self._clock()
        lasting = self._lasting.get(part)
        if lasting is None:
            lasting = self._lasting[part] = _Lasting(why, now)
            self._show(part.value, False)
        lasting.why = why
        # What changes, or comes and goes, again and again is no news each time.
        if now - self._told.get(part, {}).get(why, float("-inf")) >= self._remind:
            self._log_failed(part, lasting, now)

    def forget(self, part: Part) -> None:
        """Nothing is known of a part any more; it is not good for that."""
        self._lasting.pop(part, None)

    def remind(self) -> None:
        """Logs again what has lasted for long since it was logged last. Call it now and then."""
        now = self._clock()
        for part, lasting in self._lasting.items():
            came_back = not lasting.logged and now - lasting.since >= SETTLED_SECONDS
            if came_back or now - max(self._told[part].values()) >= self._remind:
                self._log_failed(part, lasting, now)

    def why(self, part: Part) -> tuple[str, ...]:
        """What is wrong with a part; nothing: it is good, or nothing is known of it."""
        lasting = self._lasting.get(part)
        return () if lasting is None else lasting.why

    def health(self, *not_ready: str) -> Health:
        """What the probes say of a process that serves callers; `not_ready`: why it isn't, the database aside."""
        lines = {part: tuple(_lines(part, lasting.why)) for part, lasting in self._lasting.items()}
        if not self.begun:
            first = lines.pop(Part.DATABASE, (f"{Part.DATABASE}: {NOT_YET}",))
            not_ready = (*not_ready, *first)
        return Health(not_ready, tuple(line for some in lines.values() for line in some), self.begun)

    def health_of_worker(self, *, works: bool, leaving: bool) -> Health:
        """The same of a worker, which is nothing without its database; `works`: it has it now."""
        if leaving:
            return self.health("draining")
        found = self.health()
        if works and self.begun:
            return found
        said = tuple(_lines(Part.DATABASE, self.why(Part.DATABASE))) or (f"{Part.DATABASE}: {NOT_YET}, or away",)
        return Health(said, tuple(line for line in found.degraded if line not in said), self.begun)

    def waiting(self) -> Health:
        """The same of a process that waits for what it needs: all that is wrong keeps it from being ready."""
        lines = tuple(line for part, lasting in self._lasting.items() for line in _lines(part, lasting.why))
        return Health(lines or (f"{Part.DATABASE}: {NOT_YET}",), (), begun=False)

    def _end(self, part: Part) -> None:
        new = part not in self._good
        self._good.add(part)
        lasting = self._lasting.pop(part, None)
        if lasting is not None and lasting.logged:
            seconds = round(self._clock() - lasting.since, 1)
            self._log.info(log_events.CONDITION_ENDED, part=part.value, seconds=seconds)
        if new or lasting is not None:
            self._show(part.value, True)

    def _log_failed(self, part: Part, lasting: _Lasting, now: float) -> None:
        told = self._told.get(part, {})
        self._told[part] = {why: when for why, when in told.items() if now - when < self._remind} | {
            lasting.why: now
        }
        lasting.logged = True
        self._log.warning(
            log_events.CONDITION_FAILED,
            part=part.value,
            why="; ".join(lasting.why),
            seconds=round(now - lasting.since, 1),
        )


def _lines(part: Part, why: tuple[str, ...]) -> Iterator[str]:
    return (f"{part.value}: {sentence}" for sentence in why)
