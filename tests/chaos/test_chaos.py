"""Short runs in which nothing may be wrong, and runs with workers that lack a part, which must be found.

Runs with Kafka take minutes, and two processors: `make chaos KAFKA=1`, also with its mutants.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.cluster import Cluster, running_cluster
from tests.chaos.mutants import MUTANTS
from tests.chaos.run import run
from tests.chaos.schedule import plan
from tests.support import parts, postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """One for all runs; workers are replaced from run to run."""
    parts.require("a private PostgreSQL", postgres.can_start(), postgres.HOW)
    async with running_cluster(tmp_path_factory.mktemp("chaos")) as running:
        yield running


async def test_whoever_dies_stops_or_leaves_every_job_ends_once_and_followers_see_all_of_it(
    cluster: Cluster,
) -> None:
    outcome = await run(plan(seed=1, jobs=40, seconds=12.0), cluster)
    assert not outcome.violations, outcome.report()
    print(outcome.last_line())


WITHOUT_KAFKA = [name for name in sorted(MUTANTS) if not (MUTANTS[name].brokers or MUTANTS[name].serves)]


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "name"), list(enumerate(WITHOUT_KAFKA, start=2)))
async def test_a_worker_that_lacks_a_part_is_found(cluster: Cluster, seed: int, name: str) -> None:
    mutant = MUTANTS[name]
    outcome = await run(plan(seed, 27, mutant.seconds), cluster, mutant.command)
    assert outcome.broke(mutant.rules), f"{name} was not found; {outcome.last_line()}\n{outcome.report()}"
