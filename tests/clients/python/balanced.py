"""Calls a service of several pods without a pause until its input ends, then says how many calls failed."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import grpc
from eurouter.v1.chat_pb2 import CHAT_ROLE_USER, ChatMessage, CreateChatCompletionRequest
from eurouter.v1.chat_pb2_grpc import ChatServiceStub
from eurouter.v1.content_pb2 import ContentPart

IN_FLIGHT = 6
PAUSE = 0.05

SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "eurouter.v1.ChatService"},
    "methodConfig": [
        {
            "name": [{"service": "eurouter.v1.ChatService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}

OPTIONS = [
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # 30 s unless told.
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]


def dial(target: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(target, options=OPTIONS)


async def call_until(over: asyncio.Event, channel: grpc.aio.Channel, failed: list[str]) -> int:
    """Gives how many calls it made; what went wrong is added to `failed`."""
    chat, calls = ChatServiceStub(channel), 0
    request = CreateChatCompletionRequest(
        model=os.environ["EUROUTER_MODEL"],
        messages=[ChatMessage(role=CHAT_ROLE_USER, content=[ContentPart(text="Hello")])],
    )
    metadata = (("authorization", f"Bearer {os.environ['EUROUTER_KEY']}"),)
    while not over.is_set():
        calls += 1
        try:
            await chat.CreateChatCompletion(request, metadata=metadata, timeout=20)
        except grpc.aio.AioRpcError as error:
            failed.append(f"{error.code().name}: {error.details()}")
        await asyncio.sleep(PAUSE)
    return calls


async def main() -> None:
    over, failed = asyncio.Event(), list[str]()
    async with dial(os.environ["EUROUTER_TARGET"]) as channel:
        loops = [asyncio.ensure_future(call_until(over, channel, failed)) for _ in range(IN_FLIGHT)]
        await asyncio.to_thread(sys.stdin.read)
        over.set()
        calls = sum(await asyncio.gather(*loops))
    print(json.dumps({"calls": calls, "failed": failed}))


if __name__ == "__main__":
    asyncio.run(main())
