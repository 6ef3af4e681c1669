"""Who calls and under which conditions: what every door hands to an API, and an API to the router."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from service.domain.fields import EMULATED, FETCHED
from service.domain.preferences import OPEN, Floor
from service.domain.routing import Needs
from service.domain.tracing import Span


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a call is for. `key_id` is the key's public id, "" without keys. `floor` are the key's own limits.

    `fetch_media`: what stands at addresses in its requests may be fetched.
    """

    owner: str
    key_id: str = ""
    admin: bool = False
    floor: Floor = OPEN
    fetch_media: bool = False


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call.

    `deadline` is on the router's monotonic clock, in seconds; always set (doors apply the default and the
    maximum). `traceparent`/`tracestate` are W3C headers to send upstream, already made ours, "" for none.
    `permit` is called before every upstream attempt, and again right before its first byte leaves; it raises when
    there must be none any more. `background`:
    nobody waits for the answer, so it never takes the last places at an endpoint. `emulate`: the caller takes an
    answer whose form was emulated. `span` is what the call's own spans stand below; None: it is not recorded.
    """

    principal: Principal
    request_id: str
    deadline: float
    traceparent: str = ""
    tracestate: str = ""
    door: str = "grpc"
    permit: Callable[[], None] | None = None
    background: bool = False
    emulate: bool = False
    span: Span | None = None


def permitted(needs: Needs, context: CallContext) -> Needs:
    """`needs` with the bridges that the call itself allows."""
    bridges = needs.bridges
    if context.emulate:
        bridges |= EMULATED
    if needs.addresses and context.principal.fetch_media:
        bridges |= FETCHED
    return needs if bridges is needs.bridges else replace(needs, bridges=bridges)
