"""What Kafka's side of a process tells of its consumers while it begins and while it ends. No broker is asked."""

from __future__ import annotations

import pytest
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from adapters.database.open import Database, open_database
from service.conditions import Conditions, Part
from service.kafka_side import KafkaSide
from service.live import LiveSettings
from service.settings import Settings
from tests.support.fake_consumer import FakeAcceptance, FakeGroup


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def side(database: Database, conditions: Conditions, clock: Clock) -> KafkaSide:
    settings = Settings.model_validate({"kafka": {"bootstrap_servers": "127.0.0.1:1"}})
    return KafkaSide(
        "one",
        settings,
        LiveSettings(settings, drain_pause=False),
        database,
        lambda _count: FakeAcceptance(FakeGroup({})),
        wake=lambda: None,
        resolve=lambda reference: reference,
        registry=CollectorRegistry(),
        report=lambda _event, _values: None,
        conditions=conditions,
        clock=clock,
    )


@pytest.fixture
def clock() -> Clock:
    structlog.reset_defaults()
    return Clock()


async def test_consumers_that_have_not_joined_yet_are_no_news_for_fifteen_seconds(
    clock: Clock, sqlite_url: str
) -> None:
    conditions = Conditions()
    begins = side(open_database(sqlite_url), conditions, clock)
    with capture_logs() as logs:
        clock.now += 14
        begins._show()
        assert not conditions.why(Part.INTAKE)
        assert not logs
        clock.now += 2
        begins._show()
    assert conditions.why(Part.INTAKE)
    assert conditions.why(Part.WAKE_UPS)
    assert len([line for line in logs if line["event"] == "condition_failed"]) == 2


async def test_consumers_that_leave_are_no_condition(clock: Clock, sqlite_url: str) -> None:
    conditions = Conditions()
    leaves = side(open_database(sqlite_url), conditions, clock)
    clock.now += 60
    leaves.intake.stop()
    leaves._show()
    assert not conditions.why(Part.INTAKE)
    assert not conditions.why(Part.WAKE_UPS)
