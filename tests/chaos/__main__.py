"""`python -m tests.chaos --seed 1 --jobs 300`: one run, its violations, and a last line with the counts.

With `--brokers 1` or `--brokers 3` half of the jobs come by Kafka, and brokers are among those that die. With
`--rolling` nobody dies: all processes are replaced twice, one by one, while callers also wait for answers; with
`--upgrade` they are first those of the version before, become this one's, and then the other's again.

Exit codes: 0 nothing is wrong (with a mutant: it was caught), 1 something is, 2 the command line is.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.cluster import WORKER, running_cluster
from tests.chaos.kafka_schedule import plan_with_kafka
from tests.chaos.mutants import MUTANTS, Mutant
from tests.chaos.outcome import Outcome
from tests.chaos.pods import OURS, Commands, Version, running_pods
from tests.chaos.rollout import Rollout
from tests.chaos.run import run
from tests.chaos.schedule import ROLLING_SECONDS, Plan, plan, rolling_plan
from tests.kafka import prepare
from tests.support import postgres
from tests.upgrades import prepare as previous


def main() -> int:
    """One run."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="workers that lack a part: the run must find it")
    parser.add_argument("--brokers", type=int, choices=(0, 1, 3), default=0, help="of Kafka; 0: without it")
    parser.add_argument("--rolling", action="store_true", help="replace all processes twice, in good order")
    parser.add_argument("--upgrade", action="store_true", help="the same, from the version before and back to it")
    options = parser.parse_args()
    if not postgres.can_start():
        print(f"chaos needs a private PostgreSQL: {postgres.HOW}")
        return 1
    mutant = MUTANTS.get(options.mutant)
    brokers = max(options.brokers, mutant.brokers if mutant else 0)
    if brokers and not (prepare.named() is None and prepare.can_start()):
        print(f"chaos needs a private Kafka: {prepare.how()}")
        return 1
    rolling = options.rolling or options.upgrade or (mutant is not None and mutant.serves)
    if options.upgrade and not previous.available():
        print(f"chaos needs the version before this one: {previous.how()}")
        return 1
    folder = Path(tempfile.mkdtemp(prefix=f"eurouter-chaos-{options.seed}-"))
    with_kafka = f", {brokers} broker{'s' * (brokers > 1)} of Kafka" if brokers else ""
    print(f"==> seed {options.seed}, {options.jobs} jobs{with_kafka}; logs in {folder}", flush=True)
    worker = mutant.command if mutant else WORKER
    # Clients of Kafka tell at length of brokers that are away.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    jobs, seconds = options.jobs, max(ROLLING_SECONDS, options.jobs * 0.2) if rolling else None
    made = plan_with_kafka(options.seed, jobs, brokers, seconds) if brokers else plan(options.seed, jobs, seconds)
    if rolling:
        outcome = asyncio.run(_roll(rolling_plan(made), folder, mutant, brokers, upgrade=options.upgrade))
    else:
        outcome = asyncio.run(_run(made, folder, worker, brokers))
    failed = not outcome.broke(mutant.rules) if mutant else bool(outcome.violations)
    if outcome.violations:
        print(outcome.report())
    if mutant:
        print(f"==> mutant {options.mutant}: {'NOT CAUGHT' if failed else 'caught'}")
    if not outcome.violations:
        shutil.rmtree(folder)
    print(outcome.last_line())
    return int(failed)


async def _run(what: Plan, folder: Path, worker: Sequence[str], brokers: int) -> Outcome:
    async with running_cluster(folder, worker, brokers) as cluster:
        return await run(what, cluster)


async def _roll(what: Plan, folder: Path, mutant: Mutant | None, brokers: int, *, upgrade: bool) -> Outcome:
    before = OURS
    if upgrade:
        found = previous.previous()
        assert found is not None
        before = Version(found.name, str(found.python), found.folder)
    commands = Commands(service=mutant.command) if mutant and mutant.serves else Commands()
    async with running_pods(folder, before, brokers, commands) as (pods, first):
        rollout = Rollout(pods, first, (OURS, before), what.seed)
        outcome = await run(what, pods.cluster, rollout=rollout)
        print(rollout.told())
        return outcome


if __name__ == "__main__":
    sys.exit(main())
