"""What is asked in the measurements: one request, as protobuf and as JSON, and the simulator's models by name."""

from __future__ import annotations

from typing import Final

import orjson
from eurouter.v1 import chat_pb2, content_pb2

from adapters.providers.simulator import Script

UNARY_MODEL: Final = "sim-tokens-64"
BURST_MODEL: Final = "sim-tokens-256"
PACED_MODEL: Final = "sim-paced-5ms-256"
FIRST_TOKEN_MODEL: Final = "sim-paced-5ms-64"
MODELS: Final = (UNARY_MODEL, BURST_MODEL, PACED_MODEL, FIRST_TOKEN_MODEL)
STREAM_TOKENS: Final = 256

VENDOR: Final = "bench"
"""Models are asked for as `bench/NAME`; the simulator ignores what stands before the slash."""

FIRST_TOKEN: Final = b"Sim"
"""The first token that the simulator invents; no id or header of an answer holds these letters."""

CREATE: Final = "/eurouter.v1.ChatService/CreateChatCompletion"
STREAM: Final = "/eurouter.v1.ChatService/StreamChatCompletion"
HTTP_PATH: Final = "/v1/chat/completions"

_SYSTEM = (
    "You answer questions about travel in Europe. Be brief, name your sources, and say so when you are not sure. "
    "Prefer trains to planes, and give times in the local time of the place."
)
_USER = "How do I get from Utrecht to Milano on a Sunday in May without a night train, and what does it cost?"
_TEMPERATURE = 0.7
_MAX_TOKENS = 512


def tokens_of(model: str) -> int:
    """How many tokens a model name of this module asks for."""
    return int(model.rpartition("-")[2])


def answer_text(tokens: int) -> str:
    """What the simulator answers to such a model."""
    return "".join(Script(tokens=tokens).text_tokens())


def request(model: str) -> chat_pb2.CreateChatCompletionRequest:
    """The request as a message."""
    return chat_pb2.CreateChatCompletionRequest(
        model=f"{VENDOR}/{model}",
        messages=[
            _message(chat_pb2.CHAT_ROLE_SYSTEM, _SYSTEM),
            _message(chat_pb2.CHAT_ROLE_USER, _USER),
        ],
        temperature=_TEMPERATURE,
        max_completion_tokens=_MAX_TOKENS,
    )


def request_json(model: str, *, stream: bool) -> bytes:
    """The same request as OpenAI's JSON."""
    body = {
        "model": f"{VENDOR}/{model}",
        "messages": [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}],
        "temperature": _TEMPERATURE,
        "max_completion_tokens": _MAX_TOKENS,
    }
    return orjson.dumps(body | {"stream": True} if stream else body)


def _message(role: chat_pb2.ChatRole.ValueType, text: str) -> chat_pb2.ChatMessage:
    return chat_pb2.ChatMessage(role=role, content=[content_pb2.ContentPart(text=text)])
