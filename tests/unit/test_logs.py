"""The set-up of logs."""

from __future__ import annotations

import json
import logging
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


def test_what_a_library_warns_of_is_a_line_like_ours(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    handler = logs.OfLibraries()
    logger = logging.getLogger("aiokafka.some.part")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        logs.configure("json")
        logger.warning("broker %s is gone", "kafka-1")
        logger.error("Group Coordinator Request failed: [Error 15] GroupCoordinatorNotAvailableError")
        logger.warning("Got error produce response: [Error 6] NotLeaderForPartitionError")
        logger.warning("Marking the coordinator dead (node 1)for group %s.", "eurouter.intake.v1")
        try:
            raise RuntimeError("with words of a caller's")
        except RuntimeError:
            logger.exception("failed")
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    told = [json.loads(line) for line in capfdbinary.readouterr().err.splitlines()]
    assert [(line["event"], line["level"], line["logger"], line["message"]) for line in told] == [
        ("library", "warning", "aiokafka.some.part", "broker kafka-1 is gone"),
        ("library", "error", "aiokafka.some.part", "failed"),
    ]
    assert told[1]["error_type"] == "RuntimeError"
    assert "words of a caller's" not in json.dumps(told)
