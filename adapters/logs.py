"""Sets structlog up once per process: JSON lines for machines, a console for people, on stderr.

What is logged is decided where it is logged; here only the ids of the span are added that the task works for.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import orjson
import structlog

from service.domain import crash
from service.domain.tracing import current

LIBRARY: Final = "library"

LogFormat = Literal["auto", "json", "console"]

_LEVELS: Final = {name.lower(): number for name, number in logging.getLevelNamesMapping().items()}


class _Threshold:
    """The least level that is logged. A processor, because it reaches loggers that were bound before a change.

    What is logged gets the ids of a recorded span here, as every other processor is one step more for each line.
    """

    def __init__(self) -> None:
        self.least = logging.INFO

    def __call__(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if _LEVELS[method] < self.least:
            raise structlog.DropEvent
        span = current.get()
        if span is not None:
            event["trace_id"], event["span_id"] = span.trace_id, span.span_id
        return event


_threshold: Final = _Threshold()


def set_level(level: str) -> None:
    """From now on for every logger: debug, info, warning or error."""
    _threshold.least = _LEVELS[level.lower()]


def _json_line(_logger: Any, method: str, event: MutableMapping[str, Any]) -> bytes:
    """What structlog's own three processors would make of it, in one step: a line is written for every call."""
    event["level"] = method
    event["timestamp"] = datetime.now(UTC)
    return orjson.dumps(event, repr, orjson.OPT_UTC_Z)


class OfLibraries(logging.Handler):
    """Libraries log through the standard library: only their warnings matter.

    They never see content, but for the event loop, which has whatever tasks fail with. Every line goes the same
    way as ours, so that nobody has to read two forms.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Logs it under the name of its logger."""
        message = _of_event_loop(record) if record.name == _EVENT_LOOP else record.getMessage()
        # aiokafka's clients try again by themselves, and a new cluster or topic begins with these. What lasts is
        # told by whoever uses the client.
        if record.name.startswith("aiokafka") and any(word in message for word in _PASSING):
            return
        error = record.exc_info[1] if record.exc_info else None
        values = crash.describe(error) if error else {}
        structlog.get_logger().log(record.levelno, LIBRARY, logger=record.name, message=message, **values)


def _of_event_loop(record: logging.LogRecord) -> str:
    """What it says, without what it shows of futures, handles and callbacks: their reprs have exceptions, results
    and arguments in them.

    They stand in the lines below the first (asyncio's and uvloop's `default_exception_handler`), behind "Exception
    in callback" and where a message has its placeholders.
    """
    first = str(record.msg).partition("\n")[0]
    return _IN_CALLBACK if first.startswith(_IN_CALLBACK) else first


_EVENT_LOOP: Final = "asyncio"
"""The logger of uvloop too."""
_IN_CALLBACK: Final = "Exception in callback"
_PASSING: Final = (
    "GroupCoordinatorNotAvailableError",
    "LeaderNotAvailableError",
    "NotLeaderForPartitionError",
    "Marking the coordinator dead",
    "is not available during auto",
    "because it is rebalancing",
)


def configure(log_format: LogFormat = "auto", level: str = "info") -> None:
    """`auto` is console on a terminal and JSON elsewhere; `level` as in `set_level`."""
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    set_level(level)
    wrapper = structlog.make_filtering_bound_logger(logging.DEBUG)
    if console:
        structlog.configure(
            processors=[
                _threshold,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper("%H:%M:%S"),
                structlog.dev.ConsoleRenderer(),
            ],
            wrapper_class=wrapper,
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=False,
        )
    else:
        structlog.configure(
            processors=[_threshold, _json_line],
            wrapper_class=wrapper,
            logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
            cache_logger_on_first_use=False,
        )
    logging.basicConfig(level=max(_threshold.least, logging.WARNING), handlers=[OfLibraries()])
