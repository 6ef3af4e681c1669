"""What is asked in the measurements: one question, to either API, in protobuf and JSON; the simulator's models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import orjson
from eurouter.v1 import chat_pb2, content_pb2, response_items_pb2, responses_pb2

from adapters.providers.simulator import Script

UNARY_MODEL: Final = "sim-tokens-64"
ONE_TOKEN_MODEL: Final = "sim-tokens-1"
BURST_MODEL: Final = "sim-tokens-256"
PACED_MODEL: Final = "sim-paced-5ms-256"
FIRST_TOKEN_MODEL: Final = "sim-paced-5ms-64"
MODELS: Final = (UNARY_MODEL, BURST_MODEL, PACED_MODEL, FIRST_TOKEN_MODEL, ONE_TOKEN_MODEL)
STREAM_TOKENS: Final = 256
DIALECTS: Final[Mapping[str, str]] = {
    "openai_chat": "/v1",
    "openai_responses": "/v1",
    "anthropic": "/v1",
    "bedrock": "",
    "gemini": "/v1beta",
    "mistral": "/mistral/v1",
    "azure": "/openai/v1",
}
"""Every dialect with the path below the simulator's address that its own paths follow."""

Kind: TypeAlias = Literal["chat", "response", "stored response", "background response"]
"""What is called: the chat API, or the Responses API with `store` false or true, or in the background."""

VENDOR: Final = "bench"
"""Models are asked for as `bench/NAME`; the simulator ignores what stands before the slash."""

FIRST_TOKEN: Final = b"Sim"
"""The first token that the simulator invents; no id or header of an answer holds these letters."""

CREATE: Final = "/eurouter.v1.ChatService/CreateChatCompletion"
STREAM: Final = "/eurouter.v1.ChatService/StreamChatCompletion"
HTTP_PATH: Final = "/v1/chat/completions"
CREATE_RESPONSE: Final = "/eurouter.v1.ResponsesService/CreateResponse"
STREAM_RESPONSE: Final = "/eurouter.v1.ResponsesService/StreamResponse"
RESPONSES_PATH: Final = "/v1/responses"

SYSTEM: Final = (
    "You answer questions about travel in Europe. Be brief, name your sources, and say so when you are not sure. "
    "Prefer trains to planes, and give times in the local time of the place."
)
USER: Final = (
    "How do I get from Utrecht to Milano on a Sunday in May without a night train, and what does it cost?"
)
TEMPERATURE: Final = 0.7
MAX_TOKENS: Final = 512


def name_of(dialect: str, model: str) -> str:
    """The model's name where a provider that speaks the dialect has it."""
    return f"{dialect}-{model}"


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
            _message(chat_pb2.CHAT_ROLE_SYSTEM, SYSTEM),
            _message(chat_pb2.CHAT_ROLE_USER, USER),
        ],
        temperature=TEMPERATURE,
        max_completion_tokens=MAX_TOKENS,
    )


def request_json(model: str, *, stream: bool) -> bytes:
    """The same request as OpenAI's JSON."""
    body = {
        "model": f"{VENDOR}/{model}",
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}],
        "temperature": TEMPERATURE,
        "max_completion_tokens": MAX_TOKENS,
    }
    return orjson.dumps(body | {"stream": True} if stream else body)


def response_request(
    model: str, *, store: bool, previous: str | None = None, background: bool = False
) -> responses_pb2.CreateResponseRequest:
    """The same question to the Responses API; `previous`: the id of a response that it continues."""
    text = response_items_pb2.ResponseContent(input_text=response_items_pb2.ResponseInputText(text=USER))
    message = response_items_pb2.ResponseMessage(role="user", content=[text])
    return responses_pb2.CreateResponseRequest(
        model=f"{VENDOR}/{model}",
        instructions=SYSTEM,
        input=[response_items_pb2.ResponseItem(message=message)],
        previous_response_id=previous,
        store=store,
        background=background or None,
        temperature=TEMPERATURE,
        max_output_tokens=MAX_TOKENS,
    )


def response_json(
    model: str, *, stream: bool, store: bool, previous: str | None = None, background: bool = False
) -> bytes:
    """The same as OpenAI's JSON."""
    body: dict[str, Any] = {
        "model": f"{VENDOR}/{model}",
        "instructions": SYSTEM,
        "input": USER,
        "store": store,
        "temperature": TEMPERATURE,
        "max_output_tokens": MAX_TOKENS,
    }
    if previous:
        body["previous_response_id"] = previous
    if background:
        body["background"] = True
    return orjson.dumps(body | {"stream": True} if stream else body)


def grpc_call(kind: Kind, model: str, *, stream: bool, previous: str | None = None) -> tuple[str, bytes]:
    """The method's path and the request's bytes."""
    if kind == "chat":
        return STREAM if stream else CREATE, request(model).SerializeToString()
    background = kind == "background response"
    asked = response_request(
        model, store=background or kind == "stored response", previous=previous, background=background
    )
    return STREAM_RESPONSE if stream else CREATE_RESPONSE, asked.SerializeToString()


def http_call(kind: Kind, model: str, *, stream: bool, previous: str | None = None) -> tuple[str, bytes]:
    """The URL's path and the body."""
    if kind == "chat":
        return HTTP_PATH, request_json(model, stream=stream)
    background = kind == "background response"
    store = background or kind == "stored response"
    body = response_json(model, stream=stream, store=store, previous=previous, background=background)
    return RESPONSES_PATH, body


def _message(role: chat_pb2.ChatRole.ValueType, text: str) -> chat_pb2.ChatMessage:
    return chat_pb2.ChatMessage(role=role, content=[content_pb2.ContentPart(text=text)])
