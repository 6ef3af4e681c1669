"""The RPCs by name: each maps a request to an API handler and shows the routing decision as metadata."""

from __future__ import annotations

import grpc
from eurouter.v1 import catalog_pb2, chat_pb2, routing_pb2

from service.api.catalog import CatalogHandler
from service.api.chat.handler import ChatHandler
from service.api.routing import RoutingHandler
from service.edge.grpc_calls import GrpcCalls, Rpc, decision_metadata, write_all
from service.edge.grpc_jobs import JOBS
from service.edge.grpc_responses import RESPONSES

CHAT = chat_pb2.DESCRIPTOR.services_by_name["ChatService"].full_name
CATALOG = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"].full_name
ROUTING = routing_pb2.DESCRIPTOR.services_by_name["RoutingService"].full_name
SERVICE_NAMES = (CHAT, RESPONSES, CATALOG, ROUTING, JOBS)


def chat_service(wrap: GrpcCalls, chat: ChatHandler) -> grpc.GenericRpcHandler:
    """eurouter.v1.ChatService."""
    request_type = chat_pb2.CreateChatCompletionRequest

    async def create(rpc: Rpc[chat_pb2.CreateChatCompletionRequest]) -> chat_pb2.ChatCompletion:
        answer = await chat.create(rpc.request, rpc.call)
        # Trailing, because initial metadata would be a write of its own: a sixth of the call's CPU.
        rpc.transport.set_trailing_metadata(decision_metadata(rpc, answer.decision, answer.cost))
        return answer.completion

    async def stream(rpc: Rpc[chat_pb2.CreateChatCompletionRequest]) -> None:
        chunks = chat.stream(rpc.request, rpc.call)
        transport = rpc.transport
        try:
            announced = await chunks.start()
            await transport.send_initial_metadata(decision_metadata(rpc, announced))
            await write_all(transport, chunks)
            # What was announced may have changed, when the headers went out before the commit point.
            transport.set_trailing_metadata(decision_metadata(rpc, chunks.decision, chunks.cost))
        finally:
            await chunks.aclose()

    return grpc.method_handlers_generic_handler(
        CHAT,
        {
            "CreateChatCompletion": wrap.unary("CreateChatCompletion", request_type, create, asks=True),
            "StreamChatCompletion": wrap.stream("StreamChatCompletion", request_type, stream, asks=True),
        },
    )


def catalog_service(wrap: GrpcCalls, catalog: CatalogHandler) -> grpc.GenericRpcHandler:
    """eurouter.v1.CatalogService."""

    async def list_models(rpc: Rpc[catalog_pb2.ListModelsRequest]) -> catalog_pb2.ListModelsResponse:
        return catalog.list_models(rpc.request)

    async def get_model(rpc: Rpc[catalog_pb2.GetModelRequest]) -> catalog_pb2.Model:
        return catalog.get_model(rpc.request)

    async def list_providers(rpc: Rpc[catalog_pb2.ListProvidersRequest]) -> catalog_pb2.ListProvidersResponse:
        return catalog.list_providers(rpc.request)

    return grpc.method_handlers_generic_handler(
        CATALOG,
        {
            "ListModels": wrap.unary("ListModels", catalog_pb2.ListModelsRequest, list_models),
            "GetModel": wrap.unary("GetModel", catalog_pb2.GetModelRequest, get_model),
            "ListProviders": wrap.unary("ListProviders", catalog_pb2.ListProvidersRequest, list_providers),
        },
    )


def routing_service(wrap: GrpcCalls, routing: RoutingHandler) -> grpc.GenericRpcHandler:
    """eurouter.v1.RoutingService."""

    async def dry_run(rpc: Rpc[routing_pb2.DryRunRoutingRequest]) -> routing_pb2.DryRunRoutingResponse:
        return routing.dry_run(rpc.request, rpc.call)

    return grpc.method_handlers_generic_handler(
        ROUTING,
        {"DryRunRouting": wrap.unary("DryRunRouting", routing_pb2.DryRunRoutingRequest, dry_run)},
    )
