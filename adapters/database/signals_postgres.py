"""Hints to other processes by PostgreSQL's NOTIFY, on a connection of their own beside the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from random import getrandbits, random
from typing import Final, TypeAlias

import asyncpg

from adapters.database.chain import may_exist
from adapters.database.postgres_errors import POSTGRES_ERRORS, describe_postgres
from adapters.database.signals import Hints, LocalSignals, quiet
from adapters.database.url import PostgresTarget
from service.domain.signals import Report

CHANNEL: Final = "eurouter_hints"
"""Of the one database: a channel is not seen from another."""

READY: Final = "hints_ready"
FAILED: Final = "hints_failed"

_FORM: Final = "1"
_WORK: Final = "w"
_EVERYTHING: Final = "*"
_OUTBOX: Final = "o"
_NEITHER: Final = "-"
_LIMIT: Final = 7900
"""Bytes of a payload: PostgreSQL takes less than 8000."""

_NOTIFY: Final = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"
_CLOSE_SECONDS: Final = 1.0

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class HintTimes:
    """Seconds. `gather`: from one statement to the next at least, in which hints gather; `work`: from one hint of
    work to the next at least, because each has every worker ask the database, and of the outbox alone, because
    relays gather for as long. `check`: how often an idle connection is tried, and `answer` how long anything on it
    may take. `first_wait` grows to `longest_wait` between connections.
    """

    gather: float = 0.01
    work: float = 0.05
    check: float = 15.0
    answer: float = 5.0
    first_wait: float = 0.1
    longest_wait: float = 10.0


class PostgresSignals(LocalSignals):
    """Signals to everybody who is connected to the same database.

    NOTIFY takes a lock on the whole database at its commit. So hints never travel with the statements that they
    are about: they gather, and all go in one statement, whose commit waits for no disk. What can't be sent is
    forgotten.

    `run` keeps one connection, beside those of the pool, on which it both tells and hears. It comes back by itself
    after a failure, and then everybody here looks once. It is tried by telling itself something: that finds a
    server that became a standby or is gone without a word, and a pooler such as PgBouncer in transaction mode,
    through which LISTEN doesn't work: `hears` stays False then, and everybody just looks more often.
    """

    def __init__(
        self, target: PostgresTarget, *, connect_seconds: float = 2.0, times: HintTimes = HintTimes()
    ) -> None:
        super().__init__()
        self._target = target
        self._connect_seconds = connect_seconds
        self._times = times
        self._token = f"{getrandbits(64):016x}"
        self._away = Hints()
        self._some = asyncio.Event()
        self._open = False
        self._hears = False
        self._unheard: float | None = None
        self._worked: bool | None = None

    @property
    def hears(self) -> bool:
        """Whether what is told here comes back."""
        return self._hears

    def work(self) -> None:
        """As the port."""
        super().work()
        if self._open:
            self._away.work = True
            self._some.set()

    def news(self, response_ids: Iterable[str]) -> None:
        """As the port."""
        ids = tuple(response_ids)
        super().news(ids)
        if self._open and ids:
            self._away.add(ids)
            self._some.set()

    def outbox(self) -> None:
        """As the port."""
        super().outbox()
        if self._open:
            self._away.outbox = True
            self._some.set()

    async def run(self, report: Report = quiet) -> None:
        """Tells and hears until cancelled."""
        times, loop = self._times, asyncio.get_running_loop()
        wait = times.first_wait
        while True:
            began = loop.time()
            try:
                await self._session(report)
            except POSTGRES_ERRORS as error:
                self._report(report, failure=str(describe_postgres(error, self._target)))
            wait = times.first_wait if loop.time() - began > times.longest_wait else wait
            # Replicas that lost the same server must not come back at the same moment.
            await asyncio.sleep(wait * (0.5 + random()))  # noqa: S311 - not a secret
            wait = min(wait * 2, times.longest_wait)

    async def _session(self, report: Report) -> None:
        """From one connection to its end, which is an error always."""
        connection: Connection = await asyncpg.connect(
            self._target.dsn,
            timeout=self._connect_seconds,
            command_timeout=self._times.answer,
            # A hint that a crash takes along is no loss: its commit, and so the lock, waits for no disk.
            server_settings={"application_name": "eurouter hints", "synchronous_commit": "off"},
        )
        try:
            connection.add_termination_listener(lambda _connection: self._some.set())
            await connection.add_listener(CHANNEL, lambda *heard: self._heard(heard[-1], report))
            self._open = True
            self.missed()
            await self._speak(connection, report)
        finally:
            self._open = self._hears = False
            self._away = Hints()
            await _close(connection)

    async def _speak(self, connection: Connection, report: Report) -> None:
        times, loop = self._times, asyncio.get_running_loop()
        check_at = work_at = loop.time()
        self._unheard = None
        while not connection.is_closed():
            self._some.clear()
            now = loop.time()
            hints = self._away.take(work=now >= work_at)
            if now >= work_at and (hints.work or hints.outbox):
                work_at = now + times.work
            if hints or now >= check_at:
                self._judge(now, report)
                await connection.execute(_NOTIFY, CHANNEL, payloads(self._token, hints))
                check_at = loop.time() + times.check
            await asyncio.sleep(times.gather)
            await self._until(work_at if self._away.work or self._away.outbox else check_at)
        raise asyncpg.ConnectionDoesNotExistError("closed by the server")

    def _judge(self, now: float, report: Report) -> None:
        """Before something is told: whether what was told before came back."""
        if self._unheard is None:
            self._unheard = now
        elif now - self._unheard > self._times.answer:
            self._hears = False
            self._report(report, failure=f"{self._target.name}: notifications don't arrive here")

    async def _until(self, moment: float) -> None:
        """Until then, or until there is something to tell."""
        try:
            async with asyncio.timeout_at(moment):
                await self._some.wait()
        except TimeoutError:
            pass

    def _heard(self, payload: object, report: Report) -> None:
        token, hints = read(str(payload))
        if token != self._token:
            self.hear(hints)
        else:
            self._unheard = None
            if not self._hears:
                self._hears = True
                self._report(report)

    def _report(self, report: Report, *, failure: str | None = None) -> None:
        works = failure is None
        if works is not self._worked:
            self._worked = works
            report(*((READY, {"database": self._target.name}) if works else (FAILED, {"error": failure})))


def payloads(token: str, hints: Hints) -> list[str]:
    """As they travel, each short enough: who tells, what, and ids. At least one."""
    said = ((_WORK, hints.work), (_EVERYTHING, hints.everything), (_OUTBOX, hints.outbox))
    parts = [_FORM, token, "".join(flag for flag, is_set in said if is_set) or _NEITHER]
    size = len(" ".join(parts))
    told: list[str] = []
    for response_id in hints.ids:
        if not response_id.isascii() or not may_exist(response_id) or " " in response_id:
            continue
        size += 1 + len(response_id)
        if size > _LIMIT:
            told.append(" ".join(parts))
            parts = [_FORM, token, _NEITHER, response_id]
            size = len(" ".join(parts))
        else:
            parts.append(response_id)
    return [*told, " ".join(parts)]


def read(payload: str) -> tuple[str, Hints]:
    """Who told it, and what. What another version told, or a stranger, may mean anything."""
    form, *rest = payload.split(" ")
    if form != _FORM or len(rest) < 2:
        return "", Hints(work=True, everything=True, outbox=True)
    token, flags, *ids = rest
    return token, Hints(_WORK in flags, _EVERYTHING in flags, set(ids), _OUTBOX in flags)


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=_CLOSE_SECONDS)
    except POSTGRES_ERRORS:
        pass
    finally:
        if not connection.is_closed():
            connection.terminate()
