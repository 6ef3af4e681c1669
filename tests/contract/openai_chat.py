"""OpenAI chat's row in the contract suite."""

from __future__ import annotations

from typing import Any

import orjson

from adapters.providers.openai_chat import DIALECT
from service.domain.failure import FailureKind
from service.domain.fields import Field
from tests.contract.sample import DialectSample, ErrorSample

_TOP_LEVEL = {
    "max_completion_tokens": Field.MAX_OUTPUT_TOKENS,
    "reasoning_effort": Field.REASONING_EFFORT,
    "reasoning": Field.REASONING_SUMMARY,
} | {field.value: field for field in Field if "." not in field.value and field.value not in ("tools", "file")}
_PARTS = {
    "image_url": Field.IMAGE_INPUT,
    "input_audio": Field.AUDIO_INPUT,
    "file": Field.FILE_INPUT,
    "video_url": Field.OPAQUE_INPUT,
}
_FORMATS = {
    "json_object": Field.JSON_OBJECT,
    "json_schema": Field.JSON_SCHEMA,
    "grammar": Field.GRAMMAR,
    "python": Field.PYTHON_FORMAT,
    "yaml": Field.OPAQUE_FORMAT,
}
_TOOLS = {"function": Field.TOOLS, "custom": Field.CUSTOM_TOOLS, "web_search": Field.OPAQUE_TOOLS}


def carried(body: dict[str, Any]) -> set[Field]:
    """The fields that a request body holds."""
    found = {field for name, field in _TOP_LEVEL.items() if name in body}
    if "include_obfuscation" in body.get("stream_options", {}):
        found.add(Field.OBFUSCATION)
    found |= {_TOOLS[tool["type"]] for tool in body.get("tools", [])}
    if any("grammar" in tool.get("custom", {}).get("format", {}) for tool in body.get("tools", [])):
        found.add(Field.CUSTOM_GRAMMAR)
    if body.get("functions"):
        found.add(Field.TOOLS)
    output = body.get("response_format", {}).get("type")
    if output in _FORMATS:
        found.add(_FORMATS[output])
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] == "allowed_tools":
        found.add(Field.TOOL_CHOICE_ALLOWED)
    for message in body["messages"]:
        said = {field for key, field in _MESSAGE.items() if key in message}
        if message["role"] == "function":
            # Such a result is bound to its call by the name: it is no author's.
            said.discard(Field.AUTHOR_NAME)
        found |= said
        if isinstance(message["content"], list):
            for part in message["content"]:
                found |= _part(part)
    return found


_MESSAGE = {"name": Field.AUTHOR_NAME, "annotations": Field.ANNOTATION_HISTORY, "audio": Field.AUDIO_HISTORY}


def _part(part: dict[str, Any]) -> set[Field]:
    found = {_PARTS[part["type"]]} if part["type"] in _PARTS else set()
    if "prompt_cache_breakpoint" in part:
        found.add(Field.PROMPT_CACHE_BREAKPOINT)
    if not part.get("image_url", {}).get("url", "data:").startswith("data:"):
        found.add(Field.IMAGE_URL)
    if "detail" in part.get("image_url", {}):
        found.add(Field.IMAGE_DETAIL)
    return found


def _error(message: str, **more: Any) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": None, "param": None, "code": None} | more})


_K = FailureKind
_ERRORS = (
    ErrorSample(
        400,
        _error("Invalid value for 'temperature'.", type="invalid_request_error", param="temperature"),
        _K.INVALID_REQUEST,
        says="Invalid value for 'temperature'.",
    ),
    ErrorSample(
        400,
        _error("This model's maximum context length is 8192 tokens.", code="context_length_exceeded"),
        _K.CONTEXT_LENGTH,
        says="8192",
    ),
    ErrorSample(
        400,
        orjson.dumps(
            {
                "error": {
                    "code": 400,
                    "message": "the request exceeds the available context size, try increasing it",
                }
            }
        ),
        _K.CONTEXT_LENGTH,
    ),
    ErrorSample(
        400,
        _error(
            "The response was filtered.",
            code="content_filter",
            status=400,
            innererror={"code": "ResponsibleAIPolicyViolation"},
        ),
        _K.CONTENT_POLICY,
    ),
    ErrorSample(401, _error("Incorrect API key provided: sk-secret123.", code="invalid_api_key"), _K.AUTH),
    ErrorSample(402, _error("Insufficient credits", code=402), _K.QUOTA, says="Insufficient credits"),
    ErrorSample(403, _error("Country not supported"), _K.AUTH),
    ErrorSample(404, _error("The model `x` does not exist", code="model_not_found"), _K.MODEL_MISSING),
    ErrorSample(
        404,
        _error("The API deployment for this resource does not exist.", code="DeploymentNotFound"),
        _K.MODEL_MISSING,
    ),
    ErrorSample(404, b'{"detail":"Not Found"}', _K.MODEL_MISSING, says="Not Found"),
    ErrorSample(404, _error("No such File object: file-1", param="id"), _K.INVALID_REQUEST),
    ErrorSample(408, b"upstream request timeout", _K.TIMEOUT, says="upstream request timeout"),
    ErrorSample(413, _error("Request too large"), _K.TOO_LARGE),
    ErrorSample(
        422,
        b'{"detail":[{"loc":["body","temperature"],"msg":"Input should be less than 2","type":"less_than"}]}',
        _K.INVALID_REQUEST,
        says="temperature: Input should be less than 2",
    ),
    ErrorSample(429, _error("Slow down", type="requests"), _K.RATE_LIMITED, {"retry-after": "7"}, 7.0),
    ErrorSample(429, _error("You exceeded your current quota", code="insufficient_quota"), _K.QUOTA),
    ErrorSample(500, _error("The server had an error", type="server_error"), _K.SERVER_ERROR),
    ErrorSample(502, b"<html><h1>Bad gateway</h1></html>", _K.SERVER_ERROR, says="status 502"),
    ErrorSample(503, _error("The engine is overloaded"), _K.OVERLOADED, {"retry-after-ms": "1500"}, 1.5),
    ErrorSample(504, b"", _K.TIMEOUT, says="status 504"),
    ErrorSample(529, _error("overloaded"), _K.OVERLOADED),
    ErrorSample(418, b"", _K.UNKNOWN),
)

_CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"Hal"},"finish_reason":null}]}\n\n'
)

SAMPLE = DialectSample(
    dialect=DIALECT,
    errors=_ERRORS,
    error_in_200=(_error("Rate limit reached", type="tokens", code="rate_limit_exceeded"), _K.RATE_LIMITED),
    error_in_stream=(
        _CHUNK + b'data: {"error":{"message":"The server had an error","type":"server_error"}}\n\n',
        _K.SERVER_ERROR,
    ),
    carried=carried,
)
