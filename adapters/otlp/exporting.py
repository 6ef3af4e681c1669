"""The threads that send: spans in batches as they end, metrics at intervals. Nobody else waits for a collector."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from time import time_ns
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import Metric

from adapters.otlp.sender import Posted, Sender
from adapters.otlp.spans import RecordedSpan

MOST_WAITING: Final = 4096
"""Spans that wait for the collector; what comes then is dropped and counted."""

_BATCH: Final = 512
_GATHER: Final = 1.0
_PAUSES: Final = (1.0, 2.0, 4.0)
"""Seconds before a batch that the collector did not take is sent again; after the last it is dropped."""
_LONGEST_PAUSE: Final = 30.0
"""Seconds for which a collector can have itself waited for: meanwhile spans gather, and soon are too many."""
_LAST: Final = 2.0
"""Seconds for the last message of a process."""


class SpanExporter:
    """Takes spans that are over, in `offer`, and has them sent by a thread of its own.

    `encode` makes a message of some.
    """

    def __init__(
        self,
        sender: Sender,
        encode: Callable[[Iterable[RecordedSpan]], bytes],
        registry: CollectorRegistry | None,
        *,
        gather: float = _GATHER,
    ) -> None:
        self._sender = sender
        self._encode = encode
        self._gather = gather
        self._waiting: deque[RecordedSpan] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        dropped = Counter(
            "eurouter_spans_dropped",
            "Spans that no collector got: too many waited (full), or it did not take them (refused).",
            ("reason",),
            registry=registry,
        )
        # Made here, as the two are counted on two threads.
        self._full, self._refused = dropped.labels("full"), dropped.labels("refused")
        self._sent = Counter("eurouter_spans_exported", "Spans that the collector took.", registry=registry)
        self._thread = threading.Thread(target=self._run, name="otlp-spans", daemon=True)
        self._thread.start()

    def offer(self, span: RecordedSpan) -> None:
        """A span that is over."""
        if len(self._waiting) >= MOST_WAITING:
            self._full.inc()
            return
        self._waiting.append(span)
        if len(self._waiting) == _BATCH:
            self._wake.set()

    def stop(self) -> None:
        """Has what waits sent, without a second try; `join` says when that is over. Idempotent."""
        self._stopping.set()
        self._wake.set()

    def join(self, seconds: float) -> None:
        """Waits for the end of what `stop` began, so long at most."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._gather)
            self._wake.clear()
            self._send_waiting()
        self._send_waiting()
        self._sender.close()

    def _send_waiting(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            try:
                posted = self._send(self._encode(batch))
            except Exception as error:  # noqa: BLE001 - what one batch fails by must not be the last thing that is done
                posted = self._sender.crashed(error)
            refused = min(posted.rejected, len(batch)) if posted.took else len(batch)
            self._sent.inc(len(batch) - refused)
            self._refused.inc(refused)

    def _send(self, message: bytes) -> Posted:
        for pause in _PAUSES:
            if self._stopping.is_set():
                return self._sender.post(message, _LAST)
            posted = self._sender.post(message)
            if not posted.again:
                return posted
            self._stopping.wait(max(pause, min(posted.wait or 0.0, _LONGEST_PAUSE)))
        return self._sender.post(message, _LAST if self._stopping.is_set() else 10.0)


class MetricsExporter:
    """Sends what `collect` gives every `interval` seconds, and once more at the end, by a thread of its own.

    `encode` makes a message of families, the time since which they count and the time now. A message that is lost
    is made up for by the next: figures are cumulative.
    """

    def __init__(
        self,
        sender: Sender,
        encode: Callable[[Iterable[Metric], int, int], bytes],
        collect: Callable[[], Iterable[Metric]],
        *,
        interval: float,
    ) -> None:
        self._sender = sender
        self._encode = encode
        self._collect = collect
        self._interval = interval
        self._started = time_ns()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otlp-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Has the last figures sent; `join` says when that is over. Idempotent."""
        self._stopping.set()

    def join(self, seconds: float) -> None:
        """Waits for the end of what `stop` began, so long at most."""
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self._send(10.0)
        self._send(_LAST)
        self._sender.close()

    def _send(self, seconds: float) -> None:
        try:
            self._sender.post(self._encode(self._collect(), self._started, time_ns()), seconds)
        except Exception as error:  # noqa: BLE001 - the next figures may be sent
            self._sender.crashed(error)
