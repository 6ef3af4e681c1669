"""The release after this one, as far as its schema goes: run its migrations with the machinery that is ours."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Connection

from adapters.database import migrate as migrations
from adapters.database.url import SqliteTarget, Target

_FOLDERS: Final = (migrations._FOLDER / "versions", Path(__file__).with_name("next_versions"))


def migrate_to(target: Target, revision: Literal["next_expands", "next_contracts"]) -> None:
    """What its `eurouter db migrate` would do to an up-to-date database."""
    from alembic import command

    def upgrade(connection: Connection) -> None:
        config = migrations.script_config(connection)
        config.set_main_option("path_separator", "os")
        config.set_main_option("version_locations", ":".join(map(str, _FOLDERS)))
        command.upgrade(config, revision)

    if isinstance(target, SqliteTarget):
        migrations._on_sqlite(target, upgrade, write=True)
    else:
        migrations._on_postgres(target, upgrade, 5.0, write=True)
