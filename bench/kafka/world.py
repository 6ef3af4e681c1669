"""The worlds of bench/jobs with a broker beside them, and a team that uses it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.fleet import Piped, StartError
from bench.jobs import postgres, world
from bench.jobs.world import Place, World
from bench.kafka.broker import Broker
from bench.kafka.sizes import BY, OFF, ON

REQUESTS: Final = "bench.requests"
"""The topic that is bound to the one owner."""
JOBS: Final = "eurouter.jobs.v1"
RESULTS: Final = "eurouter.results.v1"
DLQ: Final = "eurouter.dlq.v1"
_SUBMIT: Final = "eurouter.submit.v1"

_OWNER: Final = "bench"
_MARK: Final = 1_000_000
"""Above all jobs of a run: no intake pauses."""
_LOOK_SECONDS: Final = 0.02
_PATIENCE: Final = 60.0
_OUTBOX: Final = "SELECT count(*) AS rows FROM outbox"

# When a job's state changed is known from the commit of what the trigger writes.
_MOMENTS: Final = """
CREATE TABLE bench_moments (id text, status text);
CREATE FUNCTION bench_moment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO bench_moments VALUES (NEW.id, NEW.status); RETURN NULL; END $$;
CREATE TRIGGER bench_moment AFTER UPDATE ON jobs FOR EACH ROW
  WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION bench_moment();
"""
_WHEN: Final = """
SELECT id, extract(epoch FROM min(pg_xact_commit_timestamp(xmin)))::float8 AS at
FROM bench_moments WHERE status = $1 AND id = ANY($2::text[]) GROUP BY id
"""


@dataclass
class KafkaWorlds:
    """`off` has no Kafka; `on` has, and `client` reads its results."""

    off: World
    on: World
    broker: Broker
    client: Piped

    def of(self, way: str) -> World:
        """Where jobs are that come in this way."""
        return self.off if way == OFF else self.on

    def ask(self, do: str, **arguments: Any) -> Any:
        """What the client answers to a command.

        Raises:
            StartError: it could not.
        """
        return self.client.ask({"do": do, **arguments})["answer"]

    def submit(self, **arguments: Any) -> int:
        """Has the client submit records to the bound topic; how many."""
        count: int = self.ask("submit", topic=REQUESTS, **arguments)
        return count

    def settle(self, way: str, jobs: int) -> dict[str, float]:
        """Returns when all jobs are over and nothing is left to publish; when each of the results came.

        Raises:
            StartError: it took too long, or there are other results than these.
        """
        where = self.of(way)
        came: dict[str, float] = self.ask("results", count=jobs) if way in (ON, BY) else {}
        where.watch()
        due = time.monotonic() + _PATIENCE
        while left := postgres.ask(where.url, _OUTBOX)[0]["rows"]:
            if time.monotonic() > due:
                raise StartError(f"{left} rows of the outbox were not published in {_PATIENCE:.0f} s")
            time.sleep(_LOOK_SECONDS)
        return came


def settings_of(broker: Broker, topic: str = REQUESTS, group: str = "bench") -> dict[str, Any]:
    """The section on Kafka, with a topic that is the owner's and groups with such names."""
    return {
        "bootstrap_servers": broker.bootstrap,
        "topics": "create",
        "intake": [{"topic": topic, "owner": _OWNER}],
        "high_water": _MARK,
        "intake_group": f"{group}.intake",
        "wake_group": f"{group}.wake",
    }


def start_on(
    place: Place, broker: Broker, profile: Path | None = None, more: Mapping[str, Any] | None = None
) -> World:
    """The world with Kafka, and its topics; its worker is not there yet.

    Raises:
        StartError: it did not start.
    """
    broker.create(_SUBMIT, REQUESTS, JOBS, RESULTS, DLQ)
    return world.start(ON, place, profile, {"kafka": settings_of(broker), **(more or {})})


def keep_moments(where: World) -> None:
    """From now on the moments are known at which jobs change their state."""
    postgres.wait_for(postgres.execute(where.url, _MOMENTS))


def moments(where: World, status: str, ids: list[str]) -> dict[str, float]:
    """When jobs came into a state for the first time: the commit, in Unix seconds.

    Raises:
        StartError: one did not.
    """
    found = {row["id"]: row["at"] for row in postgres.ask(where.url, _WHEN, status, ids)}
    if len(found) != len(ids):
        raise StartError(f"{len(ids) - len(found)} jobs never were {status}")
    return found
