"""Posts OTLP's messages to a collector, on the thread of whoever calls. Tells once that it fails, and once that it
does no more.

Only the settings say where and how: no proxy, no credentials and none of OpenTelemetry's own variables from the
environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import time
from typing import Final

import httpx
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from adapters.providers.http import trusting
from adapters.providers.status import retry_after

EXPORT_FAILED: Final = "otlp_export_failed"
EXPORT_GOES_ON: Final = "otlp_export_goes_on"
EXPORT_PARTIAL: Final = "otlp_export_partial"

_TIMEOUT: Final = 10.0
# https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes.
_PASSING: Final = frozenset({429, 502, 503, 504})
_CONTENT: Final = {"content-type": "application/x-protobuf"}

Report = Callable[[str, Mapping[str, object]], None]


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a message.

    `took`: the collector has it, but for `rejected` of its spans or points. `again`: it does not, and may take it
    later, after `wait` seconds if it said so.
    """

    took: bool
    rejected: int = 0
    again: bool = False
    wait: float | None = None


class Sender:
    """One signal's way to a collector: `signal` is traces or metrics. For one thread.

    `headers` are read for every message, as secrets may be replaced; what they raise counts as a failure.
    """

    def __init__(
        self,
        endpoint: str,
        signal: str,
        headers: Callable[[], Mapping[str, str]],
        report: Report,
        *,
        ca_file: str | None = None,
    ) -> None:
        """Connects to nobody yet.

        Raises:
            OSError: the file can't be read or holds no certificate.
        """
        self._url = f"{endpoint.rstrip('/')}/v1/{signal}"
        self._signal = signal
        self._headers = headers
        self._report = report
        self._failing = False
        self._told_partial = False
        self._client = httpx.Client(verify=trusting(ca_file), trust_env=False, follow_redirects=False)

    def post(self, message: bytes, seconds: float = _TIMEOUT) -> Posted:
        """Sends one message; waits so many seconds at most for its answer."""
        try:
            given = self._headers()
        except Exception as error:  # noqa: BLE001 - whatever a resolver raises says which secret is missing
            return self._failed(str(error), passing=True)
        try:
            answer = self._client.post(self._url, content=message, headers={**given, **_CONTENT}, timeout=seconds)
        except httpx.HTTPError as error:
            # Its text may quote a header.
            return self._failed(type(error).__name__, passing=True)
        except Exception as error:  # noqa: BLE001 - such as a header that can't be written
            return self._failed(type(error).__name__, passing=False)
        if answer.is_success:
            self._went()
            return Posted(took=True, rejected=self._rejected(answer.content))
        wait = retry_after(answer.headers, time())
        return self._failed(f"status {answer.status_code}", passing=answer.status_code in _PASSING, wait=wait)

    def crashed(self, error: Exception) -> Posted:
        """Tells of a fault of ours, which no second try mends."""
        return self._failed(type(error).__name__, passing=False)

    def close(self) -> None:
        """Closes its connection."""
        self._client.close()

    def _went(self) -> None:
        if self._failing:
            self._failing = False
            self._report(EXPORT_GOES_ON, {"signal": self._signal})

    def _rejected(self, answer: bytes) -> int:
        """How much of a message the collector did not take; told once, without its words: they may quote anything.

        https://opentelemetry.io/docs/specs/otlp/#partial-success. What can't be read says nothing.
        """
        try:
            if self._signal == "traces":
                rejected = ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans
            else:
                rejected = ExportMetricsServiceResponse.FromString(answer).partial_success.rejected_data_points
        except DecodeError:
            return 0
        if rejected > 0 and not self._told_partial:
            self._told_partial = True
            self._report(EXPORT_PARTIAL, {"signal": self._signal, "url": self._url, "rejected": rejected})
        return max(0, rejected)

    def _failed(self, why: str, *, passing: bool, wait: float | None = None) -> Posted:
        if not self._failing:
            self._failing = True
            self._report(EXPORT_FAILED, {"signal": self._signal, "url": self._url, "error": why})
        return Posted(took=False, again=passing, wait=wait)
