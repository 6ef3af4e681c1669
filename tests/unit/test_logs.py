"""The set-up of logs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from adapters import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    logs.set_level("info")
    structlog.reset_defaults()


def test_a_changed_level_counts_for_loggers_that_are_bound_already(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    logs.configure("json", "warning")
    log = structlog.get_logger().bind()
    log.info("too_early")
    logs.set_level("info")
    log.info("seen")
    log.log(10, "too_low")
    logs.set_level("error")
    log.warning("too_late")
    log.error("seen_too")
    told = [json.loads(line) for line in capfdbinary.readouterr().err.splitlines()]
    assert [(line["event"], line["level"]) for line in told] == [("seen", "info"), ("seen_too", "error")]
