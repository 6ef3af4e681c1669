"""The release after this one, as far as its schema goes: its migrations, run by what runs ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import pytest

from adapters.database import migrate as migrations
from adapters.database import revisions
from adapters.database.url import Target

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

OURS: Final = revisions.HEAD
"""Of this version; what `revisions` says is the next one's while it runs."""

Next = Literal["next_column", "next_expands", "next_contracts"]
_THEIRS: Final[tuple[Next, ...]] = ("next_column", "next_expands", "next_contracts")
_FOLDERS: Final = (migrations._FOLDER / "versions", Path(__file__).with_name("next_versions"))


@contextmanager
def running(head: Next) -> Iterator[None]:
    """Meanwhile `migrations` are those of a version whose newest revision is `head`; not to be nested."""
    config_of_ours = migrations.script_config

    def script_config(connection: Connection) -> Config:
        config = config_of_ours(connection)
        config.set_main_option("path_separator", "os")
        config.set_main_option("version_locations", ":".join(map(str, _FOLDERS)))
        return config

    known = (*revisions.REVISIONS, *_THEIRS[: _THEIRS.index(head) + 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revisions, "REVISIONS", known)
        for module in (revisions, migrations):
            patch.setattr(module, "HEAD", head)
        patch.setattr(migrations, "script_config", script_config)
        yield


def migrate_to(target: Target, head: Next) -> str | None:
    """What its `eurouter db migrate` does; the revision before."""
    with running(head):
        return migrations.migrate(target)
