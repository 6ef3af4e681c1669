"""The floor: bare grpc.aio that answers with a message made beforehand. No upstream, no features.

What it costs is gRPC's and Python's, whoever writes the service: `python -m bench.floor --port N`.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from eurouter.v1 import chat_pb2

from adapters.providers.simulator import Script
from bench import grpc_process
from bench.traffic import answer_text, tokens_of

if TYPE_CHECKING:
    from grpc import aio

_ID = "chatcmpl-floor000000000000000000000000000"
_CREATED = 1_700_000_000


async def create(
    request: chat_pb2.CreateChatCompletionRequest,
    context: aio.ServicerContext[Any, Any],  # noqa: ARG001
) -> chat_pb2.ChatCompletion:
    """One completion of as many tokens as the model's name says."""
    return _completion(request.model)


async def stream(request: chat_pb2.CreateChatCompletionRequest, context: aio.ServicerContext[Any, Any]) -> None:
    """One message a token."""
    for chunk in _chunks(request.model):
        await context.write(chunk)


@lru_cache
def _completion(model: str) -> chat_pb2.ChatCompletion:
    message = chat_pb2.AssistantMessage(role=chat_pb2.CHAT_ROLE_ASSISTANT, content=answer_text(tokens_of(model)))
    choice = chat_pb2.Choice(message=message, finish_reason=chat_pb2.FINISH_REASON_STOP)
    return chat_pb2.ChatCompletion(
        id=_ID, object="chat.completion", created=_CREATED, model=model, choices=[choice]
    )


@lru_cache
def _chunks(model: str) -> tuple[chat_pb2.ChatCompletionChunk, ...]:
    return tuple(_chunk(model, token) for token in Script(tokens=tokens_of(model)).text_tokens())


def _chunk(model: str, token: str) -> chat_pb2.ChatCompletionChunk:
    choice = chat_pb2.ChunkChoice(delta=chat_pb2.Delta(content=token))
    return chat_pb2.ChatCompletionChunk(
        id=_ID, object="chat.completion.chunk", created=_CREATED, model=model, choices=[choice]
    )


if __name__ == "__main__":
    sys.exit(grpc_process.main(lambda _: grpc_process.Methods(create, stream)))
