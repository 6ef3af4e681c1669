"""Bedrock's row in the contract suite."""

from __future__ import annotations

from typing import Any

import orjson

from adapters.providers.bedrock import DIALECT
from service.domain.failure import FailureKind
from service.domain.fields import Field
from tests.contract.sample import DialectSample, ErrorSample
from tests.support import eventstream

_INFERENCE = {
    "maxTokens": Field.MAX_OUTPUT_TOKENS,
    "temperature": Field.TEMPERATURE,
    "topP": Field.TOP_P,
    "stopSequences": Field.STOP,
}
_BLOCKS = {
    "image": Field.IMAGE_INPUT,
    "document": Field.FILE_INPUT,
    "audio": Field.AUDIO_INPUT,
    "cachePoint": Field.PROMPT_CACHE_BREAKPOINT,
}
_ENDPOINTS_LIMIT = 4096


def carried(body: dict[str, Any]) -> set[Field]:
    """The fields that a request body holds."""
    inference = body.get("inferenceConfig", {})
    found = {field for name, field in _INFERENCE.items() if name in inference}
    if inference.get("maxTokens") == _ENDPOINTS_LIMIT:
        # A budget for reasoning demands a limit: it is the caller's when it is not the endpoint's.
        found.remove(Field.MAX_OUTPUT_TOKENS)
    if "additionalModelRequestFields" in body:
        found.add(Field.REASONING_EFFORT)
    if "textFormat" in body.get("outputConfig", {}):
        found.add(Field.JSON_SCHEMA)
    tools = body.get("toolConfig", {})
    if tools:
        found.add(Field.TOOLS)
    if "toolChoice" in tools:
        found.add(Field.TOOL_CHOICE)
    for content in (body.get("system", []), *(message["content"] for message in body["messages"])):
        for block in content:
            (kind,) = block
            if kind in _BLOCKS:
                found.add(_BLOCKS[kind])
            elif kind == "toolResult" and any(part.keys() & _BLOCKS.keys() for part in block[kind]["content"]):
                found.add(Field.TOOL_MEDIA)
    return found


def _says(message: str) -> bytes:
    return orjson.dumps({"message": message})


def _type(name: str) -> dict[str, str]:
    return {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"}


_K = FailureKind
# The recorded ones are ExpiredToken and the invalid identifier. The others' names and statuses are those of the
# service model (botocore 1.44.5), their sentences those of
# docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html, where it has one.
_ERRORS = (
    ErrorSample(
        400,
        _says("The value at messages.0.content is empty."),
        _K.INVALID_REQUEST,
        _type("ValidationException"),
        says="messages.0.content",
    ),
    ErrorSample(
        400,
        _says("The provided model identifier is invalid."),
        _K.MODEL_MISSING,
        _type("ValidationException"),
    ),
    ErrorSample(
        400,
        _says(
            "Invocation of model ID amazon.nova-2-lite-v1:0 with on-demand throughput isn\u2019t supported. Retry "
            "your request with the ID or ARN of an inference profile that contains this model."
        ),
        _K.MODEL_MISSING,
        _type("ValidationException"),
    ),
    ErrorSample(
        400, _says("Input is too long for requested model."), _K.CONTEXT_LENGTH, _type("ValidationException")
    ),
    ErrorSample(
        400,
        _says("The model returned the following errors: prompt is too long: 210000 tokens > 200000 maximum"),
        _K.CONTEXT_LENGTH,
        _type("ValidationException"),
        says="210000 tokens",
    ),
    ErrorSample(
        400,
        _says("The model returned the following errors: Output blocked by content filtering policy"),
        _K.CONTENT_POLICY,
        _type("ValidationException"),
    ),
    ErrorSample(400, _says("You have exceeded a quota."), _K.QUOTA, _type("ServiceQuotaExceededException")),
    ErrorSample(401, b"", _K.AUTH),
    ErrorSample(402, _says("Payment required"), _K.QUOTA),
    ErrorSample(
        403,
        _says("User: arn:aws:sts::123456789012:assumed-role/secret/me is not authorized to perform this"),
        _K.AUTH,
        _type("AccessDeniedException"),
        says="arn:*** is not authorized",
    ),
    ErrorSample(
        403,
        _says("The security token included in the request is expired"),
        _K.AUTH,
        _type("ExpiredTokenException"),
    ),
    ErrorSample(404, _says("The model was not found."), _K.MODEL_MISSING, _type("ResourceNotFoundException")),
    ErrorSample(408, _says("The model timed out."), _K.TIMEOUT, _type("ModelTimeoutException")),
    ErrorSample(413, b"<html>Request Entity Too Large</html>", _K.TOO_LARGE, says="status 413"),
    ErrorSample(424, _says("The model failed."), _K.SERVER_ERROR, _type("ModelErrorException")),
    ErrorSample(
        429,
        _says("Too many requests, please wait before trying again."),
        _K.RATE_LIMITED,
        {**_type("ThrottlingException"), "retry-after": "12"},
        12.0,
    ),
    ErrorSample(
        429,
        orjson.dumps({"__type": "com.amazon.coral.service#ThrottlingException", "Message": "Rate exceeded"}),
        _K.RATE_LIMITED,
        says="Rate exceeded",
    ),
    ErrorSample(429, _says("The model is not ready."), _K.OVERLOADED, _type("ModelNotReadyException")),
    ErrorSample(429, _says("Quota"), _K.QUOTA, _type("ServiceQuotaExceededException")),
    ErrorSample(500, _says("Internal"), _K.SERVER_ERROR, _type("InternalServerException")),
    ErrorSample(502, b"<html><h1>Bad gateway</h1></html>", _K.SERVER_ERROR, says="status 502"),
    ErrorSample(503, _says("Unavailable"), _K.OVERLOADED, _type("ServiceUnavailableException")),
    ErrorSample(504, b"", _K.TIMEOUT),
    ErrorSample(529, b"overloaded", _K.OVERLOADED, says="overloaded"),
    ErrorSample(418, b"", _K.UNKNOWN),
)

_STREAM = eventstream.encode(
    (
        {"event": "messageStart", "payload": {"role": "assistant"}},
        {"event": "contentBlockDelta", "payload": {"contentBlockIndex": 0, "delta": {"text": "Hal"}}},
        {"exception": "throttlingException", "payload": {"message": "Too many tokens, please wait."}},
    )
)

SAMPLE = DialectSample(
    dialect=DIALECT,
    errors=_ERRORS,
    error_in_200=(
        orjson.dumps({"__type": "com.amazon.bedrock#ServiceUnavailableException", "message": "Later"}),
        _K.OVERLOADED,
    ),
    error_in_stream=(b"".join(_STREAM), _K.RATE_LIMITED),
    carried=carried,
    lacks={"refusal": "a refusal is a stop reason here, with no text of its own: see content_filter"},
    binary=True,
)
