"""`python -m tests.chaos --seed 1 --jobs 300`: one run, its violations, and a last line with the counts.

Exit codes: 0 nothing is wrong (with a mutant: it was caught), 1 something is, 2 the command line is.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.cluster import WORKER, running_cluster
from tests.chaos.mutants import MUTANTS
from tests.chaos.run import Outcome, run
from tests.chaos.schedule import Plan, plan
from tests.support import postgres


def main() -> int:
    """One run."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="workers that lack a part: the run must find it")
    options = parser.parse_args()
    if not postgres.can_start():
        print(f"chaos needs a private PostgreSQL: {postgres.HOW}")
        return 1
    folder = Path(tempfile.mkdtemp(prefix=f"eurouter-chaos-{options.seed}-"))
    print(f"==> seed {options.seed}, {options.jobs} jobs; logs in {folder}", flush=True)
    mutant = MUTANTS.get(options.mutant)
    worker = mutant.command if mutant else WORKER
    outcome = asyncio.run(_run(plan(options.seed, options.jobs), folder, worker))
    failed = not outcome.broke(mutant.rules) if mutant else bool(outcome.violations)
    if outcome.violations:
        print(outcome.report())
    if mutant:
        print(f"==> mutant {options.mutant}: {'NOT CAUGHT' if failed else 'caught'}")
    if not outcome.violations:
        shutil.rmtree(folder)
    print(outcome.last_line())
    return int(failed)


async def _run(what: Plan, folder: Path, worker: Sequence[str]) -> Outcome:
    async with running_cluster(folder, worker) as cluster:
        return await run(what, cluster)


if __name__ == "__main__":
    sys.exit(main())
