"""What the row of an idempotency key means; the same for both databases."""

from __future__ import annotations

from typing import Final

from service.domain.idempotency import Conflict, Idempotency, Repeated, Reserved, Running

_SOON: Final = 1.0
_LATE: Final = 30.0


def outcome_of_find(
    asked: Idempotency, digest: bytes, found: str, running: float | None, left: float
) -> Repeated | Conflict | Running:
    """What a key that is there means for a request under it.

    `digest` and the response `found` are the key's; `running` are the seconds since it was reserved, None when it
    has its response, `left` those until its time is over.
    """
    if digest != asked.digest:
        return Conflict(found)
    if running is None:
        return Repeated(found)
    # As long again as it runs already: few looks at a long one, and no long wait for a short one.
    return Running(min(max(_SOON, min(running, _LATE)), max(_SOON, left)))


def outcome_of_reserve(
    asked: Idempotency, response_id: str, digest: bytes, found: str, running: float | None, left: float
) -> Reserved | Repeated | Conflict | Running:
    """The same for the response that asks for the key."""
    outcome = outcome_of_find(asked, digest, found, running, left)
    if isinstance(outcome, Running) and found == response_id:
        # The reservation itself: it was made by a call whose answer got lost.
        return Reserved()
    return outcome
