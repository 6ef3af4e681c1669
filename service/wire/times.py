"""Times and durations as JSON: RFC 3339 in UTC, and seconds with an "s", as protobuf's own JSON has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from service.wire.errors import InvalidValueError
from service.wire.values import text

if TYPE_CHECKING:
    from service.wire.walk import Read, Walk

_TIME: Final = "expected a time as RFC 3339 writes it, such as 2026-11-22T08:00:00Z"
_DURATION: Final = 'expected seconds and an "s", such as 2.5s'


def _write(value: Any) -> object:
    return value.ToJsonString()


def _reader(what: str) -> Read:
    def read(message: Any, value: object, _walk: Walk) -> None:
        given = text(value)
        try:
            message.FromJsonString(given)
        except (ValueError, OverflowError):
            raise InvalidValueError(what) from None

    return read


WRITERS: Final[dict[str, Callable[[Any], object]]] = {
    "google.protobuf.Timestamp": _write,
    "google.protobuf.Duration": _write,
}
READERS: Final[dict[str, Read]] = {
    "google.protobuf.Timestamp": _reader(_TIME),
    "google.protobuf.Duration": _reader(_DURATION),
}
