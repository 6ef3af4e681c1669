"""What may stand as a provider's address: what those that dial it can read and look up. Nothing is dialled."""

from __future__ import annotations

import re

import httpx
from yarl import URL

_FORM = re.compile(r"https?://[^\s/?#]+[^\s?#]*")


def address(value: str) -> str:
    """The address without a slash at its end.

    Raises:
        ValueError: it is none, or holds a user or a password; the text says what to write.
    """
    if not _FORM.fullmatch(value):
        raise ValueError("must be an address such as https://api.example.com/v1, without ? and #")
    if "@" in value.partition("//")[2].partition("/")[0]:
        raise ValueError("must hold no user and no password: give the key in `auth`")
    if not _can_be_dialled(value):
        raise ValueError(
            "must be an address such as https://api.example.com/v1: its host or its port can't be read"
        )
    return value.rstrip("/")


def _can_be_dialled(value: str) -> bool:
    try:
        httpx.URL(value)
        # As Python's look-up of names does: no empty part between two dots, none of more than 63 characters.
        (URL(value).raw_host or "").encode("idna")
    except (httpx.InvalidURL, ValueError):
        return False
    return True
