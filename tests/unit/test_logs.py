"""The set-up of logs."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import structlog
import uvloop

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


@contextmanager
def handled(name: str) -> Iterator[logging.Logger]:
    """A library's logger, as the service hears it."""
    handler, logger = logs.OfLibraries(), logging.getLogger(name)
    logger.addHandler(handler)
    logger.propagate = False
    logs.configure("json")
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def test_what_a_library_warns_of_is_a_line_like_ours(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with handled("aiokafka.some.part") as logger:
        logger.warning("broker %s is gone", "kafka-1")
        logger.error("Group Coordinator Request failed: [Error 15] GroupCoordinatorNotAvailableError")
        logger.warning("Got error produce response: [Error 6] NotLeaderForPartitionError")
        logger.warning("Marking the coordinator dead (node 1)for group %s.", "eurouter.intake.v1")
        try:
            raise RuntimeError("with words of a caller's")
        except RuntimeError:
            logger.exception("failed")
    told = [json.loads(line) for line in capfdbinary.readouterr().err.splitlines()]
    assert [(line["event"], line["level"], line["logger"], line["message"]) for line in told] == [
        ("library", "warning", "aiokafka.some.part", "broker kafka-1 is gone"),
        ("library", "error", "aiokafka.some.part", "failed"),
    ]
    assert told[1]["error_type"] == "RuntimeError"
    assert "words of a caller's" not in json.dumps(told)
    assert told[1]["error_at"].startswith("test_logs.py:")


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_no_word_of_an_exception_or_an_argument_is_in_what_an_event_loop_tells(
    capfdbinary: pytest.CaptureFixture[bytes], new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def fail() -> None:
        raise ValueError("words of a caller's")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        failing = loop.create_task(fail())
        await asyncio.wait((failing,))
        del failing
        gc.collect()
        done: asyncio.Future[str] = loop.create_future()
        done.set_result("")
        loop.call_soon(done.set_result, "words of a caller's")
        await asyncio.sleep(0.01)

    with handled("asyncio"), asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    told = [json.loads(line) for line in capfdbinary.readouterr().err.splitlines()]
    assert [(line["event"], line["logger"], line["message"], line["error_type"]) for line in told] == [
        ("library", "asyncio", "Task exception was never retrieved", "ValueError"),
        ("library", "asyncio", "Exception in callback", "InvalidStateError"),
    ]
    assert told[0]["error_at"].startswith("test_logs.py:")
    assert told[0]["error_at"].endswith(":fail")
    assert "words of a caller's" not in json.dumps(told)


def test_what_an_event_loop_says_of_a_slow_callback_does_not_show_the_callback(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    with handled("asyncio") as logger:
        # As asyncio/base_events.py has it; the repr of a handle shows its arguments.
        logger.warning("Executing %s took %.3f seconds", "<Handle f('words of a caller')>", 1.5)
    (line,) = map(json.loads, capfdbinary.readouterr().err.splitlines())
    assert line["message"] == "Executing %s took %.3f seconds"
