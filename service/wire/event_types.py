"""The names of a response's events, for the `event:` line that goes before each in a stream."""

from __future__ import annotations

from typing import Final

from eurouter.v1 import response_events_pb2

from service.wire import rules

_TYPES: Final = rules.arm_types(response_events_pb2.ResponseStreamEvent.DESCRIPTOR.oneofs_by_name["event"])


def event_type(arm: str) -> str:
    """The `type` of the event in that arm of ResponseStreamEvent; KeyError for anything else.

    output_text_delta is response.output_text.delta.
    """
    return _TYPES[arm]
