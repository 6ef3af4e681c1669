"""What the rows of a chain's statement mean; the same for both databases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from service.domain.stored import Chain, ChainEnd, StoredResponse

Row: TypeAlias = Any
"""depth, bytes up to here, id, previous_id, status, response, input; bodies are None beyond a limit."""


def may_exist(response_id: str) -> bool:
    """Whether a database can hold such an id at all: a caller may send what no text column takes."""
    return response_id.isprintable()


def chain_of(rows: Sequence[Row], *, max_depth: int, max_bytes: int) -> Chain:
    """The chain, and why it ends. A row beyond a limit comes last, once, and only says that there is more."""
    if not rows:
        return Chain((), ChainEnd.GONE)
    last = rows[-1]
    end = ChainEnd.COMPLETE if last[3] is None else ChainEnd.GONE
    if last[0] > max_depth:
        end, rows = ChainEnd.TOO_DEEP, rows[:-1]
    elif last[1] > max_bytes:
        end, rows = ChainEnd.TOO_LARGE, rows[:-1]
    return Chain([StoredResponse(row[2], row[3], row[4], row[5], row[6]) for row in rows], end)
