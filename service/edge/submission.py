"""How a response is to be made, from headers or metadata: the same names at every door, Kafka's included."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from multidict import MultiMapping

from service.api.responses.idempotency import FIELD as IDEMPOTENCY_KEY
from service.api.responses.submission import MAX_GROUP, MAX_KEY, Submission
from service.domain.errors import invalid
from service.domain.job_store import Priority

PRIORITY: Final = "eurouter-priority"
RUN_AT: Final = "eurouter-run-at"
EXPIRES_AT: Final = "eurouter-expires-at"
GROUP: Final = "eurouter-group"

REPLAYED: Final = ("x-idempotent-replay", "true")
"""The header of an answer that an earlier call made, under the same key."""

_NAMES: Final = (IDEMPOTENCY_KEY, PRIORITY, RUN_AT, EXPIRES_AT, GROUP)
_PRIORITIES: Final = {"high": Priority.HIGH, "normal": Priority.NORMAL, "bulk": Priority.BULK}
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{MAX_KEY}}}")
_GROUP: Final = re.compile(rf"[A-Za-z0-9._:/@-]{{1,{MAX_GROUP}}}")

# What can be told as a time again, in UTC.
_FIRST: Final = "1970-01-01T00:00:00Z"
_LAST: Final = "9999-12-31T23:59:59Z"
_LAST_SECOND: Final = datetime.fromisoformat(_LAST).timestamp()


def lines_of(headers: MultiMapping[str]) -> dict[str, str]:
    """What `submission_of` reads; a header that came twice as HTTP joins it, which makes no value of these."""
    return {name: ", ".join(headers.getall(name)) for name in _NAMES if name in headers}


def submission_of(headers: Mapping[str, str], clock: Callable[[], float]) -> Submission:
    """What the headers ask for; `clock` gives Unix seconds.

    Whether it is too late is not judged here: a repeat under an idempotency key may well be.

    Raises:
        ServiceError: INVALID_REQUEST naming the header.
    """
    key = headers.get(IDEMPOTENCY_KEY)
    if key is not None and not _KEY.fullmatch(key):
        raise invalid(IDEMPOTENCY_KEY, f"must be 1 to {MAX_KEY} printable ASCII characters without blanks")
    group = headers.get(GROUP, "")
    if group and not _GROUP.fullmatch(group):
        raise invalid(GROUP, f"must be 1 to {MAX_GROUP} letters, digits or any of . _ : / @ -")
    now = clock()
    run_at, expires_at = (_time(headers, name) for name in (RUN_AT, EXPIRES_AT))
    if expires_at is not None and run_at is not None and expires_at <= run_at:
        raise invalid(EXPIRES_AT, f"must be later than {RUN_AT}")
    return Submission(
        idempotency_key=key,
        priority=_priority(headers),
        delay=max(0.0, run_at - now) if run_at is not None else None,
        start_within=expires_at - now if expires_at is not None else None,
        group=group,
    )


def _priority(headers: Mapping[str, str]) -> Priority | None:
    given = headers.get(PRIORITY)
    if given is None:
        return None
    if given.lower() not in _PRIORITIES:
        raise invalid(PRIORITY, f"must be high, normal or bulk; got {given[:20]!r}")
    return _PRIORITIES[given.lower()]


def _time(headers: Mapping[str, str], name: str) -> float | None:
    given = headers.get(name)
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise invalid(name, "must be a time as RFC 3339 writes it, such as 2026-11-22T08:00:00Z")
    # Not by way of UTC: at the calendar's ends that has no date.
    seconds = moment.timestamp()
    if not 0.0 <= seconds <= _LAST_SECOND:
        raise invalid(name, f"must be between {_FIRST} and {_LAST}")
    return seconds
