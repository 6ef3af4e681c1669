"""What migrations do to tables that are in use: how, so that callers go on meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op

_POSTGRES: Final = "postgresql"


def build_index(name: str, table: str, columns: Sequence[str], where: str | None = None) -> None:
    """Makes an index, on PostgreSQL while others write. A migration that calls this does nothing else.

    What came before it in the same migration would be committed, and be in the way when it is tried again; what an
    earlier try left behind is removed. `where`: the condition of a partial index.
    """
    condition = None if where is None else sa.text(where)
    if op.get_bind().dialect.name != _POSTGRES:
        op.create_index(name, table, list(columns), sqlite_where=condition)
        return
    with op.get_context().autocommit_block():
        bind = op.get_bind()
        limit = bind.exec_driver_sql("SHOW lock_timeout").scalar_one()
        # It would limit the waits for the transactions of others, too, in which nobody waits behind us: an index
        # would be thrown away, half built, whenever one is longer.
        bind.exec_driver_sql("SET lock_timeout = 0")
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, list(columns), postgresql_where=condition, postgresql_concurrently=True)
        bind.exec_driver_sql(f"SET lock_timeout = '{limit}'")
