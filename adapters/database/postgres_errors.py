"""What PostgreSQL and the way to it report, told without content and without credentials."""

from __future__ import annotations

import ssl
from typing import Final

import asyncpg

from adapters.database.url import PostgresTarget
from service.domain.stored import RefusedValueError, StoreError

POSTGRES_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""Everything that a connection and a statement raise (TimeoutError is an OSError)."""

# Classes of SQLSTATE whose texts name objects and limits; those of others may repeat values.
_TOLD: Final = frozenset({"25", "3D", "3F", "42", "53", "55", "57", "58"})
_LOGIN: Final = "28"
_CONNECTION: Final = "08"


def describe_postgres(error: BaseException, target: PostgresTarget) -> StoreError:
    """The same for whoever runs the service."""
    kind = RefusedValueError if isinstance(error, asyncpg.DataError) else StoreError
    return kind(f"{target.name}: {_reason(error)}")


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or type(error).__name__}): check sslmode and sslrootcert"
    if isinstance(error, FileNotFoundError):
        return "a file is missing: the server's socket, or what sslrootcert, sslcert or sslkey name"
    if isinstance(error, OSError):
        return f"can't be reached ({error.strerror or error})"
    if isinstance(error, asyncpg.ClientConfigurationError):
        return (
            "the URL's parameters can't be used: sslmode=verify-full needs sslrootcert=FILE, the certificate of "
            "who signed the server's; check the others, too"
        )
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        code = f"{type(error).__name__}{f' {state}' if state else ''}"
        if state.startswith(_LOGIN):
            return f"it refused the login: check user, password and pg_hba.conf ({code})"
        if state.startswith(_CONNECTION):
            return f"the connection was lost ({code})"
        # Only the message itself: its details hold keys and rows.
        message = getattr(error, "message", None) if state[:2] in _TOLD else None
        return f"{message} ({code})" if message else f"the statement failed ({code})"
    return f"the connection was lost ({type(error).__name__})"
