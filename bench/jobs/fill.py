"""Many jobs at once, by set-based statements on PostgreSQL: those that wait, and those that were over long ago."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import asyncpg

from bench.jobs import postgres

OWNERS: Final = 20
"""So many owners have waiting jobs, turn by turn, after the FRONT oldest ones, which are all the first owner's."""
FRONT: Final = 500
PRIORITIES: Final = 3

_CHUNK: Final = 250_000
_ID: Final = "'resp_' || md5('{kind}' || i) || substr(md5(i || '{kind}'), 1, 4)"
_SERIES: Final = "FROM generate_series($1::bigint, $2::bigint) AS i"

_JOB: Final = """
INSERT INTO jobs (id, owner, api, status, priority, group_label, created_at, not_before, epoch, losses,
  failed_attempts, sequence, logged, restart_on_loss, log_deltas)
SELECT {id}, {owner}, 'responses', '{status}', {priority}, '', {since}, {since}, {epoch}, 0, 0, 2, false, true,
  false
"""
_RESPONSE: Final = """
INSERT INTO responses (id, owner, status, created_at, expires_at, response, input)
SELECT {id}, {owner}, '{status}', {since}, {since} + interval '30 days', decode(repeat('5a', 200), 'hex'),
  decode(repeat('5a', 100), 'hex')
"""
_REQUEST: Final = """
INSERT INTO job_requests (id, trace, request) SELECT {id}, '{{}}', decode(repeat('5a', 200), 'hex')
"""
_EVENTS: Final = """
INSERT INTO response_events (response_id, sequence, body)
SELECT {id}, e, decode(repeat('5a', 60), 'hex') {series} CROSS JOIN generate_series(0, 1) AS e
"""
_USAGE: Final = """
INSERT INTO usage_records (response_id, owner, model, input_tokens, output_tokens, at)
SELECT {id}, {owner}, 'bench/sim-tokens-64', 40, 64, {since}
"""

_WAITING: Final = {
    "id": _ID.format(kind="waiting"),
    "owner": f"'owner' || CASE WHEN i <= {FRONT} THEN 0 ELSE i % {OWNERS} END",
    "status": "queued",
    "priority": f"(i / 7 % {PRIORITIES})::smallint",
    "since": "now() - make_interval(secs => 100000 - i * 0.5)",
    "epoch": "0",
    "series": _SERIES,
}
# Over the days of a month, by chance: their index entries lie everywhere.
_FINISHED: Final = {
    **_WAITING,
    "id": _ID.format(kind="finished"),
    "status": "completed",
    "since": "now() - make_interval(secs => hashint8(i)::bigint & 2097151)",
    "epoch": "1",
}
_FORGET: Final = (
    "DELETE FROM jobs WHERE status = 'queued'",
    "DELETE FROM responses WHERE status = 'queued'",
    "DELETE FROM job_requests",
)
_CLEAN: Final = (
    "VACUUM (ANALYZE) jobs",
    "VACUUM (ANALYZE) responses",
    "VACUUM (ANALYZE) job_requests",
    "VACUUM (ANALYZE) response_events",
    "VACUUM (ANALYZE) usage_records",
)


# Who fills a database anew may lose it: the server is this run's alone.
_FAST: Final = (
    "ALTER SYSTEM SET fsync = off",
    "ALTER SYSTEM SET full_page_writes = off",
    "SELECT pg_reload_conf()",
)
_SAFE: Final = ("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


def waiting(url: str, first: int, last: int) -> None:
    """Adds the waiting jobs number `first` to `last`, all due, and lets the planner know."""
    postgres.wait_for(_waiting(url, first, last))


def forget_waiting(url: str) -> None:
    """Removes all jobs that wait, and what they leave behind."""
    postgres.wait_for(_run(url, (*_FORGET, *_CLEAN[:3])))


def finished(url: str, count: int, say: Callable[[str], None]) -> int:
    """Adds so many finished jobs with their responses, events and usage; how many bytes the database has then."""
    return postgres.wait_for(_finished(url, count, say))


async def _waiting(url: str, first: int, last: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in (_JOB + _SERIES, _RESPONSE + _SERIES, _REQUEST + _SERIES):
            await connection.execute(statement.format_map(_WAITING), first, last)
    finally:
        await connection.close()
    await _run(url, _CLEAN[:3])


async def _finished(url: str, count: int, say: Callable[[str], None]) -> int:
    statements = (_JOB + _SERIES, _RESPONSE + _SERIES, _EVENTS, _USAGE + _SERIES)
    connection = await asyncpg.connect(url, server_settings={"synchronous_commit": "off"})
    try:
        for statement in _FAST:
            await connection.execute(statement)
        for first in range(1, count + 1, _CHUNK):
            say(f"adding finished jobs: {first - 1:,} of {count:,}")
            for statement in statements:
                last = min(first + _CHUNK - 1, count)
                await connection.execute(statement.format_map(_FINISHED), first, last)
        say("settling finished jobs")
        for statement in (*_CLEAN, *_SAFE, "CHECKPOINT"):
            await connection.execute(statement)
        return int(await connection.fetchval("SELECT pg_database_size(current_database())"))
    finally:
        await connection.close()


async def _run(url: str, statements: tuple[str, ...]) -> None:
    connection = await postgres.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
