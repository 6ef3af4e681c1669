"""`eurouter db migrate` and `eurouter db status`: what they do and say. Arguments and exit codes are the CLI's."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.database import migrate as migrations
from adapters.database.revisions import HEAD, REVISIONS, SchemaState, compatible_sentence
from adapters.database.url import DatabaseUrlError, Target, effective_url, parse_url
from adapters.providers.secrets import SecretError, Secrets
from service.domain.stored import StoreError
from service.settings import Settings


class DatabaseCommandError(Exception):
    """What went wrong, for whoever typed the command; never a password."""


def migrate(settings: Settings, env: Mapping[str, str]) -> tuple[bool, str]:
    """Brings the schema up to date: True, and a sentence.

    Raises:
        DatabaseCommandError: it can't be done.
    """
    target = _target(settings, env)
    try:
        before = migrations.migrate(target, connect_seconds=settings.database.connect_seconds)
    except StoreError as error:
        raise DatabaseCommandError(str(error)) from None
    if before == HEAD:
        return True, f"{target.name}: the schema was up to date (revision {HEAD})"
    if before is not None and before not in REVISIONS:
        return True, f"{target.name}: nothing to do: {compatible_sentence(before)}"
    return True, f"{target.name}: the schema is up to date (revision {HEAD}, before: {before or 'none'})"


def status(settings: Settings, env: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the database can be used as it is, and what there is to say of it.

    Raises:
        DatabaseCommandError: it can't be asked.
    """
    target = _target(settings, env)
    try:
        found = migrations.status(target, connect_seconds=settings.database.connect_seconds)
    except StoreError as error:
        raise DatabaseCommandError(str(error)) from None
    lines = [f"database: {target.name}", f"schema:   {_schema(found, by_itself=settings.database.auto_migrate)}"]
    usable = found.state in (SchemaState.CURRENT, SchemaState.COMPATIBLE)
    if usable:
        lines.append(f"expired:  {found.overdue} response{'' if found.overdue == 1 else 's'} not removed yet")
    return usable, "\n".join(lines)


def _schema(found: migrations.Status, *, by_itself: bool) -> str:
    how = "the service's next start or `eurouter db migrate`" if by_itself else "`eurouter db migrate`"
    match found.state:
        case SchemaState.CURRENT:
            return f"revision {HEAD}, up to date"
        case SchemaState.EMPTY:
            return f"none yet; {how} makes it"
        case SchemaState.BEHIND:
            return f"revision {found.revision}, and {HEAD} is needed; {how} brings it there"
        case SchemaState.COMPATIBLE:
            return compatible_sentence(found.revision)
        case SchemaState.NEWER:
            return (
                f"revision {found.revision}, which is newer than this version ({HEAD}) and can't be used by it: "
                "use a newer version"
            )


def _target(settings: Settings, env: Mapping[str, str]) -> Target:
    try:
        return parse_url(effective_url(settings.database.url, env, Secrets(env).resolve))
    except (SecretError, DatabaseUrlError) as error:
        raise DatabaseCommandError(f"database.url: {error}") from None
