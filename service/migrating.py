"""`eurouter db migrate --wait`: the migration of a first day, when the database and its secret may come later.

Blocking, and alone in its process. What the migrations are is not known here.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Final

from adapters.database.migrate import migrate
from adapters.database.revisions import HEAD, REVISIONS, SchemaError, compatible_sentence
from adapters.database.url import effective_url, parse_url
from adapters.providers.secrets import Secrets
from service.domain.stored import StoreError
from service.settings import Settings, SettingsError
from service.settings.needs import missing_url
from service.storage import sentence
from service.until_signal import say

AGAIN_SECONDS: Final = 1.0
_TERMINATED: Final = 128 + signal.SIGTERM


def migrate_when_there(load: Callable[[], Settings], env: Mapping[str, str]) -> int:
    """Migrates as soon as that can be done; the exit code, 0. Says what it waits for whenever that changes.

    A schema that a newer version made, and with which this one can't work, is left alone: an older migration that
    is run again must not fail an upgrade that went well. Whether this version may be used, its service says.

    Raises:
        SettingsError: the settings are wrong, or what the URL needs can't come while the process runs.
        SystemExit: SIGTERM came. Not with 0, which would say that the migration is done.
    """
    with _ended_by_sigterm():
        settings, said = load(), ""
        while True:
            try:
                done = _try(settings, env)
            except StoreError as error:
                done, problem = None, sentence(error)
            except _NotYetError as error:
                done, problem = None, str(error)
            if done is not None:
                sys.stdout.write(f"{done}\n")
                return 0
            if problem != said:
                said = problem
                say(f"waiting: {problem}")
            time.sleep(AGAIN_SECONDS)
            try:
                settings = load()
            except SettingsError as error:
                # An edit that can't be used changes nothing, as in a process that serves.
                say(f"not taken: {error}")


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
    target = parse_url(effective_url(settings.database.url, env, secrets.resolve))
    try:
        before = migrate(target, connect_seconds=settings.database.connect_seconds)
    except SchemaError as error:
        return f"{error}; nothing was changed"
    if before is not None and before not in REVISIONS:
        return f"{target.name}: nothing to do: {compatible_sentence(before)}"
    return (
        f"{target.name}: the schema is up to date (this version's revision is {HEAD}, before: {before or 'none'})"
    )


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """The first process of a container is not ended by a signal that it does not handle."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
