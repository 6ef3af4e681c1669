"""All processes replaced while callers call: nobody notices, unless a part of leaving is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.checker import check
from tests.chaos.history import History
from tests.chaos.mutants import MUTANTS
from tests.chaos.outcome import Outcome
from tests.chaos.pods import OURS, Commands, Version, running_pods
from tests.chaos.rollout import Rollout
from tests.chaos.run import run
from tests.chaos.schedule import Plan, plan, rolling_plan
from tests.support import parts, postgres
from tests.upgrades import prepare as previous

JOBS, SECONDS = 30, 30.0
LONG = pytest.mark.timeout(600)
"""Fifteen processes start one after another, on a machine that may be busy."""


def made(seed: int) -> Plan:
    return rolling_plan(plan(seed, JOBS, SECONDS))


async def roll(folder: Path, seed: int, before: Version = OURS, commands: Commands | None = None) -> Outcome:
    parts.require("a private PostgreSQL", postgres.can_start(), postgres.HOW)
    async with running_pods(folder, before, commands=commands) as (pods, first):
        rollout = Rollout(pods, first, (OURS, before), seed)
        outcome = await run(made(seed), pods.cluster, rollout=rollout)
        print(rollout.told())
    assert outcome.counts["pods replaced"] == 2 * len(first)
    assert outcome.counts["foreground calls"] > SECONDS
    return outcome


def test_in_a_rolling_plan_nobody_dies_and_everybody_asks_the_same() -> None:
    dying = plan(1, JOBS, SECONDS)
    assert dying.faults
    assert made(1) == replace(dying, faults=())


def test_a_caller_who_waits_in_vain_is_a_violation() -> None:
    (found,) = check(History(unanswered=[("foreground-whole-1", "UNAVAILABLE: gone")]))
    assert (found.rule, found.job) == ("who_waits_gets_an_answer", "foreground-whole-1")


@LONG
@pytest.mark.slow
async def test_when_all_pods_are_replaced_one_by_one_no_job_is_harmed_and_no_caller_waits_in_vain(
    tmp_path: Path,
) -> None:
    outcome = await roll(tmp_path, 1)
    assert not outcome.violations, outcome.report()


@LONG
@pytest.mark.slow
async def test_this_version_and_the_one_before_it_work_side_by_side_there_and_back(tmp_path: Path) -> None:
    parts.require("the version before this one", previous.available(), previous.how())
    found = previous.previous()
    assert found is not None
    outcome = await roll(tmp_path, 2, Version(found.name, str(found.python), found.folder))
    assert not outcome.violations, outcome.report()


@LONG
@pytest.mark.slow
async def test_a_service_that_closes_at_once_is_noticed(tmp_path: Path) -> None:
    mutant = MUTANTS["no_drain"]
    outcome = await roll(tmp_path, 3, commands=Commands(service=mutant.command))
    assert outcome.broke(mutant.rules), outcome.report()
