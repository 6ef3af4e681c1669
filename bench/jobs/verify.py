"""Asks once with ordinary clients and reads all that a worker made: the load generator only counts."""

from __future__ import annotations

import time
from typing import Any, Final

import grpc
from eurouter.v1 import response_object_pb2, responses_pb2, responses_pb2_grpc

from bench.fleet import StartError
from bench.jobs.world import World
from bench.traffic import BURST_MODEL, STREAM_TOKENS, UNARY_MODEL, response_request, tokens_of
from bench.verify import SECONDS, check_text

_WAITING: Final = (response_object_pb2.RESPONSE_STATUS_QUEUED, response_object_pb2.RESPONSE_STATUS_IN_PROGRESS)


def answers(world: World) -> None:
    """Returns when a background response was made in full, and another one followed to its end.

    Raises:
        StartError: it was refused, is not made, or words are missing.
    """
    metadata = (("authorization", f"Bearer {world.service.key}"),)
    more: dict[str, Any] = {"metadata": metadata, "timeout": SECONDS}
    try:
        with grpc.insecure_channel(f"127.0.0.1:{world.service.grpc_port}") as channel:
            stub = responses_pb2_grpc.ResponsesServiceStub(channel)
            asked = response_request(UNARY_MODEL, store=True, background=True)
            made = _made(world, stub, stub.CreateResponse(asked, **more), more)
            check_text(world.name, _said(made), tokens_of(UNARY_MODEL))
            streamed = response_request(BURST_MODEL, store=True, background=True)
            *events, last = stub.StreamResponse(streamed, **more)
    except grpc.RpcError as error:
        raise StartError(f"{world.name} refused a call: {error}") from None
    check_text(world.name, "".join(event.output_text_delta.delta for event in events), STREAM_TOKENS)
    check_text(world.name, _said(last.completed.response), STREAM_TOKENS)


def _made(
    world: World, stub: Any, response: response_object_pb2.Response, more: Any
) -> response_object_pb2.Response:
    due = time.monotonic() + SECONDS
    while response.status in _WAITING:
        if time.monotonic() > due:
            raise StartError(f"{world.name}: a background response was not made in {SECONDS:.0f} s")
        time.sleep(0.05)
        response = stub.GetResponse(responses_pb2.GetResponseRequest(response_id=response.id), **more)
    return response


def _said(response: response_object_pb2.Response) -> str:
    return "".join(part.output_text.text for item in response.output for part in item.message.content)
