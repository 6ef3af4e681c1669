"""The tables as SQLAlchemy Core: what migrations build and cold queries use. Hot statements are SQL text."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import REAL, Column, DateTime, Index, LargeBinary, MetaData, Table, Text
from sqlalchemy.types import TypeEngine

METADATA: Final = MetaData()

# SQLite has no type for times: Unix seconds by the writer's clock.
TIME: Final[TypeEngine[Any]] = DateTime(timezone=True).with_variant(REAL(), "sqlite")

# The bodies come last: whoever reads the columns before them doesn't walk through them (SQLite).
RESPONSES: Final = Table(
    "responses",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("previous_id", Text),
    Column("status", Text, nullable=False),
    Column("created_at", TIME, nullable=False),
    Column("expires_at", TIME, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("input", LargeBinary, nullable=False),
    Index("responses_expires_at", "expires_at"),
)
