"""Short runs in which nothing may be wrong, and runs with workers that lack a part, which must be found."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.cluster import Cluster, running_cluster
from tests.chaos.kafka_schedule import plan_with_kafka
from tests.chaos.mutants import MUTANTS
from tests.chaos.run import run
from tests.chaos.schedule import plan
from tests.kafka import prepare
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster_with_kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Another one, with a broker."""
    parts.require("a private PostgreSQL", postgres.can_start(), postgres.HOW)
    parts.require("a private Kafka", prepare.named() is None and prepare.can_start(), prepare.how())
    async with running_cluster(tmp_path_factory.mktemp("chaos-kafka"), brokers=1) as running:
        yield running


WITHOUT_KAFKA = [name for name in sorted(MUTANTS) if not MUTANTS[name].brokers]
WITH_KAFKA = [name for name in sorted(MUTANTS) if MUTANTS[name].brokers and not MUTANTS[name].slow]


@pytest.mark.parametrize(("seed", "name"), list(enumerate(WITHOUT_KAFKA, start=2)))
async def test_a_worker_that_lacks_a_part_is_found(cluster: Cluster, seed: int, name: str) -> None:
    mutant = MUTANTS[name]
    outcome = await run(plan(seed, 27, mutant.seconds), cluster, mutant.command)
    assert outcome.broke(mutant.rules), f"{name} was not found; {outcome.last_line()}\n{outcome.report()}"


async def test_whatever_befalls_brokers_too_every_record_is_one_job_or_one_dead_letter_and_every_job_one_result(
    cluster_with_kafka: Cluster,
) -> None:
    outcome = await run(plan_with_kafka(1, 60, 1, seconds=12.0), cluster_with_kafka)
    assert not outcome.violations, outcome.report()
    print(outcome.last_line())


@pytest.mark.parametrize(("seed", "name"), list(enumerate(WITH_KAFKA, start=2)))
async def test_a_worker_that_lacks_a_part_of_kafkas_side_is_found(
    cluster_with_kafka: Cluster, seed: int, name: str
) -> None:
    mutant = MUTANTS[name]
    outcome = await run(plan_with_kafka(seed, 80, 1, mutant.seconds), cluster_with_kafka, mutant.command)
    assert outcome.broke(mutant.rules), f"{name} was not found; {outcome.last_line()}\n{outcome.report()}"
