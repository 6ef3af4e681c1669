"""Responses requests from JSON as a caller writes it, and what the API makes of them with their conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from eurouter.v1 import response_items_pb2 as items_pb
from eurouter.v1 import responses_pb2 as pb

from service.api.responses.call import ResponsesCall
from service.api.responses.read_request import conversation, read_request
from service.domain.errors import ServiceError
from service.domain.generation import Generation, Turn
from service.domain.routing import Needs
from service.wire import parse

Json = Mapping[str, Any]


def request(**fields: object) -> pb.CreateResponseRequest:
    """A request as its JSON reads; a model and one message come with it unless given."""
    return parse(pb.CreateResponseRequest, {"model": "vendor/model", "input": "hello", **fields})


def items(*written: Json) -> list[items_pb.ResponseItem]:
    """Items as their JSON reads."""
    return [parse(items_pb.ResponseItem, item) for item in written]


def read(
    message: pb.CreateResponseRequest | None = None,
    *,
    hints: tuple[str, ...] = (),
    streaming: bool = False,
    **fields: Any,
) -> ResponsesCall:
    """What the API makes of a request by itself."""
    return read_request(message or request(**fields), hint_fields=frozenset(hints), streaming=streaming)


def whole(
    message: pb.CreateResponseRequest | None = None,
    *,
    history: Sequence[Json] = (),
    stored: Sequence[Json] = (),
    streaming: bool = False,
    **fields: Any,
) -> tuple[Generation, Needs]:
    """What the router is asked; `history` are earlier items, `stored` those that references may name."""
    call = read(message, streaming=streaming, **fields)
    return conversation(
        call, items(*history), {item["id"]: one for item, one in zip(stored, items(*stored), strict=True)}
    )


def turns(
    *written: Json, history: Sequence[Json] = (), stored: Sequence[Json] = (), **fields: Any
) -> tuple[Turn, ...]:
    """The turns that input items make."""
    return whole(input=list(written), history=history, stored=stored, **fields)[0].turns


def refused(message: pb.CreateResponseRequest | None = None, **fields: Any) -> ServiceError:
    """The error with which a request is refused, alone or with its conversation; a failed test when it is not."""
    with pytest.raises(ServiceError) as caught:
        whole(message, **fields)
    return caught.value


def complaints(message: pb.CreateResponseRequest | None = None, **fields: Any) -> dict[str, str]:
    """Path -> sentence of everything that is wrong with a request."""
    return {v.path: v.message for v in refused(message, **fields).violations}
