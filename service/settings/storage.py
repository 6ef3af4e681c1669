"""The sections on what is stored, and on who works on background responses."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from adapters.database.url import is_reference, parse_url
from adapters.documents.shapes import Part
from service.settings.parts import LIVE, MIB, Port, PositiveSeconds


def _database_url(value: str) -> str:
    # What it raises never repeats the value: it may hold a password.
    if not is_reference(value):
        parse_url(value)
    elif not value.partition(":")[2]:
        raise ValueError("must say where the URL is, as env:NAME (an environment variable) or file:PATH")
    return value


DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
"""A database's URL, or where it is: env:NAME or file:PATH."""


class DatabaseSettings(Part):
    """Where responses are stored: a SQLite file for the processes of one machine, PostgreSQL for several."""

    url: DatabaseUrl | None = Field(
        default=None,
        repr=False,
        description="sqlite:////var/lib/eurouter/eurouter.db (four slashes: a path from the root) or "
        "postgresql://user:password@host:5432/database?sslmode=verify-full&sslrootcert=/path/of/ca.pem; "
        "better, as it holds a password, where it is: env:NAME or file:PATH. "
        "Left out, the file eurouter/eurouter.db in the state folder "
        "($XDG_STATE_HOME, or ~/.local/state).",
    )
    auto_migrate: bool = Field(
        default=True,
        description="Bring the schema up to date when it is needed. Otherwise `eurouter db migrate` does, before "
        "a new version starts: for a database user that may not create tables.",
    )
    pool_size: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="Connections of one process, made as needed (SQLite: threads that read, at most 4).",
    )
    connect_seconds: PositiveSeconds = Field(default=2.0, description="Until connected; seconds.")
    statement_seconds: PositiveSeconds = Field(
        default=10.0, description="For one statement, and for the wait until it may run; seconds."
    )


class JobsSettings(Part):
    """Background responses, and who works on them."""

    here: bool = Field(
        default=True,
        description="Work on background responses in the serving processes. Set it to false where "
        "`python -m workers` does.",
    )
    admin_host: str = Field(default="127.0.0.1", description="Where a worker process shows probes and metrics.")
    admin_port: Port = Field(default=9091, description="Its port; 0 takes a free one.")
    concurrency: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Jobs that one process works on at a time.",
        json_schema_extra=LIVE,
    )
    per_owner: int = Field(
        default=64,
        ge=1,
        le=100_000,
        description="Jobs of one owner under way at a time, in all processes.",
        json_schema_extra=LIVE,
    )
    endpoint_share: float = Field(
        default=0.8,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="Of the calls that an endpoint bears at a time, where the catalogue says how many, those that "
        "background responses may be; at least one.",
        json_schema_extra=LIVE,
    )
    lease_seconds: float = Field(
        default=30.0,
        ge=3,
        le=3600,
        allow_inf_nan=False,
        description="After which a job whose worker was lost is another's. Jobs whose claim took more than half "
        "of it are handed back: at least three times database.statement_seconds.",
    )
    max_run_seconds: PositiveSeconds = Field(
        default=3600.0,
        description="The longest that one run of a job may ask its providers; seconds.",
        json_schema_extra=LIVE,
    )


class ResponsesSettings(Part):
    """Stored responses."""

    retention_days: int = Field(
        default=30,
        ge=1,
        le=36500,
        description="Stored responses are deleted after so many days; max_retention_days of a floor, a key or a "
        "request makes it less, never more.",
        json_schema_extra=LIVE,
    )
    max_chain_depth: int = Field(
        default=200,
        ge=1,
        le=10_000,
        description="Earlier responses that previous_response_id may bring along.",
        json_schema_extra=LIVE,
    )
    max_chain_bytes: int = Field(
        default=32 * MIB,
        ge=1024,
        le=1024 * MIB,
        description="What they may hold in all, in bytes as stored.",
        json_schema_extra=LIVE,
    )
    sweep_seconds: PositiveSeconds = Field(
        default=60.0,
        description="How often expired responses are removed from the database; seconds. Nobody can read them "
        "from the moment that they expire.",
    )
