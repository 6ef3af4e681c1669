"""How long one call may wait, and how often it may try. Pure arithmetic on the router's clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.capacity import BACKGROUND_SHARE
from service.domain.calls import CallContext

BACKGROUND_WAIT: Final = 0.5
"""Seconds that a background call waits for places, in all: its worker could do another job meanwhile."""


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """Limits of one call: attempts in all, and the longest wait in seconds, for a Retry-After or a free place.

    `background_share`: of the places at an endpoint, those that background calls may take together. Such calls
    wait for a Retry-After like others, but for a place no longer than BACKGROUND_WAIT.
    """

    max_attempts: int = 4
    max_retry_wait: float = 10.0
    background_share: float = BACKGROUND_SHARE


class Patience:
    """When one call's waits end; made as the first of them begins."""

    __slots__ = ("_background", "_place_until", "until")

    def __init__(self, context: CallContext, settings: RouterSettings, now: float) -> None:
        self.until = min(now + settings.max_retry_wait, context.deadline)
        """When all its waits end, for places and for a Retry-After."""
        self._background = context.background
        self._place_until: float | None = None

    def place_until(self, now: float) -> float:
        """When its waits for places end; for a background call that is soon after the first of those began."""
        if self._place_until is None:
            self._place_until = min(now + BACKGROUND_WAIT, self.until) if self._background else self.until
        return self._place_until
