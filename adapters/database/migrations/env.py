"""What Alembic runs: the revisions, on the connection that `migrate` opened.

SQLite's connection is in a transaction that all of them share; PostgreSQL's is in none, each has its own, and one
that builds an index CONCURRENTLY leaves it for that by `op.get_context().autocommit_block()`.
"""

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo

from adapters.database.revisions import COMPATIBLE_TABLE, VERSION_TABLE
from adapters.database.schema import METADATA


def _note_compatible(ctx: MigrationContext, step: MigrationInfo, heads: object, run_args: object) -> None:  # noqa: ARG001  Alembic's
    """Keeps what a migration says of older code, in the transaction in which its revision is kept."""
    oldest = getattr(getattr(step.up_revision, "module", None), "compatible_from", None)
    if oldest is None or ctx.connection is None:
        return
    run = ctx.connection.exec_driver_sql
    run(f"CREATE TABLE IF NOT EXISTS {COMPATIBLE_TABLE} (one SMALLINT PRIMARY KEY, revision TEXT NOT NULL)")
    run(f"DELETE FROM {COMPATIBLE_TABLE}")  # noqa: S608 - a constant
    if ctx.dialect.name == "postgresql":
        # It comes with an upgrade: roles whose rights were granted table by table have none to it.
        run(f"GRANT SELECT ON {COMPATIBLE_TABLE} TO PUBLIC")
    run(f"INSERT INTO {COMPATIBLE_TABLE} VALUES (1, '{oldest}')")  # noqa: S608 - ours, four digits


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transaction_per_migration=True,
    on_version_apply=_note_compatible,
)
with context.begin_transaction():
    context.run_migrations()
