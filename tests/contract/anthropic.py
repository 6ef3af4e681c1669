"""Anthropic's row in the contract suite."""

from __future__ import annotations

from typing import Any

import orjson

from adapters.providers.anthropic import DIALECT
from service.domain.failure import FailureKind
from service.domain.fields import Field
from tests.contract.sample import DialectSample, ErrorSample

_TOP_LEVEL = {
    "temperature": Field.TEMPERATURE,
    "top_p": Field.TOP_P,
    "stop_sequences": Field.STOP,
    "thinking": Field.REASONING_EFFORT,
    "tools": Field.TOOLS,
    "metadata": Field.USER,
    "cache_control": Field.PROMPT_CACHE_OPTIONS,
}
_BLOCKS = {"image": Field.IMAGE_INPUT, "document": Field.FILE_INPUT}
_ADDRESSES = {"image": Field.IMAGE_URL, "document": Field.FILE_URL}
_ENDPOINTS_LIMIT = 4096


def carried(body: dict[str, Any]) -> set[Field]:
    """The fields that a request body holds."""
    found = {field for name, field in _TOP_LEVEL.items() if name in body}
    if body["max_tokens"] != _ENDPOINTS_LIMIT:
        # The wire demands a limit: it is the caller's when it is not the endpoint's.
        found.add(Field.MAX_OUTPUT_TOKENS)
    if "format" in body.get("output_config", {}):
        found.add(Field.JSON_SCHEMA)
    choice = body.get("tool_choice")
    if choice is not None:
        if "disable_parallel_tool_use" in choice:
            found.add(Field.PARALLEL_TOOL_CALLS)
        if choice.keys() == {"type"} or choice["type"] != "auto":
            # An auto object with the flag may have been made for the flag.
            found.add(Field.TOOL_CHOICE)
    system = body.get("system", "")
    for content in [system, *(message["content"] for message in body["messages"])]:
        if isinstance(content, list):
            for block in content:
                found |= _block(block)
    return found


def _block(block: dict[str, Any]) -> set[Field]:
    found = {_BLOCKS[block["type"]]} if block["type"] in _BLOCKS else set()
    if block.get("source", {}).get("type") == "url":
        found.add(_ADDRESSES[block["type"]])
    inner = block.get("content") if block["type"] == "tool_result" else None
    if isinstance(inner, list) and any(part["type"] in _BLOCKS for part in inner):
        found.add(Field.TOOL_MEDIA)
    if "cache_control" in block:
        found.add(Field.PROMPT_CACHE_BREAKPOINT)
        if "ttl" in block["cache_control"]:
            found.add(Field.PROMPT_CACHE_OPTIONS)
    return found


def _error(kind: str, message: str, **details: Any) -> bytes:
    error: dict[str, Any] = {"type": kind, "message": message}
    if details:
        error["details"] = details
    return orjson.dumps({"type": "error", "error": error, "request_id": "req_1"})


_K = FailureKind
_ERRORS = (
    ErrorSample(
        400,
        _error("invalid_request_error", "messages.0: Input does not match the expected shape."),
        _K.INVALID_REQUEST,
        says="messages.0: Input does not match",
    ),
    ErrorSample(
        400,
        _error("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        _K.CONTEXT_LENGTH,
        says="210000 tokens",
    ),
    ErrorSample(
        400,
        _error(
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        ),
        _K.CONTEXT_LENGTH,
    ),
    ErrorSample(
        400, _error("invalid_request_error", "Output blocked by content filtering policy"), _K.CONTENT_POLICY
    ),
    ErrorSample(
        400,
        _error("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        _K.QUOTA,
    ),
    ErrorSample(401, _error("authentication_error", "invalid x-api-key sk-ant-secret"), _K.AUTH),
    ErrorSample(402, _error("billing_error", "There is an issue with billing."), _K.QUOTA),
    ErrorSample(403, _error("permission_error", "No access to this resource."), _K.AUTH),
    ErrorSample(404, _error("not_found_error", "model: claude-none"), _K.MODEL_MISSING, says="claude-none"),
    ErrorSample(408, b"timeout", _K.TIMEOUT),
    ErrorSample(413, _error("request_too_large", "Request exceeds the maximum size"), _K.TOO_LARGE),
    ErrorSample(
        429,
        _error("rate_limit_error", "Number of requests exceeded"),
        _K.RATE_LIMITED,
        {"retry-after": "12"},
        12.0,
    ),
    ErrorSample(
        429,
        _error("rate_limit_error", "Spend limit", error_code="enforced_spend_limit_reached"),
        _K.QUOTA,
        {"retry-after": "12"},
        12.0,
    ),
    ErrorSample(429, _error("rate_limit_error", "Ramp", error_code="ramp_limit_exceeded"), _K.RATE_LIMITED),
    ErrorSample(500, _error("api_error", "Internal server error"), _K.SERVER_ERROR),
    ErrorSample(502, b"<html><h1>Bad gateway</h1></html>", _K.SERVER_ERROR, says="status 502"),
    ErrorSample(503, b'{"error":"unavailable"}', _K.OVERLOADED, says="unavailable"),
    ErrorSample(504, _error("timeout_error", "Timed out"), _K.TIMEOUT),
    ErrorSample(529, _error("overloaded_error", "Overloaded"), _K.OVERLOADED, says="Overloaded"),
    ErrorSample(418, b"", _K.UNKNOWN),
)

_START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message",'
    b'"role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,'
    b'"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"Hal"}}\n\n'
)

SAMPLE = DialectSample(
    dialect=DIALECT,
    errors=_ERRORS,
    error_in_200=(_error("rate_limit_error", "Slow down"), _K.RATE_LIMITED),
    error_in_stream=(
        _START + b"event: error\ndata: " + _error("overloaded_error", "Overloaded") + b"\n\n",
        _K.OVERLOADED,
    ),
    carried=carried,
    lacks={"refusal": "a refusal is a stop reason here, with no text of its own: see content_filter"},
)
