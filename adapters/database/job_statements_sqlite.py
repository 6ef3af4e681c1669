"""The statements of jobs on SQLite: the writer's transaction holds what belongs together; nobody else writes."""

from __future__ import annotations

from typing import Final

KEYED: Final = "SELECT digest, response_id FROM idempotency WHERE owner = ? AND key = ? AND expires_at > ?"

ADD_KEY: Final = """
INSERT OR REPLACE INTO idempotency (owner, key, digest, response_id, expires_at) VALUES (?, ?, ?, ?, ?)
"""

OWNER_OF: Final = "SELECT j.owner FROM responses AS r LEFT JOIN jobs AS j ON j.id = r.id WHERE r.id = ?"

ADD_RESPONSE: Final = """
INSERT INTO responses (id, owner, previous_id, status, created_at, expires_at, response, input)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""

ADD_JOB: Final = """
INSERT INTO jobs (id, owner, api, status, priority, group_label, created_at, not_before, start_before, epoch,
  losses, failed_attempts, sequence, logged, restart_on_loss, log_deltas)
VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, 0, 0, 0, ?, 0, ?, ?)
"""

ADD_REQUEST: Final = "INSERT INTO job_requests (id, trace, request) VALUES (?, ?, ?)"

ADD_EVENT: Final = "INSERT INTO response_events (response_id, sequence, body) VALUES (?, ?, ?)"

LOST: Final = """
SELECT id FROM jobs WHERE status = 'in_progress' AND lease_until <= :now
  AND EXISTS (SELECT 1 FROM responses AS r WHERE r.id = jobs.id AND r.expires_at > :now)
ORDER BY lease_until LIMIT :limit
"""

LATE: Final = """
SELECT id FROM jobs WHERE status = 'queued' AND start_before IS NOT NULL AND start_before <= :now
  AND EXISTS (SELECT 1 FROM responses AS r WHERE r.id = jobs.id AND r.expires_at > :now)
ORDER BY start_before LIMIT :limit
"""

# Rows: rank, id, owner. Read as far as needed, never to its end.
OLDEST: Final = """
SELECT not_before + priority * :ageing, id, owner FROM jobs INDEXED BY jobs_waiting
WHERE status = 'queued' AND priority = :priority AND not_before <= :now
  AND (start_before IS NULL OR start_before > :now)
  AND EXISTS (SELECT 1 FROM responses AS r WHERE r.id = jobs.id AND r.expires_at > :now)
ORDER BY not_before
"""

OLDEST_OF_OWNER: Final = """
SELECT not_before + priority * :ageing, id, owner FROM jobs INDEXED BY jobs_waiting_of_owner
WHERE status = 'queued' AND owner = :owner AND priority = :priority AND not_before <= :now
  AND (start_before IS NULL OR start_before > :now)
  AND EXISTS (SELECT 1 FROM responses AS r WHERE r.id = jobs.id AND r.expires_at > :now)
ORDER BY not_before LIMIT :limit
"""

# By leaps through an index: as many steps as there are owners.
WAITING_OWNERS: Final = """
WITH RECURSIVE waits (owner) AS (
  SELECT min(owner) FROM jobs INDEXED BY jobs_waiting_of_owner WHERE status = 'queued'
  UNION ALL
  SELECT (SELECT min(jobs.owner) FROM jobs INDEXED BY jobs_waiting_of_owner
          WHERE status = 'queued' AND jobs.owner > waits.owner)
  FROM waits WHERE waits.owner IS NOT NULL
)
SELECT owner FROM waits WHERE owner IS NOT NULL
"""

RUNNING: Final = """
SELECT count(*) FROM (
  SELECT 1 FROM jobs WHERE owner = ? AND lease_until IS NOT NULL AND failure IS NULL LIMIT ?
)
"""

TAKE: Final = """
UPDATE jobs SET status = 'in_progress', epoch = epoch + 1, worker = :worker, lease_until = :now + :lease,
  losses = losses + (status = 'in_progress' AND failure IS NULL),
  failure = CASE
    WHEN failure IS NOT NULL THEN failure
    WHEN status = 'queued' AND start_before <= :now THEN 'expired'
    WHEN status = 'in_progress' AND (losses + 1 >= :max_losses OR logged AND NOT restart_on_loss)
      THEN 'worker_lost'
  END
WHERE id = :id
"""

SET_STATUS: Final = "UPDATE responses SET status = ? WHERE id = ? AND status <> ?"

TAKEN: Final = """
SELECT j.failure, j.id, j.owner, j.api, j.epoch, j.sequence, j.logged, j.failed_attempts,
  j.restart_on_loss, j.start_before - ?, j.log_deltas, q.request, r.response, r.input, r.previous_id, q.trace
FROM jobs AS j JOIN job_requests AS q ON q.id = j.id JOIN responses AS r ON r.id = j.id WHERE j.id = ?
"""

RENEW: Final = """
UPDATE jobs SET lease_until = :now + :lease
WHERE id = :id AND epoch = :epoch AND status = 'in_progress' AND lease_until > :now
"""

HELD: Final = "SELECT sequence, owner FROM jobs WHERE id = ? AND epoch = ? AND status = 'in_progress'"

MOVE: Final = "UPDATE jobs SET sequence = max(sequence, ?), logged = logged OR ? WHERE id = ?"

END: Final = """
UPDATE jobs SET status = ?, failure = ?, epoch = epoch + ?, lease_until = NULL, worker = NULL WHERE id = ?
"""

ENDED: Final = "SELECT 1 FROM jobs WHERE id = ? AND epoch = ? AND status = ?"

SET_OBJECT: Final = "UPDATE responses SET status = ?, response = ? WHERE id = ?"

DROP_REQUEST: Final = "DELETE FROM job_requests WHERE id = ?"

ADD_USAGE: Final = """
INSERT INTO usage_records (response_id, owner, model, input_tokens, output_tokens, at) VALUES (?, ?, ?, ?, ?, ?)
"""

# One that may not begin again stays in progress without a lease: the next claim ends it.
END_LATER: Final = """
UPDATE jobs SET worker = NULL, epoch = epoch + 1, lease_until = :now, failure = coalesce(failure, 'worker_lost')
WHERE id = :id AND epoch = :epoch AND status = 'in_progress'
  AND (failure IS NOT NULL OR logged AND NOT restart_on_loss)
"""

LEAVE: Final = """
UPDATE jobs SET status = 'queued', worker = NULL, lease_until = NULL
WHERE id = :id AND epoch = :epoch AND status = 'in_progress'
"""

PUT_OFF: Final = """
UPDATE jobs SET status = 'queued', not_before = ?, lease_until = NULL, worker = NULL,
  failed_attempts = failed_attempts + ?
WHERE id = ? AND epoch = ? AND status = 'in_progress' AND failure IS NULL
"""

TO_CANCEL: Final = """
SELECT j.sequence FROM jobs AS j JOIN responses AS r ON r.id = j.id
WHERE j.id = ? AND j.owner = ? AND j.epoch = ? AND j.status IN ('queued', 'in_progress') AND r.expires_at > ?
"""

JOB: Final = """
SELECT j.status, j.epoch, j.sequence FROM jobs AS j JOIN responses AS r ON r.id = j.id
WHERE j.id = ? AND j.owner = ? AND r.expires_at > ?
"""

EVENTS: Final = """
SELECT j.status, e.sequence, e.body FROM jobs AS j CROSS JOIN responses AS r ON r.id = j.id
LEFT JOIN response_events AS e ON e.response_id = j.id AND e.sequence > :after
WHERE j.id = :id AND j.owner = :owner AND r.expires_at > :now ORDER BY e.sequence LIMIT :limit
"""
