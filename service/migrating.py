"""`eurouter db migrate --wait`: the migration of a first day, when the database and its secret may come later.

Blocking, and alone in its process. What the migrations are is not known here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from adapters.database.migrate import migrate
from adapters.database.revisions import HEAD, REVISIONS, TooNewError, compatible_sentence
from adapters.database.url import DatabaseUrlError, effective_url, parse_url
from adapters.providers.secrets import SecretError, Secrets
from service.domain.stored import StoreError
from service.settings import Settings, SettingsError
from service.settings.needs import missing_url
from service.storage import sentence
from service.until_signal import say

AGAIN_SECONDS: Final = 1.0


def migrate_when_there(
    load: Callable[[], Settings], env: Mapping[str, str], *, again: float = AGAIN_SECONDS
) -> int:
    """Migrates as soon as that can be done; the exit code, 0. Says what it waits for whenever that changes.

    A schema that a newer version made, and with which this one can't work, is left alone: an older migration that
    is run again must not fail an upgrade that went well. Whether this version may be used, its service says.

    Settings that are not there or can't be used are waited for, too: a Job that ends too often is not begun again.
    Of an edit that can't be used nothing is taken, as in a process that serves.

    Raises:
        SettingsError: what the URL needs can't come while the process runs.
    """
    settings: Settings | None = None
    waits = ""
    while True:
        problems = []
        try:
            settings = load()
        except SettingsError as error:
            problems.append(f"not taken: {error}" if settings is not None else str(error))
        if settings is not None:
            try:
                done = _try(settings, env)
            except StoreError as error:
                problems.append(sentence(error))
            except _NotYetError as error:
                problems.append(str(error))
            else:
                sys.stdout.write(f"{done}\n")
                return 0
        told = "\n".join(f"waiting: {line}" for problem in problems for line in problem.splitlines())
        if told != waits:
            waits = told
            say(told)
        time.sleep(again)


class _NotYetError(Exception):
    """What the database's URL needs is not there yet."""


def _try(settings: Settings, env: Mapping[str, str]) -> str:
    """What was done.

    Raises:
        StoreError: the database can't be reached, or refused.
        _NotYetError: its URL can't be read yet.
        SettingsError: its URL can't be used.
    """
    secrets = Secrets(env)
    found = list(missing_url(settings, secrets))
    if found and found[0].may_come:
        raise _NotYetError(found[0].text)
    if found:
        raise SettingsError([one.text for one in found])
    try:
        target = parse_url(effective_url(settings.database.url, env, secrets.resolve))
    except (SecretError, DatabaseUrlError) as error:
        # Its file changed since the look.
        raise _NotYetError(f"database.url: {error}") from None
    try:
        before = migrate(target, connect_seconds=settings.database.connect_seconds)
    except TooNewError as error:
        return f"{error}; nothing was changed"
    if before is not None and before not in REVISIONS:
        return f"{target.name}: nothing to do: {compatible_sentence(before)}"
    return (
        f"{target.name}: the schema is up to date (this version's revision is {HEAD}, before: {before or 'none'})"
    )
