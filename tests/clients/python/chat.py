"""A client of eurouter: one whole answer, one streamed answer, one error read in full."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

import grpc
from eurouter.v1.chat_pb2 import CHAT_ROLE_USER, ChatMessage, CreateChatCompletionRequest
from eurouter.v1.chat_pb2_grpc import ChatServiceStub
from eurouter.v1.content_pb2 import ContentPart
from eurouter.v1.preferences_pb2 import ProviderPreferences
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

if TYPE_CHECKING:
    from eurouter.v1.chat_pb2_grpc import ChatServiceAsyncStub

MAX_MESSAGE = 32 * 1024 * 1024

OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # The default is 2 pings, then none until data flows again.
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
]


def dial(target: str) -> grpc.aio.Channel:
    """Opens no connection yet: the first call does. In production: grpc.aio.secure_channel."""
    return grpc.aio.insecure_channel(target, options=OPTIONS)


def with_key(key: str) -> tuple[tuple[str, str], ...]:
    """The metadata that every call carries."""
    return (("authorization", f"Bearer {key}"),)


def ask(model: str, text: str) -> CreateChatCompletionRequest:
    return CreateChatCompletionRequest(
        model=model,
        messages=[ChatMessage(role=CHAT_ROLE_USER, content=[ContentPart(text=text)])],
        provider=ProviderPreferences(sort="price"),
    )


async def unary(chat: ChatServiceAsyncStub, key: str, model: str) -> None:
    call = chat.CreateChatCompletion(ask(model, "Say hello."), metadata=with_key(key), timeout=60)
    answer = await call
    trailer = dict(await call.trailing_metadata())
    print("answer:", answer.choices[0].message.content)
    print("provider:", trailer["x-provider-slug"])


async def stream(chat: ChatServiceAsyncStub, key: str, model: str) -> None:
    call = chat.StreamChatCompletion(ask(model, "Say hello."), metadata=with_key(key), timeout=60)
    print("streamed: ", end="")
    # Raises when the stream was cut; call.cancel() leaves early and ends the upstream call, too.
    async for chunk in call:
        for choice in chunk.choices:
            print(choice.delta.content, end="")
    print()


def explain(error: grpc.aio.AioRpcError) -> None:
    """Show what a failed call says about itself."""
    print("code:", error.code().name)
    packed = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    if not isinstance(packed, bytes):
        return  # not from the service: no connection, or the deadline
    for detail in Status.FromString(packed).details:
        info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
        if detail.Unpack(info):
            print("reason:", info.reason)
        elif detail.Unpack(bad):
            for violation in bad.field_violations:
                print("field:", violation.field)
        elif detail.Unpack(retry):
            print("retry after:", retry.retry_delay.ToTimedelta())


async def main() -> None:
    key, model = os.environ["EUROUTER_KEY"], os.environ["EUROUTER_MODEL"]
    async with dial(os.environ["EUROUTER_TARGET"]) as channel:
        chat = ChatServiceStub(channel)
        await unary(chat, key, model)
        await stream(chat, key, model)
        wrong = ask(model, "Say hello.")
        wrong.temperature = 3
        try:
            await chat.CreateChatCompletion(wrong, metadata=with_key(key), timeout=60)
        except grpc.aio.AioRpcError as error:
            explain(error)
        else:
            raise AssertionError("a temperature of 3 was accepted")


if __name__ == "__main__":
    asyncio.run(main())
