"""Single values of a URL's query or path, read and refused in the same words by every route."""

from __future__ import annotations

import re
from typing import Final

from service.domain.errors import invalid

_NUMBER: Final = re.compile(r"-1|[0-9]{1,9}")
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False, "": False}


def text(name: str, given: str) -> str:
    """The value as it is.

    Raises:
        ServiceError: INVALID_REQUEST for what was no UTF-8.
    """
    try:
        given.encode()
    except UnicodeEncodeError:
        raise invalid(name, "must be UTF-8, percent-encoded") from None
    return given


def number(name: str, given: str) -> int:
    """A whole number of at most nine digits, or -1; what else it may be is its reader's to say.

    Raises:
        ServiceError: INVALID_REQUEST.
    """
    if not _NUMBER.fullmatch(given):
        raise invalid(name, f"must be a whole number; got {given[:20]!r}")
    return int(given)


def flag(name: str, given: str) -> bool:
    """True or false; empty is false.

    Raises:
        ServiceError: INVALID_REQUEST.
    """
    if given.lower() not in _FLAGS:
        raise invalid(name, f"must be true or false; got {given[:20]!r}")
    return _FLAGS[given.lower()]
