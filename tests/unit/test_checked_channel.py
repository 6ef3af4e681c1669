"""The check of what comes over gRPC finds what is wrong, and lets what is right through."""

from __future__ import annotations

from typing import Any

import pytest
from eurouter.v1 import response_events_pb2, response_object_pb2, responses_pb2

from service.wire import parse
from tests.support.checked_channel import checked
from tests.support.response_samples import EVENTS, ITEMS, RESPONSE


class FakeChannel:
    """Reads one message per call, as a channel does."""

    def unary_unary(self, method: str, *, response_deserializer: Any, **_: Any) -> Any:
        return response_deserializer

    unary_stream = unary_unary


def problems_of(message: Any) -> list[str]:
    problems: list[str] = []
    channel: Any = checked(FakeChannel(), problems)  # type: ignore[arg-type]
    for kind in (channel.unary_unary, channel.unary_stream):
        read = kind("/x", response_deserializer=type(message).FromString, request_serializer=None)
        assert read(message.SerializeToString()) == message
    return problems


@pytest.mark.parametrize(
    "message",
    [
        parse(response_object_pb2.Response, RESPONSE),
        parse(response_events_pb2.ResponseStreamEvent, EVENTS[0]),
        parse(responses_pb2.ListInputItemsResponse, {"object": "list", "data": ITEMS[:2], "has_more": False}),
        responses_pb2.DeleteResponseResponse(id="resp_1"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_the_schemas_allow_passes(shared: object, message: Any) -> None:
    assert problems_of(message) == []


@pytest.mark.parametrize(
    "message",
    [
        parse(response_object_pb2.Response, {**RESPONSE, "extra_of_nobody": 1}),
        parse(response_events_pb2.ResponseStreamEvent, {**EVENTS[0], "response": {**RESPONSE, "no_such": True}}),
        parse(responses_pb2.ListInputItemsResponse, {"object": "list", "data": [{"type": "message"}]}),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_they_do_not_is_found_in_calls_and_streams(shared: object, message: Any) -> None:
    assert len(problems_of(message)) >= 2
