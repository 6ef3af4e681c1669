"""OpenAI's Responses row in the contract suite."""

from __future__ import annotations

from typing import Any

import orjson

from adapters.providers.openai_responses import DIALECT
from adapters.providers.openai_responses.build import ENCRYPTED, LOGPROBS
from service.domain.failure import FailureKind
from service.domain.fields import Field
from tests.contract.sample import DialectSample, ErrorSample

_TOP_LEVEL = {
    "max_output_tokens": Field.MAX_OUTPUT_TOKENS,
    **{
        field.value: field
        for field in DIALECT.expressible
        if "." not in field.value and field not in (Field.TOOLS, Field.FILE_INPUT, Field.INCLUDE)
    },
}
_REASONING = {
    "effort": Field.REASONING_EFFORT,
    "summary": Field.REASONING_SUMMARY,
    "context": Field.REASONING_CONTEXT,
}
_FORMATS = {"json_object": Field.JSON_OBJECT, "json_schema": Field.JSON_SCHEMA, "yaml": Field.OPAQUE_FORMAT}
_TOOLS = {
    "function": Field.TOOLS,
    "custom": Field.CUSTOM_TOOLS,
    "local_shell": Field.LOCAL_TOOLS,
    "shell": Field.LOCAL_TOOLS,
    "apply_patch": Field.LOCAL_TOOLS,
    "web_search": Field.OPAQUE_TOOLS,
}
_PARTS = {
    "input_image": Field.IMAGE_INPUT,
    "input_file": Field.FILE_INPUT,
    "video_url": Field.OPAQUE_INPUT,
}

_FILE = {"detail": Field.FILE_DETAIL, "file_url": Field.FILE_URL}


def carried(body: dict[str, Any]) -> set[Field]:
    """The fields that a request body holds."""
    assert body["store"] is False
    found: set[Field] = {field for name, field in _TOP_LEVEL.items() if name in body}
    found |= {field for name, field in _REASONING.items() if name in body.get("reasoning", {})}
    if "include_obfuscation" in body.get("stream_options", {}):
        found.add(Field.OBFUSCATION)
    text = body.get("text", {})
    if "verbosity" in text:
        found.add(Field.VERBOSITY)
    if text.get("format", {}).get("type") in _FORMATS:
        found.add(_FORMATS[text["format"]["type"]])
    for name in body.get("include", []):
        if name != ENCRYPTED:
            found.add(Field.LOGPROBS if name == LOGPROBS else Field.INCLUDE)
    for tool in body.get("tools", []):
        found |= _tool(tool)
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] == "allowed_tools":
        found.add(Field.TOOL_CHOICE_ALLOWED)
    for item in body["input"]:
        found |= _item(item)
    return found


def _tool(tool: dict[str, Any]) -> set[Field]:
    found: set[Field] = {_TOOLS[tool["type"]]}
    if "defer_loading" in tool:
        found.add(Field.TOOL_DETAILS)
    if tool.get("format", {}).get("type") == "grammar":
        found.add(Field.CUSTOM_GRAMMAR)
    return found


def _item(item: dict[str, Any]) -> set[Field]:
    found: set[Field] = {Field.PHASE} if "phase" in item else set()
    output = item.get("output")
    if isinstance(output, list) and any(part.get("type") in ("input_image", "input_file") for part in output):
        found.add(Field.TOOL_MEDIA)
    content = item.get("content", item.get("output"))
    for part in content if isinstance(content, list) else ():
        if part["type"] in _PARTS:
            found.add(_PARTS[part["type"]])
        if part["type"] == "input_image" and part["detail"] != "auto":
            # The schema wants a detail with every image.
            found.add(Field.IMAGE_DETAIL)
        if not part.get("image_url", "data:").startswith("data:"):
            found.add(Field.IMAGE_URL)
        if part["type"] == "input_file":
            found |= {field for name, field in _FILE.items() if name in part}
        if "prompt_cache_breakpoint" in part:
            found.add(Field.PROMPT_CACHE_BREAKPOINT)
        if part.get("annotations"):
            found.add(Field.ANNOTATION_HISTORY)
    return found


def _error(message: str, **more: Any) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": None, "param": None, "code": None} | more})


_K = FailureKind
_ERRORS = (
    ErrorSample(
        400,
        _error("Invalid type for 'input'.", type="invalid_request_error", param="input", code="invalid_type"),
        _K.INVALID_REQUEST,
        says="Invalid type for 'input'.",
    ),
    ErrorSample(
        400,
        _error(
            "Your input exceeds the context window of this model.",
            param="input",
            code="context_length_exceeded",
        ),
        _K.CONTEXT_LENGTH,
        says="context window",
    ),
    # OpenAI answers an unknown model with 400 here, and with 404 on its chat endpoint.
    ErrorSample(
        400,
        _error("The requested model 'x' does not exist.", param="model", code="model_not_found"),
        _K.MODEL_MISSING,
    ),
    ErrorSample(
        400,
        _error("The response was filtered.", code="content_filter"),
        _K.CONTENT_POLICY,
    ),
    ErrorSample(401, _error("Incorrect API key provided: sk-secret123.", code="invalid_api_key"), _K.AUTH),
    ErrorSample(402, _error("Insufficient credits", code=402), _K.QUOTA, says="Insufficient credits"),
    ErrorSample(403, _error("Country not supported"), _K.AUTH),
    ErrorSample(404, b'{"detail":"Not Found"}', _K.MODEL_MISSING, says="Not Found"),
    ErrorSample(404, _error("Item with id 'rs_1' not found.", param="input"), _K.INVALID_REQUEST),
    ErrorSample(408, b"upstream request timeout", _K.TIMEOUT, says="upstream request timeout"),
    ErrorSample(413, _error("Request too large"), _K.TOO_LARGE),
    ErrorSample(429, _error("Slow down", code="rate_limit_exceeded"), _K.RATE_LIMITED, {"retry-after": "7"}, 7.0),
    ErrorSample(429, _error("You exceeded your current quota", code="insufficient_quota"), _K.QUOTA),
    ErrorSample(500, _error("The server had an error", type="server_error"), _K.SERVER_ERROR),
    ErrorSample(502, b"<html><h1>Bad gateway</h1></html>", _K.SERVER_ERROR, says="status 502"),
    ErrorSample(503, _error("The engine is overloaded"), _K.OVERLOADED, {"retry-after-ms": "1500"}, 1.5),
    ErrorSample(504, b"", _K.TIMEOUT, says="status 504"),
    ErrorSample(529, _error("overloaded"), _K.OVERLOADED),
    ErrorSample(418, b"", _K.UNKNOWN),
)

_EVENTS = (
    b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"r",'
    b'"object":"response","created_at":1,"model":"m","status":"in_progress","output":[]}}\n\n'
    b'event: response.output_item.added\ndata: {"type":"response.output_item.added","sequence_number":1,'
    b'"output_index":0,"item":{"id":"msg","type":"message","role":"assistant","content":[]}}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":2,'
    b'"item_id":"msg","output_index":0,"content_index":0,"delta":"Hal","logprobs":[]}\n\n'
)

SAMPLE = DialectSample(
    dialect=DIALECT,
    errors=_ERRORS,
    error_in_200=(_error("Rate limit reached", code="rate_limit_exceeded"), _K.RATE_LIMITED),
    error_in_stream=(
        _EVENTS
        + b'event: response.failed\ndata: {"type":"response.failed","sequence_number":3,"response":{"id":"r",'
        b'"status":"failed","error":{"code":"server_error","message":"An error occurred."},"output":[]}}\n\n',
        _K.SERVER_ERROR,
    ),
    carried=carried,
    lacks={"stop_sequence": "this API takes no stop sequences"},
)
