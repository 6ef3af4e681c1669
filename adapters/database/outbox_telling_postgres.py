"""Statements that tell the outbox what they do, made of those that don't; each stays one statement.

A store that publishes nothing uses the plain ones.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from adapters.database import accept_many_postgres as many
from adapters.database import job_statements_postgres as jobs
from adapters.database import responses_postgres as responses
from adapters.database.job_queries_postgres import cancel_sql


def shard_sql(job_id: str) -> str:
    """The shard of the job whose id an expression gives: service/domain/outbox.py, shard_of."""
    return f"get_byte(sha256(convert_to({job_id}, 'UTF8')), 0) % 16"


def _also(sql: str, *parts: str) -> str:
    """A statement that does these parts, too: each `name AS (...)`."""
    head, last = sql.rsplit("\n)\n", 1)
    return "\n), ".join((head, *parts)) + "\n)\n" + last


def _changed(sql: str, old: str, new: str) -> str:
    assert sql.count(old) == 1, f"{old} is not in the statement once"  # noqa: S101  on import, for whoever edits it
    return sql.replace(old, new)


_INTO: Final = (
    "INSERT INTO outbox (shard, kind, topic, destination, job_id, version, created_at, headers)\n  SELECT"
)

_TOPIC: Final = "LEFT JOIN LATERAL (SELECT topic FROM job_origins AS o WHERE o.id = {id} LIMIT 1) AS o ON true"

# Where a job's result goes, its tombstone goes, too: service/domain/outbox.py, destination_of.
_TO: Final = "o.topic, 'result:' || coalesce(o.topic, '')"


def _result(version: str) -> str:
    """Of every job in `held`. What the same statement deletes is still there to be read."""
    return f"""result AS (
  {_INTO} {shard_sql("held.id")}, 'result', {_TO}, held.id, {version}, now(),
    (SELECT trace FROM job_requests AS q WHERE q.id = held.id)
  FROM held {_TOPIC.replace("{id}", "held.id")}"""  # noqa: S608  names of our own only


def _tombstone(gone: str) -> str:
    """Of every job in a part that names those that are deleted; they are still there to be read.

    The array keeps it on the primary key, however many the planner expects.
    """
    return f"""tombstone AS (
  {_INTO} {shard_sql("jobs.id")}, 'tombstone', {_TO}, jobs.id, jobs.epoch + 1, now(), NULL
  FROM jobs {_TOPIC.replace("{id}", "jobs.id")} WHERE jobs.id = ANY(ARRAY(SELECT id FROM {gone}))"""  # noqa: S608  as above


def _wake(new: str, delay: str) -> str:
    """Of jobs that may begin now; whoever looks finds the others."""
    return f"""wake AS (
  INSERT INTO outbox (shard, kind, destination, job_id, version, created_at)
  SELECT {shard_sql("id")}, 'wake', 'wake:', id, 0, now() FROM {new} WHERE {delay} <= 0"""  # noqa: S608  as above


# Whatever was left behind of another job with the id is nothing to keep.
_ANEW: Final = "ON CONFLICT (id) DO UPDATE SET topic = excluded.topic, body = excluded.body"

# Two more values: topic and body of the origin.
ACCEPT: Final = _also(
    jobs.ACCEPT,
    _wake("new", "$11::float8"),
    f"""origin AS (
  INSERT INTO job_origins (id, topic, body)
  SELECT id, $21::text, $22::bytea FROM new WHERE $22::bytea IS NOT NULL
  {_ANEW}""",  # noqa: S608  as above
)

ACCEPT_MANY: Final = _also(
    many.ACCEPT_MANY,
    _wake("made", "delay"),
    f"""origin AS (
  INSERT INTO job_origins (id, topic, body)
  SELECT made.id, o.topic, o.body FROM unnest($24::text[], $25::text[], $26::bytea[]) AS o (id, topic, body)
  JOIN made ON made.id = o.id
  {_ANEW}""",  # noqa: S608  as above
)

FINISH: Final = _also(jobs.FINISH, _result("$2"))

CANCEL: Final = _also(jobs.CANCEL, _result("$3 + 1"))

DELETE: Final = _also(
    responses.DELETE,
    "stale AS (\n  DELETE FROM outbox WHERE job_id = ANY(ARRAY(SELECT id FROM dead))",
    _tombstone("dead"),
)

SWEEP: Final = _also(responses.SWEEP, _tombstone("few"))

# A statement of its own, as for events: it sees what was written until the jobs' rows were locked.
SWEEP_OUTBOX: Final = "DELETE FROM outbox WHERE job_id = ANY($1) AND kind <> 'tombstone'"


@cache
def telling_cancel_sql(*, everybody: bool, grouped: bool, patient: bool = False) -> str:
    """`cancel_sql`, with results."""
    sql = cancel_sql(everybody=everybody, grouped=grouped, patient=patient)
    sql = _changed(sql, "SELECT job.id, job.sequence FROM", "SELECT job.id, job.sequence, job.epoch FROM")
    sql = _changed(sql, "SELECT id, sequence FROM jobs WHERE", "SELECT id, sequence, epoch FROM jobs WHERE")
    return _also(sql, _result("held.epoch + 1"))
