"""How a response is to be made, apart from what it asks: the caller's word, door-independent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.domain.errors import ServiceError, Violation, invalid
from service.domain.job_store import Priority

MAX_KEY: Final = 255
MAX_GROUP: Final = 128

# OpenAI's tiers tell how soon; what stands here is the order among our own jobs.
_BY_TIER: Final = {"priority": Priority.HIGH, "flex": Priority.BULK}


@dataclass(frozen=True, slots=True)
class Submission:
    """All but the key is for background responses.

    `delay` and `start_within` in seconds from now, None: at once, whenever; a `start_within` that is not above 0
    is over. `group` is a label, "" for none.
    """

    idempotency_key: str | None = None
    priority: Priority | None = None
    delay: float | None = None
    start_within: float | None = None
    group: str = ""

    def priority_for(self, service_tier: str) -> Priority:
        """The caller's word, else what the request's tier suggests."""
        if self.priority is not None:
            return self.priority
        return _BY_TIER.get(service_tier, Priority.NORMAL)

    def refuse_in_foreground(self) -> None:
        """A response that is waited for has no place in a queue.

        Raises:
            ServiceError: INVALID_REQUEST, naming every header that needs `background`.
        """
        given = {
            "eurouter-priority": self.priority is not None,
            "eurouter-run-at": self.delay is not None,
            "eurouter-expires-at": self.start_within is not None,
            "eurouter-group": bool(self.group),
        }
        names = [name for name, is_set in given.items() if is_set]
        if names:
            why = "is for background responses: set background to true or leave it out"
            raise _all_of(names, why)


def _all_of(names: list[str], why: str) -> ServiceError:
    return invalid(names[0], why, *(Violation(name, why) for name in names[1:]))
