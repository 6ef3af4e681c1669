"""A channel that holds every Response and event which comes through it to the published schemas."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from eurouter.v1 import response_events_pb2, response_object_pb2, responses_pb2
from grpc import aio

from service.wire import render_bytes
from tests.support.responses_schema import event_problems, item_problems, response_problems


def checked(channel: aio.Channel, problems: list[str]) -> aio.Channel:
    """Stands in for `channel` where a stub of ResponsesService is made.

    What is wrong gathers in `problems`: raising where messages are read would only end the call.
    """
    return cast("aio.Channel", _Checked(channel, problems))


class _Checked:
    def __init__(self, channel: aio.Channel, problems: list[str]) -> None:
        self._channel = channel
        self._problems = problems

    def unary_unary(self, method: str, *, response_deserializer: Any, **options: Any) -> Any:
        return self._channel.unary_unary(
            method, response_deserializer=self._read(response_deserializer), **options
        )

    def unary_stream(self, method: str, *, response_deserializer: Any, **options: Any) -> Any:
        return self._channel.unary_stream(
            method, response_deserializer=self._read(response_deserializer), **options
        )

    def _read(self, deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        def read(data: bytes) -> Any:
            message = deserialize(data)
            self._problems += message_problems(message)
            return message

        return read


def message_problems(message: Any) -> list[str]:
    """What is wrong with a message of ResponsesService, printed as the HTTP edge prints it."""
    shown = json.loads(render_bytes(message))
    match message:
        case response_events_pb2.ResponseStreamEvent():
            return event_problems(shown)
        case response_object_pb2.Response():
            return response_problems(shown)
        case responses_pb2.ListInputItemsResponse():
            return [problem for item in shown["data"] for problem in item_problems(item)]
        case _:
            return []
