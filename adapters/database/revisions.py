"""Which revisions of the schema this code knows, and what that says about a database. No database library."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from service.domain.stored import StoreError

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Oldest first; each has a module in `migrations/versions`."""

HEAD: Final = REVISIONS[-1]

VERSION_TABLE: Final = "eurouter_version"
"""A name of our own: a database may be shared with others who use Alembic."""

READ_REVISION: Final = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608 - a constant


class SchemaError(StoreError):
    """The database's schema is not the one that this version of the service needs."""


class SchemaState(StrEnum):
    """A database beside this code."""

    EMPTY = "empty"
    BEHIND = "behind"
    CURRENT = "current"
    NEWER = "newer"


def state_of(revision: str | None) -> SchemaState:
    """What a database's revision (None: never migrated) means."""
    if revision is None:
        return SchemaState.EMPTY
    if revision == HEAD:
        return SchemaState.CURRENT
    return SchemaState.BEHIND if revision in REVISIONS else SchemaState.NEWER


def must_migrate(name: str, revision: str | None, *, auto_migrate: bool) -> bool:
    """Whether the database `name` is to be migrated before it can be used.

    Raises:
        SchemaError: it was migrated by a newer version; or it must be migrated, and not by us.
    """
    state = state_of(revision)
    if state is SchemaState.CURRENT:
        return False
    if state is SchemaState.NEWER:
        raise SchemaError(
            f"{name}: its schema has revision {revision}, which this version does not know (its newest is "
            f"{HEAD}): run the version that migrated it, or a newer one"
        )
    if not auto_migrate:
        has = "has no schema yet" if revision is None else f"has schema revision {revision}, and {HEAD} is needed"
        raise SchemaError(f"{name}: {has}: run `eurouter db migrate`, or set database.auto_migrate to true")
    return True
