"""A ChatService of two functions as a process of its own: what floor and sketch share."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import uvloop
from eurouter.v1 import chat_pb2
from grpc import aio

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
Request: TypeAlias = chat_pb2.CreateChatCompletionRequest


@dataclass(frozen=True, slots=True)
class Methods:
    """The two RPCs; `stream` writes its chunks to the context itself."""

    create: Callable[[Request, Context], Awaitable[chat_pb2.ChatCompletion]]
    stream: Callable[[Request, Context], Awaitable[None]]
    close: Callable[[], Awaitable[None]] | None = None


def main(make: Callable[[argparse.Namespace], Methods]) -> int:
    """Serves on `--port` until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", default="", help="base URL of the provider")
    parser.add_argument("--merge", action="store_true", help="one message for all tokens of one read")
    options = parser.parse_args()
    uvloop.run(_serve(options, make))
    return 0


async def _serve(options: argparse.Namespace, make: Callable[[argparse.Namespace], Methods]) -> None:
    methods = make(options)
    server = aio.server()
    server.add_generic_rpc_handlers((handlers(methods),))
    server.add_insecure_port(f"127.0.0.1:{options.port}")
    await server.start()
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await stop.wait()
    await server.stop(0.1)
    if methods.close is not None:
        await methods.close()


def handlers(methods: Methods) -> grpc.GenericRpcHandler:
    """ChatService as gRPC wants it."""
    parse = chat_pb2.CreateChatCompletionRequest.FromString
    unary = grpc.unary_unary_rpc_method_handler(
        methods.create,
        request_deserializer=parse,
        response_serializer=chat_pb2.ChatCompletion.SerializeToString,
    )
    stream = grpc.unary_stream_rpc_method_handler(
        methods.stream,
        request_deserializer=parse,
        response_serializer=chat_pb2.ChatCompletionChunk.SerializeToString,
    )
    name = chat_pb2.DESCRIPTOR.services_by_name["ChatService"].full_name
    return grpc.method_handlers_generic_handler(
        name, {"CreateChatCompletion": unary, "StreamChatCompletion": stream}
    )
