"""Names of the log events of the doors. Fields are of low cardinality or ids; content never is a field."""

from __future__ import annotations

from typing import Final

REQUEST_FINISHED: Final = "request_finished"
REQUEST_CRASHED: Final = "request_crashed"
HTTP_MALFORMED: Final = "http_malformed"
HTTP_CRASHED: Final = "http_crashed"
SERVER_STARTED: Final = "server_started"
SERVER_STOPPED: Final = "server_stopped"
WORKER_STARTED: Final = "worker_started"
WORKER_STOPPED: Final = "worker_stopped"
DRAIN_STARTED: Final = "drain_started"
DRAIN_TIMED_OUT: Final = "drain_timed_out"
CERTIFICATE_RELOADED: Final = "certificate_reloaded"
CERTIFICATE_REJECTED: Final = "certificate_rejected"
SIDE_TASK_ENDED: Final = "side_task_ended"
SIDE_TASK_STAYS: Final = "side_task_stays"
PROCESS_ENDED: Final = "process_ended"
CONDITION_FAILED: Final = "condition_failed"
CONDITION_ENDED: Final = "condition_ended"
