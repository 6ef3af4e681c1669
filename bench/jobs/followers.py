"""Followers of background responses, a process of their own with grpcio's client: who got which event when.

A command is a JSON line, `{"port", "key", "model", "count", "spread"}`: so many background streams at once, their
beginnings spread over `spread` seconds. The answer has each response's id and, by the number of the event, when it
came (Unix seconds); or an `error`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, Final

import grpc
import orjson
import uvloop
from eurouter.v1 import responses_pb2_grpc
from grpc import aio

from bench.traffic import response_request

_SECONDS: Final = 60.0


class BrokenLogError(Exception):
    """A follower did not get every event once, in order, to a good end."""


async def follow(stub: Any, key: str, model: str, wait: float) -> dict[str, Any]:
    """Follows one background response from its beginning to its end.

    Raises:
        BrokenLogError: a number is missing or out of order, or the response was not completed.
        grpc.RpcError: the call failed.
    """
    await asyncio.sleep(wait)
    metadata = (("authorization", f"Bearer {key}"),)
    request = response_request(model, store=True, background=True)
    times: list[float] = []
    response_id, last = "", None
    async for event in stub.StreamResponse(request, metadata=metadata, timeout=_SECONDS):
        if event.sequence_number != len(times):
            raise BrokenLogError(f"event {event.sequence_number} came where {len(times)} was due")
        times.append(time.time())
        last = event.WhichOneof("event")
        if last == "created":
            response_id = event.created.response.id
    if last != "completed":
        raise BrokenLogError(f"the last event was {last}")
    return {"id": response_id, "times": times}


async def _all(command: dict[str, Any]) -> list[dict[str, Any]]:
    async with aio.insecure_channel(f"127.0.0.1:{command['port']}") as channel:
        stub = responses_pb2_grpc.ResponsesServiceStub(channel)
        count = command["count"]
        waits = (command["spread"] * at / count for at in range(count))
        return await asyncio.gather(*(follow(stub, command["key"], command["model"], wait) for wait in waits))


async def _main() -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        try:
            answer: Any = {"followed": await _all(orjson.loads(line))}
        except (BrokenLogError, grpc.RpcError) as error:
            answer = {"error": str(error)}
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_main())
