"""The database that the settings name, and what its failures say to whoever runs the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from adapters.database.open import Database, DatabaseOptions, open_database
from adapters.database.revisions import SchemaError
from adapters.database.url import effective_url
from service.domain.stored import StoreError
from service.settings import Settings


def open_for(settings: Settings, resolve: Callable[[str], str], env: Mapping[str, str]) -> Database:
    """The database of these settings, not connected yet. `resolve` gives the secret of a reference.

    Raises:
        DatabaseUrlError: the URL can't be used.
        SecretError: it can't be found.
    """
    database = settings.database
    options = DatabaseOptions(
        auto_migrate=database.auto_migrate,
        pool_size=database.pool_size,
        connect_seconds=database.connect_seconds,
        seconds=database.statement_seconds,
        outbox=settings.kafka.enabled,
    )
    return open_database(effective_url(database.url, env, resolve), options)


def sentence(error: StoreError) -> str:
    """What is wrong, and what to do: in one line, without content and without credentials."""
    if isinstance(error, SchemaError):
        return str(error)
    return f"{error}; mend that, or database.url: it is tried again"
