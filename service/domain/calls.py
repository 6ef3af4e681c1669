"""Who calls and under which conditions: what every door hands to an API, and an API to the router."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.domain.preferences import OPEN, Floor


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a call is for. `key_id` is the key's public id, "" without keys. `floor` are the key's own limits."""

    owner: str
    key_id: str = ""
    admin: bool = False
    floor: Floor = OPEN


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call.

    `deadline` is on the router's monotonic clock, in seconds; always set (doors apply the default and the
    maximum). `traceparent`/`tracestate` are W3C headers to send upstream, already made ours, "" for none.
    `permit` is called before every upstream attempt, and again right before its first byte leaves; it raises when
    there must be none any more. `background`:
    nobody waits for the answer, so it never takes the last places at an endpoint.
    """

    principal: Principal
    request_id: str
    deadline: float
    traceparent: str = ""
    tracestate: str = ""
    door: str = "grpc"
    permit: Callable[[], None] | None = None
    background: bool = False
