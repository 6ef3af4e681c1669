"""The headers of a record as this door reads them. What they mean stands elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.domain.consuming import RawHeaders
from service.domain.errors import Violation
from service.edge.kafka import names
from service.edge.kafka.rejections import malformed


@dataclass(frozen=True, slots=True)
class Headers:
    """Headers by their names in lower case: as text, and as the bytes that came.

    What only travels along as bytes has no text, and what is not signed no bytes.
    """

    text: Mapping[str, str]
    raw: Mapping[str, bytes]


def read_headers(headers: RawHeaders, also: frozenset[str] = frozenset()) -> Headers:
    """Those that this door knows, and `also`; others are left alone.

    Kafka lets a name stand several times, and clients differ in which one they take: a header that says two
    things says nothing. One without a value is refused, too: an idempotency key that somebody forgot to fill in
    would make a job of each repeat. Trace headers are different, agents on the way append their own: the last one
    counts.

    Raises:
        RejectedRecordError: INVALID for one that came twice, has no value, or is no UTF-8.
    """
    text: dict[str, str] = {}
    raw: dict[str, bytes] = {}
    for given, value in headers:
        name = given.lower()
        if name not in names.READ and name not in also:
            continue
        if name in names.PASSED_ON:
            if value is not None:
                text[name] = value.decode(errors="replace")
        elif value is None:
            raise malformed(Violation(name, "is there and has no value (null): send one, or leave it out"))
        elif raw.setdefault(name, value) != value:
            raise malformed(Violation(name, "came more than once with different values: send it once"))
    for name, value in raw.items():
        if name != names.CORRELATION_ID:
            text[name] = _text(name, value)
    return Headers(text, raw)


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise malformed(Violation(name, "must be text in UTF-8")) from None
