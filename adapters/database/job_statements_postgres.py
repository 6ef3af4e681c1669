"""The hot statements of jobs on PostgreSQL, each a transaction of its own.

Who moves many rows locks them in the order of their ids, so that nobody waits in a circle; who moves a job locks
its row first and its response's after it.
"""

from __future__ import annotations

from typing import Final

# A key whose time is over is taken like one that never was.
ACCEPT: Final = """
WITH keyed AS (
  INSERT INTO idempotency (owner, key, digest, response_id, expires_at)
  SELECT $2, $18, $19, $1, now() + make_interval(secs => $20) WHERE $18::text IS NOT NULL
  ON CONFLICT (owner, key) DO UPDATE
    SET digest = excluded.digest, response_id = excluded.response_id, expires_at = excluded.expires_at,
      reserved_at = NULL
    WHERE idempotency.expires_at <= now()
  RETURNING key
), new AS (
  INSERT INTO responses (id, owner, previous_id, status, created_at, expires_at, response, input)
  SELECT $1::text, $2::text, $3::text, $4::text, now(), now() + make_interval(secs => $5), $6::bytea, $7::bytea
  WHERE $18::text IS NULL OR EXISTS (SELECT FROM keyed)
  RETURNING id
), job AS (
  INSERT INTO jobs (id, owner, api, status, priority, group_label, created_at, not_before, start_before, epoch,
    losses, failed_attempts, sequence, logged, restart_on_loss, log_deltas)
  SELECT id, $2::text, $8::text, 'queued', $9::smallint, $10::text, now(), now() + make_interval(secs => $11),
    now() + make_interval(secs => $12), 0, 0, 0, cardinality($17::bytea[]), false, $13::bool, $14::bool
  FROM new
), request AS (
  INSERT INTO job_requests (id, trace, request) SELECT id, $15::text, $16::bytea FROM new
), events AS (
  INSERT INTO response_events (response_id, sequence, body)
  SELECT new.id, e.number - 1, e.body FROM new, unnest($17::bytea[]) WITH ORDINALITY AS e (body, number)
)
SELECT id FROM new
"""

KEYED: Final = "SELECT digest, response_id FROM idempotency WHERE owner = $1 AND key = $2 AND expires_at > now()"

# A job is found by its id. What is compared with IS TRUE can't lead to an index: that of its owner's jobs has as
# many entries as they are, and an empty table would not tell.
IS_MINE: Final = "SELECT FROM jobs WHERE id = $1 AND (owner = $2) IS TRUE"

# Those who may be next: the oldest of each priority, so many that others' claims and full owners among them leave
# enough. What is left when a full owner's jobs fill it is OF_EACH_OWNER's.
_OLDEST: Final = """
  SELECT next.id, next.owner, next.priority, next.not_before
  FROM unnest($6::smallint[]) AS p (priority) CROSS JOIN LATERAL (
    SELECT id, owner, priority, not_before FROM jobs
    WHERE status = 'queued' AND priority = p.priority AND not_before <= now()
      AND (start_before IS NULL OR start_before > now())
    ORDER BY not_before LIMIT $5
  ) AS next
"""

# The same for each owner that has jobs waiting; their names are found by leaps through an index.
_OF_EACH_OWNER: Final = """
  WITH RECURSIVE waits (owner) AS (
    (SELECT owner FROM jobs WHERE status = 'queued' ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT (SELECT jobs.owner FROM jobs WHERE status = 'queued' AND jobs.owner > waits.owner
            ORDER BY jobs.owner LIMIT 1)
    FROM waits WHERE waits.owner IS NOT NULL
  )
  SELECT next.id, next.owner, next.priority, next.not_before
  FROM waits CROSS JOIN LATERAL (
    SELECT $4 - count(*) AS room FROM (
      SELECT FROM jobs WHERE jobs.owner = waits.owner AND lease_until IS NOT NULL AND failure IS NULL LIMIT $4
    ) AS r
  ) AS free CROSS JOIN unnest($6::smallint[]) AS p (priority) CROSS JOIN LATERAL (
    SELECT id, owner, priority, not_before FROM jobs
    WHERE free.room > 0 AND status = 'queued' AND jobs.owner = waits.owner AND priority = p.priority
      AND not_before <= now() AND (start_before IS NULL OR start_before > now())
    ORDER BY not_before LIMIT least(free.room, $5)
  ) AS next
"""

# `first` is read without locks and only says who may be next; `waiting` locks, looks again and passes over what
# others claim at this moment. An owner's first jobs are the same ones for everybody: who passes over one of them
# takes none of that owner's further ones for it, so that claims at the same time keep to the cap together.
_CLAIM: Final = """
WITH lost AS MATERIALIZED (
  SELECT id, lease_until FROM jobs
  WHERE status = 'in_progress' AND lease_until <= now()
    AND EXISTS (SELECT FROM responses AS r WHERE r.id = jobs.id AND r.expires_at > now())
  ORDER BY lease_until LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
), late AS MATERIALIZED (
  SELECT id, start_before FROM jobs
  WHERE status = 'queued' AND start_before <= now()
    AND EXISTS (SELECT FROM responses AS r WHERE r.id = jobs.id AND r.expires_at > now())
  ORDER BY start_before LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
), first AS MATERIALIZED (
{first}
), running AS MATERIALIZED (
  SELECT o.owner, (
    SELECT count(*) FROM (
      SELECT FROM jobs WHERE jobs.owner = o.owner AND lease_until IS NOT NULL AND failure IS NULL LIMIT $4
    ) AS r
  ) AS count FROM (SELECT DISTINCT owner FROM first) AS o
), ranked AS MATERIALIZED (
  SELECT id, owner, rank, row_number() OVER (PARTITION BY owner ORDER BY rank, id) AS place
  FROM (SELECT id, owner, not_before + priority * make_interval(secs => $7) AS rank FROM first) AS f
), waiting AS MATERIALIZED (
  SELECT free.id, ranked.rank FROM (
    SELECT id, rank FROM ranked JOIN running USING (owner) WHERE place <= $4 - count ORDER BY rank, id
  ) AS ranked CROSS JOIN LATERAL (
    SELECT id FROM jobs
    WHERE id = ranked.id AND lease_until IS NULL AND not_before <= now()
      AND status NOT IN ('completed', 'incomplete', 'failed', 'cancelled')
      AND EXISTS (SELECT FROM responses AS r WHERE r.id = jobs.id AND r.expires_at > now())
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS free LIMIT greatest(0, $2 - (SELECT count(*) FROM lost))
), picked AS (
  SELECT id, 0 AS class, lease_until AS since FROM lost
  UNION ALL SELECT id, 1, start_before FROM late
  UNION ALL SELECT id, 2, rank FROM waiting
), taken AS (
  UPDATE jobs SET status = 'in_progress', epoch = epoch + 1, worker = $1,
    lease_until = now() + make_interval(secs => $3),
    losses = losses + CASE WHEN status = 'in_progress' AND failure IS NULL THEN 1 ELSE 0 END,
    failure = CASE
      WHEN failure IS NOT NULL THEN failure
      WHEN status = 'queued' AND start_before <= now() THEN 'expired'
      WHEN status = 'in_progress' AND (losses + 1 >= $8 OR logged AND NOT restart_on_loss) THEN 'worker_lost'
    END
  FROM picked WHERE jobs.id = picked.id
  RETURNING jobs.id, owner, api, epoch, sequence, logged, failed_attempts, restart_on_loss,
    extract(epoch FROM start_before - now())::float8 AS expires_in, log_deltas, failure, class, since
), told AS (
  UPDATE responses SET status = 'in_progress' FROM taken WHERE responses.id = taken.id AND class > 0
)
SELECT t.failure, t.id, t.owner, t.api, t.epoch, t.sequence, t.logged, t.failed_attempts, t.restart_on_loss,
  t.expires_in, t.log_deltas, q.request, r.response, r.input, r.previous_id, q.trace
FROM taken AS t JOIN job_requests AS q ON q.id = t.id JOIN responses AS r ON r.id = t.id
ORDER BY t.class, t.since, t.id
"""

CLAIM: Final = _CLAIM.replace("{first}", _OLDEST)
CLAIM_OF_EACH_OWNER: Final = _CLAIM.replace("{first}", _OF_EACH_OWNER)

# Whether jobs may wait behind those that CLAIM looks at; reads at most so many index entries.
IS_LONG: Final = """
SELECT bool_or((
  SELECT count(*) FROM (
    SELECT FROM jobs WHERE status = 'queued' AND priority = p.priority AND not_before <= now()
    ORDER BY not_before LIMIT $2
  ) AS f
) >= $2)
FROM unnest($1::smallint[]) AS p (priority)
"""

RENEW: Final = """
WITH held AS MATERIALIZED (
  SELECT held.id FROM (SELECT * FROM unnest($1::text[], $2::int[]) AS g (id, epoch) ORDER BY id) AS g
  CROSS JOIN LATERAL (
    SELECT id FROM jobs WHERE id = g.id AND epoch = g.epoch AND lease_until > now() FOR NO KEY UPDATE
  ) AS held
)
UPDATE jobs SET lease_until = now() + make_interval(secs => $3) FROM held WHERE jobs.id = held.id
RETURNING jobs.id, jobs.epoch
"""

HELD: Final = """
SELECT held.id, held.epoch FROM unnest($1::text[], $2::int[]) AS g (id, epoch) CROSS JOIN LATERAL (
  SELECT id, epoch FROM jobs WHERE id = g.id AND epoch = g.epoch AND lease_until IS NOT NULL LIMIT 1
) AS held
"""

# Events that were written before, by a call whose answer got lost, are not written again. A number that the log
# has not reached would leave a gap: it is fenced.
APPEND: Final = """
WITH held AS MATERIALIZED (
  SELECT held.id, held.epoch, held.sequence, g.which, g.sequence + g.count AS next, g.output FROM (
    SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::int[], $5::bool[]) WITH ORDINALITY
      AS g (id, epoch, sequence, count, output, which) ORDER BY id
  ) AS g CROSS JOIN LATERAL (
    SELECT id, epoch, sequence FROM jobs
    WHERE id = g.id AND epoch = g.epoch AND lease_until IS NOT NULL AND sequence >= g.sequence
    FOR NO KEY UPDATE
  ) AS held
), moved AS (
  UPDATE jobs SET sequence = greatest(jobs.sequence, held.next), logged = jobs.logged OR held.output
  FROM held WHERE jobs.id = held.id
), written AS (
  INSERT INTO response_events (response_id, sequence, body)
  SELECT held.id, e.number, e.body
  FROM unnest($6::bigint[], $7::bigint[], $8::bytea[]) AS e (which, number, body) JOIN held USING (which)
  WHERE e.number >= held.sequence
)
SELECT id, epoch FROM held
"""

# True also when this very end was written before, by a call whose answer got lost.
FINISH: Final = """
WITH held AS MATERIALIZED (
  SELECT id, owner, sequence FROM jobs
  WHERE id = $1 AND epoch = $2 AND lease_until IS NOT NULL AND sequence >= $3
    AND (cardinality($4::bytea[]) = 0 OR sequence < $3 + cardinality($4))
  FOR NO KEY UPDATE
), job AS (
  UPDATE jobs SET status = $5, failure = $7, lease_until = NULL, worker = NULL, logged = logged OR $8,
    sequence = greatest(jobs.sequence, $3 + cardinality($4))
  FROM held WHERE jobs.id = held.id
), object AS (
  UPDATE responses SET status = $5, response = $6 FROM held WHERE responses.id = held.id
), request AS (
  DELETE FROM job_requests USING held WHERE job_requests.id = held.id
), events AS (
  INSERT INTO response_events (response_id, sequence, body)
  SELECT held.id, $3 + e.number - 1, e.body FROM held, unnest($4) WITH ORDINALITY AS e (body, number)
  WHERE $3 + e.number - 1 >= held.sequence
), usage AS (
  INSERT INTO usage_records (response_id, owner, model, input_tokens, output_tokens, at)
  SELECT id, owner, $9, $10, $11, now() FROM held WHERE $9::text IS NOT NULL
)
SELECT EXISTS (SELECT FROM held) OR EXISTS (SELECT FROM jobs WHERE id = $1 AND epoch = $2 AND status = $5)
"""

# One that may not begin again stays in progress without a lease: the next claim ends it.
HAND_BACK: Final = """
WITH held AS MATERIALIZED (
  SELECT held.id, held.bound FROM (SELECT * FROM unnest($1::text[], $2::int[]) AS g (id, epoch) ORDER BY id) AS g
  CROSS JOIN LATERAL (
    SELECT id, failure IS NOT NULL OR logged AND NOT restart_on_loss AS bound FROM jobs
    WHERE id = g.id AND epoch = g.epoch AND lease_until IS NOT NULL FOR NO KEY UPDATE
  ) AS held
), job AS (
  UPDATE jobs SET worker = NULL,
    status = CASE WHEN bound THEN status ELSE 'queued' END,
    epoch = epoch + bound::int,
    lease_until = CASE WHEN bound THEN now() END,
    failure = CASE WHEN bound THEN coalesce(failure, 'worker_lost') END
  FROM held WHERE jobs.id = held.id
)
UPDATE responses SET status = 'queued' FROM held WHERE responses.id = held.id AND NOT held.bound
"""

PUT_OFF: Final = """
WITH job AS (
  UPDATE jobs SET status = 'queued', not_before = now() + make_interval(secs => $3), lease_until = NULL,
    worker = NULL, failed_attempts = failed_attempts + $4
  WHERE id = $1 AND epoch = $2 AND lease_until IS NOT NULL AND coalesce(failure, '') = ''
  RETURNING id
), told AS (
  UPDATE responses SET status = 'queued' FROM job WHERE responses.id = job.id
)
SELECT id FROM job
"""

CANCEL: Final = """
WITH held AS MATERIALIZED (
  SELECT id, sequence FROM jobs
  WHERE id = $1 AND (owner = $2) IS TRUE AND epoch = $3 AND status IN ('queued', 'in_progress')
    AND EXISTS (SELECT FROM responses AS r WHERE r.id = jobs.id AND r.expires_at > now())
  FOR NO KEY UPDATE
), job AS (
  UPDATE jobs SET status = 'cancelled', epoch = epoch + 1, failure = NULL, lease_until = NULL, worker = NULL,
    sequence = jobs.sequence + 1
  FROM held WHERE jobs.id = held.id
), object AS (
  UPDATE responses SET status = 'cancelled', response = $4 FROM held WHERE responses.id = held.id
), request AS (
  DELETE FROM job_requests USING held WHERE job_requests.id = held.id
), event AS (
  INSERT INTO response_events (response_id, sequence, body) SELECT id, sequence, $5 FROM held
)
SELECT id FROM held
"""

JOB: Final = """
SELECT j.status, j.epoch, j.sequence FROM jobs AS j JOIN responses AS r ON r.id = j.id
WHERE j.id = $1 AND (j.owner = $2) IS TRUE AND r.expires_at > now()
"""

EVENTS: Final = """
SELECT j.status, e.sequence, e.body FROM jobs AS j JOIN responses AS r ON r.id = j.id LEFT JOIN LATERAL (
  SELECT sequence, body FROM response_events WHERE response_id = j.id AND sequence > $3 ORDER BY sequence LIMIT $4
) AS e ON true
WHERE j.id = $1 AND (j.owner = $2) IS TRUE AND r.expires_at > now() ORDER BY e.sequence
"""
