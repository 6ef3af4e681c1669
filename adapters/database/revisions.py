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

COMPATIBLE_TABLE: Final = "eurouter_compatible"
"""One row: the oldest revision whose code may use the database as it is now.

The first migration that says so makes it; a database without it is used only by code that knows its revision.
"""

READ_COMPATIBLE: Final = f"SELECT revision FROM {COMPATIBLE_TABLE}"  # noqa: S608 - a constant


class SchemaError(StoreError):
    """The database's schema is not the one that this version of the service needs."""


class TooNewError(SchemaError):
    """A newer version migrated it, and this one can't work with it: no migration of ours mends that."""


class SchemaState(StrEnum):
    """A database beside this code."""

    EMPTY = "empty"
    BEHIND = "behind"
    CURRENT = "current"
    COMPATIBLE = "compatible"
    """A newer version migrated it, in a way with which this one can work."""
    NEWER = "newer"
    """A newer version migrated it, and this one can't work with it."""


def state_of(revision: str | None, compatible_from: str | None = None) -> SchemaState:
    """What a database's revision (None: never migrated) means.

    `compatible_from`: what COMPATIBLE_TABLE holds, None where there is none; of a revision that this code knows it
    says nothing and need not be read.
    """
    if revision is None:
        return SchemaState.EMPTY
    if revision == HEAD:
        return SchemaState.CURRENT
    if revision in REVISIONS:
        return SchemaState.BEHIND
    # Code knows every revision up to its own: one that it does not know is newer.
    return SchemaState.COMPATIBLE if compatible_from in REVISIONS else SchemaState.NEWER


def compatible_sentence(revision: str | None) -> str:
    """What there is to say of a schema that is COMPATIBLE."""
    return f"revision {revision}, made by a newer version; this one ({HEAD}) can work with it"


def must_migrate(
    name: str, revision: str | None, *, auto_migrate: bool, compatible_from: str | None = None
) -> bool:
    """Whether the database `name` is to be migrated before it can be used; other arguments as `state_of`'s.

    Raises:
        TooNewError: a newer version migrated it, and this one can't work with it.
        SchemaError: it must be migrated, and not by us.
    """
    state = state_of(revision, compatible_from)
    if state is SchemaState.CURRENT or state is SchemaState.COMPATIBLE:
        return False
    if state is SchemaState.NEWER:
        raise TooNewError(
            f"{name}: its schema has revision {revision}, which this version does not know (its newest is "
            f"{HEAD}) and can't work with: run the version that migrated it, or a newer one"
        )
    if not auto_migrate:
        has = "has no schema yet" if revision is None else f"has schema revision {revision}, and {HEAD} is needed"
        raise SchemaError(f"{name}: {has}: run `eurouter db migrate`, or set database.auto_migrate to true")
    return True
