"""What Alembic runs: the revisions, on the connection and in the transaction that `migrate` opened."""

from alembic import context

from adapters.database.revisions import VERSION_TABLE
from adapters.database.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, version_table=VERSION_TABLE
)
context.run_migrations()
