"""How a fetch fails."""

from __future__ import annotations

from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal[
    "ok",
    "bad_address",
    "not_public",
    "unreachable",
    "timeout",
    "status",
    "redirects",
    "wrong_type",
    "too_large",
    "no_room",
    "cancelled",
]


class FetchError(Exception):
    """Nothing usable came; `outcome` is for counting, the message for the caller. Neither names the address."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome: Outcome = outcome
        self.message = message
