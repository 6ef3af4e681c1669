"""eurouter.v1.ResponsesService: maps its methods to the API's handlers."""

from __future__ import annotations

from typing import Final

import grpc
from eurouter.v1 import response_object_pb2
from eurouter.v1 import responses_pb2 as pb
from grpc import aio

from service.api.responses.handler import ResponsesHandler
from service.api.responses.stored import StoredResponses
from service.edge.grpc_calls import GrpcCalls, Rpc, client_left, decision_metadata

RESPONSES: Final = pb.DESCRIPTOR.services_by_name["ResponsesService"].full_name


def responses_service(
    wrap: GrpcCalls, responses: ResponsesHandler, stored: StoredResponses
) -> grpc.GenericRpcHandler:
    """The service's handler."""
    making = _Making(responses)
    reading = _Reading(stored)
    return grpc.method_handlers_generic_handler(
        RESPONSES,
        {
            "CreateResponse": wrap.unary("CreateResponse", pb.CreateResponseRequest, making.create),
            "StreamResponse": wrap.stream("StreamResponse", pb.CreateResponseRequest, making.stream),
            "GetResponse": wrap.unary("GetResponse", pb.GetResponseRequest, reading.get),
            "FollowResponse": wrap.stream("FollowResponse", pb.FollowResponseRequest, reading.follow),
            "CancelResponse": wrap.unary("CancelResponse", pb.CancelResponseRequest, reading.cancel),
            "DeleteResponse": wrap.unary("DeleteResponse", pb.DeleteResponseRequest, reading.delete),
            "ListInputItems": wrap.unary("ListInputItems", pb.ListInputItemsRequest, reading.input_items),
        },
    )


class _Making:
    def __init__(self, responses: ResponsesHandler) -> None:
        self._responses = responses

    async def create(self, rpc: Rpc[pb.CreateResponseRequest]) -> response_object_pb2.Response:
        answer = await self._responses.create(rpc.request, rpc.call)
        rpc.transport.set_trailing_metadata(decision_metadata(rpc, answer.decision))
        return answer.response

    async def stream(self, rpc: Rpc[pb.CreateResponseRequest]) -> None:
        events = await self._responses.stream(rpc.request, rpc.call)
        transport = rpc.transport
        try:
            await transport.send_initial_metadata(decision_metadata(rpc, await events.start()))
            while batch := await events.next():
                try:
                    for event in batch:
                        await transport.write(event)
                except aio.InternalError:
                    raise client_left(transport) from None
            # What was announced may have changed, when the headers went out before the commit point.
            transport.set_trailing_metadata(decision_metadata(rpc, events.decision))
        finally:
            await events.aclose()


class _Reading:
    def __init__(self, stored: StoredResponses) -> None:
        self._stored = stored

    async def get(self, rpc: Rpc[pb.GetResponseRequest]) -> response_object_pb2.Response:
        return await self._stored.get(rpc.request, rpc.call)

    async def follow(self, rpc: Rpc[pb.FollowResponseRequest]) -> None:
        await self._stored.follow(rpc.request, rpc.call)

    async def cancel(self, rpc: Rpc[pb.CancelResponseRequest]) -> response_object_pb2.Response:
        return await self._stored.cancel(rpc.request, rpc.call)

    async def delete(self, rpc: Rpc[pb.DeleteResponseRequest]) -> pb.DeleteResponseResponse:
        return await self._stored.delete(rpc.request, rpc.call)

    async def input_items(self, rpc: Rpc[pb.ListInputItemsRequest]) -> pb.ListInputItemsResponse:
        return await self._stored.input_items(rpc.request, rpc.call)
