"""eurouter.v1.ResponsesService: maps its methods to the API's handlers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import grpc
from eurouter.v1 import response_object_pb2
from eurouter.v1 import responses_pb2 as pb

from service.api.responses.background import BackgroundResponses
from service.api.responses.handler import ResponsesHandler
from service.api.responses.replay import Replay
from service.api.responses.stored import StoredResponses
from service.domain.errors import invalid
from service.edge.calls import REQUEST_ID
from service.edge.grpc_calls import GrpcCalls, Rpc, decision_metadata, metadata_of, write_all
from service.edge.submission import REPLAYED, submission_of

RESPONSES: Final = pb.DESCRIPTOR.services_by_name["ResponsesService"].full_name


def responses_service(
    wrap: GrpcCalls, responses: ResponsesHandler, stored: StoredResponses, background: BackgroundResponses
) -> grpc.GenericRpcHandler:
    """The service's handler."""
    making = _Making(responses, background)
    reading = _Reading(stored, background)
    return grpc.method_handlers_generic_handler(
        RESPONSES,
        {
            "CreateResponse": wrap.unary("CreateResponse", pb.CreateResponseRequest, making.create, asks=True),
            "StreamResponse": wrap.stream("StreamResponse", pb.CreateResponseRequest, making.stream, asks=True),
            "GetResponse": wrap.unary("GetResponse", pb.GetResponseRequest, reading.get),
            "FollowResponse": wrap.stream("FollowResponse", pb.FollowResponseRequest, reading.follow),
            "CancelResponse": wrap.unary("CancelResponse", pb.CancelResponseRequest, reading.cancel),
            "DeleteResponse": wrap.unary("DeleteResponse", pb.DeleteResponseRequest, reading.delete),
            "ListInputItems": wrap.unary("ListInputItems", pb.ListInputItemsRequest, reading.input_items),
        },
    )


async def follow(
    background: BackgroundResponses, rpc: Rpc[Any], response_id: str, after: int, include: Sequence[str]
) -> None:
    """Writes a background response's events; the caller may leave and come back."""
    events = await background.follow(response_id, after, include, rpc.call)
    try:
        await write_all(rpc.transport, events)
    finally:
        await events.aclose()


def _replayed(rpc: Rpc[Any]) -> tuple[tuple[str, str], ...]:
    """The metadata of an answer that an earlier call made."""
    return ((REQUEST_ID, rpc.call.request_id), REPLAYED)


class _Making:
    def __init__(self, responses: ResponsesHandler, background: BackgroundResponses) -> None:
        self._responses = responses
        self._background = background

    async def create(self, rpc: Rpc[pb.CreateResponseRequest]) -> response_object_pb2.Response:
        submission = submission_of(metadata_of(rpc.transport), time.time)
        if rpc.request.background:
            submitted = await self._background.accept(rpc.request, submission, rpc.call, streaming=False)
            if submitted.repeated:
                rpc.transport.set_trailing_metadata(_replayed(rpc))
            return submitted.response
        submission.refuse_in_foreground()
        answer = await self._responses.create(rpc.request, rpc.call, submission.idempotency_key)
        decision = answer.decision
        rpc.transport.set_trailing_metadata(
            decision_metadata(rpc, decision, answer.cost) if decision is not None else _replayed(rpc)
        )
        return answer.response

    async def stream(self, rpc: Rpc[pb.CreateResponseRequest]) -> None:
        submission = submission_of(metadata_of(rpc.transport), time.time)
        if rpc.request.background:
            submitted = await self._background.accept(rpc.request, submission, rpc.call, streaming=True)
            if submitted.repeated:
                await rpc.transport.send_initial_metadata(_replayed(rpc))
            await follow(self._background, rpc, submitted.response.id, -1, ())
            return
        submission.refuse_in_foreground()
        events = await self._responses.stream(rpc.request, rpc.call, submission.idempotency_key)
        transport = rpc.transport
        if isinstance(events, Replay):
            await transport.send_initial_metadata(_replayed(rpc))
            await write_all(transport, events)
            return
        try:
            await transport.send_initial_metadata(decision_metadata(rpc, await events.start()))
            await write_all(transport, events)
            # What was announced may have changed, when the headers went out before the commit point.
            transport.set_trailing_metadata(decision_metadata(rpc, events.decision, events.cost))
        finally:
            await events.aclose()


class _Reading:
    def __init__(self, stored: StoredResponses, background: BackgroundResponses) -> None:
        self._stored = stored
        self._background = background

    async def get(self, rpc: Rpc[pb.GetResponseRequest]) -> response_object_pb2.Response:
        return await self._stored.get(rpc.request, rpc.call)

    async def follow(self, rpc: Rpc[pb.FollowResponseRequest]) -> None:
        asked = rpc.request
        after = asked.starting_after if asked.HasField("starting_after") else -1
        if after < -1:
            raise invalid("starting_after", f"must be the number of an event, or -1 for all; got {after}")
        await follow(self._background, rpc, asked.response_id, after, asked.include)

    async def cancel(self, rpc: Rpc[pb.CancelResponseRequest]) -> response_object_pb2.Response:
        return await self._background.cancel(rpc.request.response_id, rpc.call)

    async def delete(self, rpc: Rpc[pb.DeleteResponseRequest]) -> pb.DeleteResponseResponse:
        return await self._stored.delete(rpc.request, rpc.call)

    async def input_items(self, rpc: Rpc[pb.ListInputItemsRequest]) -> pb.ListInputItemsResponse:
        return await self._stored.input_items(rpc.request, rpc.call)
