"""What is wrong with a process: when it is logged, what the probes make of it, and what the gauge shows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from adapters.condition_telemetry import ConditionGauge
from service.condition_reports import ConditionReports
from service.conditions import Conditions, Part
from service.domain.stored import StoreError
from service.edge.admin import Health
from service.processes import together


class World:
    """Conditions with a clock that stands, and what they show."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.registry = CollectorRegistry()
        self.logs: list[Any] = []
        self.conditions = Conditions(clock=lambda: self.now, remind=300.0)
        self.conditions.show_by(ConditionGauge(self.registry).show)

    def tell(self, part: Part, *why: str, after: float = 0.0) -> None:
        self.now += after
        with capture_logs() as logs:
            self.conditions.tell(part, *why)
        self.logs += logs

    def remind(self, after: float) -> None:
        self.now += after
        with capture_logs() as logs:
            self.conditions.remind()
        self.logs += logs

    def gauge(self, part: Part) -> float | None:
        return self.registry.get_sample_value("eurouter_condition", {"part": part.value})

    def told(self) -> list[tuple[str, str, str | None, float]]:
        return [(line["event"], line["part"], line.get("why"), line["seconds"]) for line in self.logs]


@pytest.fixture
def world() -> World:
    structlog.reset_defaults()
    return World()


def test_a_condition_is_logged_when_it_begins_changes_and_ends_and_not_in_between(world: World) -> None:
    for _ in range(5):
        world.tell(Part.TOPICS, "the topic 'a' differs", after=1)
    world.tell(Part.TOPICS, "the topic 'a' differs", "the topic 'b' differs", after=1)
    for _ in range(3):
        world.tell(Part.TOPICS, after=1)
    assert world.told() == [
        ("condition_failed", "topics", "the topic 'a' differs", 0.0),
        ("condition_failed", "topics", "the topic 'a' differs; the topic 'b' differs", 5.0),
        ("condition_ended", "topics", None, 6.0),
    ]


def test_a_condition_that_changes_to_and_fro_is_not_logged_each_time(world: World) -> None:
    for why in ("refused", "no answer", "refused", "no answer", "refused"):
        world.tell(Part.DATABASE, why, after=5)
    assert [why for _, _, why, _ in world.told()] == ["refused", "no answer"]
    assert world.conditions.why(Part.DATABASE) == ("refused",)


def test_a_condition_that_lasts_is_logged_again_after_five_minutes_and_not_before(world: World) -> None:
    world.tell(Part.SETTINGS, "line 3")
    world.remind(after=299)
    assert len(world.logs) == 1
    world.remind(after=1)
    world.remind(after=1)
    world.remind(after=299)
    assert [seconds for *_, seconds in world.told()] == [0.0, 300.0, 600.0]
    world.tell(Part.SETTINGS)
    world.remind(after=1000)
    assert [event for event, *_ in world.told()][3:] == ["condition_ended"]


def test_a_part_that_was_always_good_is_not_logged(world: World) -> None:
    world.tell(Part.CATALOG)
    assert not world.logs
    assert world.gauge(Part.CATALOG) == 1.0


def test_the_gauge_says_of_each_known_part_whether_it_is_good(world: World) -> None:
    assert world.gauge(Part.DATABASE) == 0.0, "never reached is not good"
    assert world.gauge(Part.TOPICS) is None, "a process without Kafka has no topics"
    world.tell(Part.DATABASE)
    world.tell(Part.TOPICS, "differs")
    assert (world.gauge(Part.DATABASE), world.gauge(Part.TOPICS)) == (1.0, 0.0)
    world.tell(Part.TOPICS)
    world.tell(Part.DATABASE, "away")
    assert (world.gauge(Part.DATABASE), world.gauge(Part.TOPICS)) == (0.0, 1.0)


def test_a_gauge_that_comes_later_shows_what_was_known_before(world: World) -> None:
    world.tell(Part.DATABASE)
    world.tell(Part.SECRETS, "no pepper")
    world.registry = CollectorRegistry()
    world.conditions.show_by(ConditionGauge(world.registry).show)
    assert (world.gauge(Part.DATABASE), world.gauge(Part.SECRETS)) == (1.0, 0.0)


def test_a_process_that_never_reached_its_database_is_not_ready_and_has_not_begun(world: World) -> None:
    assert world.conditions.health() == Health(("database: not reached yet",), (), begun=False)
    world.tell(Part.DATABASE, "pg: away")
    world.tell(Part.TOPICS, "differs")
    found = world.conditions.health()
    assert found == Health(("database: pg: away",), ("topics: differs",), begun=False)
    assert found.text == "not ready: database: pg: away\ndegraded: topics: differs\n"


def test_a_service_that_was_ready_stays_so_while_its_database_is_away_and_says_so(world: World) -> None:
    world.tell(Part.DATABASE)
    assert world.conditions.health().text == "ready\n"
    world.tell(Part.DATABASE, "pg: away")
    assert world.conditions.health() == Health((), ("database: pg: away",), begun=True)
    assert world.conditions.health().text == "ready\ndegraded: database: pg: away\n"


def test_a_worker_without_its_database_is_not_ready_however_long_it_worked(world: World) -> None:
    conditions = world.conditions
    assert conditions.health_of_worker(works=False, leaving=False).not_ready == (
        "database: not reached yet, or away",
    )
    world.tell(Part.DATABASE)
    assert conditions.health_of_worker(works=True, leaving=False) == Health()
    world.tell(Part.DATABASE, "pg: away")
    world.tell(Part.WAKE_UPS, "no broker")
    assert conditions.health_of_worker(works=False, leaving=False) == Health(
        ("database: pg: away",), ("wake_ups: no broker",), begun=True
    )
    assert conditions.health_of_worker(works=True, leaving=True).not_ready == ("draining",)


def test_nothing_of_kafka_and_no_bad_edit_keeps_a_process_from_being_ready(world: World) -> None:
    world.tell(Part.DATABASE)
    for part in set(Part) - {Part.DATABASE}:
        world.tell(part, "wrong")
    assert not world.conditions.health().not_ready
    assert not world.conditions.health_of_worker(works=True, leaving=False).not_ready
    assert len(world.conditions.health().degraded) == len(Part) - 1


def test_a_process_that_waits_is_not_ready_for_each_reason_in_a_line(world: World) -> None:
    world.tell(Part.SECRETS, "no pepper", "no certificate")
    world.tell(Part.DATABASE, "away")
    assert world.conditions.waiting() == Health(
        ("secrets: no pepper", "secrets: no certificate", "database: away"), (), begun=False
    )


def test_a_failure_of_the_database_says_what_to_do_and_ends_with_the_first_success(world: World) -> None:
    reports = ConditionReports(world.conditions)
    reports.database("sweep", StoreError("postgresql://db/x: can't be reached (Connection refused)"))
    (said,) = world.conditions.why(Part.DATABASE)
    assert said == (
        "postgresql://db/x: can't be reached (Connection refused); mend that, or database.url: it is tried again"
    )
    reports.database("sweep", None)
    assert not world.conditions.why(Part.DATABASE)


async def test_a_secret_that_goes_away_later_is_told_and_its_return_too(world: World) -> None:
    missing = ["key_pepper: it is gone"]
    seen: list[tuple[str, ...]] = []

    def look() -> list[str]:
        seen.append(world.conditions.why(Part.SECRETS))
        if len(seen) == 3:
            missing.clear()
        if len(seen) == 5:
            raise ZeroDivisionError
        return list(missing)

    with pytest.raises(ZeroDivisionError):
        await ConditionReports(world.conditions).watch(look, every=0)
    assert seen == [(), ("key_pepper: it is gone",), ("key_pepper: it is gone",), (), ()]


async def test_a_file_that_is_read_once_and_was_replaced_is_told_and_its_return_too(world: World) -> None:
    world.tell(Part.DATABASE)
    changed = ["database.url: it is another"]
    looks = 0

    def look() -> list[str]:
        nonlocal looks
        looks += 1
        if looks == 2:
            assert world.conditions.health() == Health((), ("restart: database.url: it is another",), begun=True)
            assert world.gauge(Part.RESTART) == 0.0
            changed.clear()
        if looks == 3:
            raise ZeroDivisionError
        return list(changed)

    with pytest.raises(ZeroDivisionError):
        await ConditionReports(world.conditions).watch(list, look, every=0)
    assert world.conditions.health() == Health()
    assert world.gauge(Part.RESTART) == 1.0


GOOD, AWAY = Health(), Health((), ("database: away",), begun=True)
NEVER = Health(("database: not reached yet",), (), begun=False)


@pytest.mark.parametrize(
    ("serving", "was_ready", "said"),
    [
        ((GOOD, GOOD), False, "ready\n"),
        ((GOOD, NEVER), False, "not ready: database: not reached yet\n"),
        ((GOOD, NEVER), True, "ready\ndegraded: database: not reached yet\n"),
        ((AWAY, AWAY), True, "ready\ndegraded: database: away\n"),
        ((AWAY,), True, "not ready: 1 of 2 processes serve\ndegraded: database: away\n"),
        ((), False, "not ready: 0 of 2 processes serve\n"),
    ],
)
def test_several_processes_are_ready_together_and_once_ready_not_undone_by_a_database(
    serving: tuple[Health, ...], was_ready: bool, said: str
) -> None:
    found = together(serving, 2, was_ready=was_ready)
    assert found.text == said
    assert found.begun == (was_ready or (len(serving) == 2 and NEVER not in serving))


AWAY_NOW = StoreError("pg: cannot execute DELETE in a read-only transaction")


def test_a_database_that_can_be_read_and_not_written_is_not_good_whoever_reads_it(world: World) -> None:
    reports = ConditionReports(world.conditions)
    reports.database("sweep", None)
    with capture_logs() as logs:
        for _ in range(10):
            world.now += 5
            reports.database("sweep", AWAY_NOW)
            reports.database("queue", None)
            assert world.gauge(Part.DATABASE) == 0.0
    assert [line["event"] for line in logs] == ["condition_failed"]
    reports.database("claims", AWAY_NOW)
    reports.database("sweep", None)
    assert world.gauge(Part.DATABASE) == 0.0, "claims fail still"
    reports.database("claims", None)
    assert world.gauge(Part.DATABASE) == 1.0


def test_what_comes_and_goes_is_logged_once_and_again_when_it_has_come_to_stay(world: World) -> None:
    for _ in range(5):
        world.tell(Part.DATABASE, "refused", after=4)
        world.tell(Part.DATABASE, after=4)
    assert [event for event, *_ in world.told()] == ["condition_failed", "condition_ended"]
    world.tell(Part.DATABASE, "refused", after=4)
    world.remind(after=14)
    assert len(world.logs) == 2
    world.remind(after=1)
    assert world.told()[2:] == [("condition_failed", "database", "refused", 15.0)]
    world.tell(Part.DATABASE, after=5)
    assert world.told()[3:] == [("condition_ended", "database", None, 20.0)]


def test_sentences_that_are_told_no_more_are_not_kept(world: World) -> None:
    for number in range(50):
        world.tell(Part.TOPICS, f"the topic {number}", after=100)
    assert len(world.conditions._told[Part.TOPICS]) <= 3


def test_what_was_told_of_a_part_of_which_nothing_is_known_any_more_is_shown_no_more(world: World) -> None:
    world.tell(Part.DATABASE, "pg://old: away")
    world.tell(Part.SECRETS, "no URL")
    world.conditions.forget(Part.DATABASE)
    assert world.conditions.waiting().not_ready == ("secrets: no URL",)
    assert world.gauge(Part.DATABASE) == 0.0
    assert not world.conditions.begun


async def test_what_lasts_is_logged_again_while_secrets_are_watched(world: World) -> None:
    world.tell(Part.CATALOG, "line 3")
    world.now += 300
    watching = asyncio.ensure_future(ConditionReports(world.conditions).watch(list, every=0))
    with capture_logs() as logs:
        async with asyncio.timeout(5):
            while not logs:
                await asyncio.sleep(0)
    watching.cancel()
    assert [(line["event"], line["seconds"]) for line in logs] == [("condition_failed", 300.0)]
