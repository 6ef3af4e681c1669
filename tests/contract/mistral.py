"""Mistral's row in the contract suite."""

from __future__ import annotations

from typing import Any

import orjson

from adapters.providers.mistral import DIALECT
from service.domain.failure import FailureKind
from service.domain.fields import Field
from tests.contract.sample import DialectSample, ErrorSample

_TOP_LEVEL = {
    "max_tokens": Field.MAX_OUTPUT_TOKENS,
    "random_seed": Field.SEED,
    "reasoning_effort": Field.REASONING_EFFORT,
} | {
    field.value: field
    for field in (
        Field.TEMPERATURE,
        Field.TOP_P,
        Field.FREQUENCY_PENALTY,
        Field.PRESENCE_PENALTY,
        Field.STOP,
        Field.N,
        Field.TOOLS,
        Field.TOOL_CHOICE,
        Field.PARALLEL_TOOL_CALLS,
        Field.PREDICTION,
        Field.METADATA,
        Field.PROMPT_CACHE_KEY,
    )
}
_PARTS = {
    "image_url": Field.IMAGE_INPUT,
    "input_audio": Field.AUDIO_INPUT,
    "document_url": Field.FILE_INPUT,
    "file": Field.FILE_INPUT,
}
_FORMATS = {"json_object": Field.JSON_OBJECT, "json_schema": Field.JSON_SCHEMA}


def carried(body: dict[str, Any]) -> set[Field]:
    """The fields that a request body holds."""
    found = {field for name, field in _TOP_LEVEL.items() if name in body}
    output = body.get("response_format", {}).get("type")
    if output in _FORMATS:
        found.add(_FORMATS[output])
    for message in body["messages"]:
        if isinstance(message["content"], list):
            for part in message["content"]:
                found |= _part(part)
    return found


def _part(part: dict[str, Any]) -> set[Field]:
    found = {_PARTS[part["type"]]} if part["type"] in _PARTS else set()
    image = part.get("image_url", {})
    if "detail" in image:
        found.add(Field.IMAGE_DETAIL)
    if not image.get("url", "data:").startswith("data:"):
        found.add(Field.IMAGE_URL)
    if not part.get("document_url", "data:").startswith("data:"):
        found.add(Field.FILE_URL)
    return found


def _error(message: Any, **more: Any) -> bytes:
    body = {"object": "error", "message": message, "type": "invalid_request_error", "param": None, "code": None}
    return orjson.dumps(body | more)


_K = FailureKind
_ERRORS = (
    ErrorSample(
        400,
        _error(
            "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.",
            type="invalid_function_call",
            code="3280",
        ),
        _K.INVALID_REQUEST,
        says="with a length of 9",
    ),
    ErrorSample(
        400,
        _error(
            "Unexpected role 'user' after role 'tool'",
            type="invalid_request_message_order",
            code="3230",
            raw_status_code=400,
        ),
        _K.INVALID_REQUEST,
        says="after role 'tool'",
    ),
    ErrorSample(
        400,
        _error(
            "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
            type="invalid_request_prompt",
            code="3051",
        ),
        _K.CONTEXT_LENGTH,
        says="32768",
    ),
    ErrorSample(400, _error("Invalid model: mistral-none", type="invalid_model", code="1500"), _K.MODEL_MISSING),
    ErrorSample(401, b'{"message":"Unauthorized","request_id":"secret-1"}', _K.AUTH, says="Unauthorized"),
    ErrorSample(401, b'{"detail":"Unauthorized"}', _K.AUTH, says="Unauthorized"),
    ErrorSample(402, b'{"detail":"You have no active subscription"}', _K.QUOTA, says="no active subscription"),
    ErrorSample(403, b'{"message":"Forbidden"}', _K.AUTH),
    ErrorSample(
        404, b'{"message":"no Route matched with those values"}', _K.MODEL_MISSING, says="no Route matched"
    ),
    ErrorSample(408, b"timeout", _K.TIMEOUT),
    ErrorSample(413, b"", _K.TOO_LARGE),
    ErrorSample(
        422,
        _error(
            {
                "detail": [
                    {"type": "extra_forbidden", "loc": ["body", "logit_bias"], "msg": "Extra inputs", "input": {}}
                ]
            }
        ),
        _K.INVALID_REQUEST,
        says="logit_bias: Extra inputs",
    ),
    ErrorSample(
        422,
        b'{"detail":[{"loc":["body","temperature"],"msg":"Input should be less than 1.5","type":"less_than"}]}',
        _K.INVALID_REQUEST,
        says="temperature: Input should be less than 1.5",
    ),
    ErrorSample(
        429,
        b'{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300"}',
        _K.RATE_LIMITED,
        {"retry-after": "9"},
        9.0,
        says="Rate limit exceeded",
    ),
    ErrorSample(429, b'{"message":"Requests rate limit exceeded"}', _K.RATE_LIMITED),
    ErrorSample(
        429,
        _error(
            "Service tier capacity exceeded for this model.", type="service_tier_capacity_exceeded", code="3505"
        ),
        _K.RATE_LIMITED,
    ),
    ErrorSample(500, _error("Internal server error", type="internal_server_error"), _K.SERVER_ERROR),
    ErrorSample(502, b"<html><h1>Bad gateway</h1></html>", _K.SERVER_ERROR, says="status 502"),
    ErrorSample(503, b"no healthy upstream", _K.OVERLOADED, says="no healthy upstream"),
    ErrorSample(504, b"", _K.TIMEOUT, says="status 504"),
    ErrorSample(529, b"", _K.OVERLOADED),
    ErrorSample(418, b"", _K.UNKNOWN),
)

_CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"Hal"},"finish_reason":null}],"p":"abc"}\n\n'
)

SAMPLE = DialectSample(
    dialect=DIALECT,
    errors=_ERRORS,
    error_in_200=(_error("Rate limit exceeded", type="rate_limit_exceeded"), _K.RATE_LIMITED),
    error_in_stream=(
        _CHUNK + b"data: " + _error("Internal server error", type="internal_server_error") + b"\n\n",
        _K.SERVER_ERROR,
    ),
    carried=carried,
    lacks={
        "refusal": "its models refuse in plain text: there is no field for it",
        "content_filter": "no finish reason of its names it: guardrails answer with an error",
    },
)
