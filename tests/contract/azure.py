"""Azure's row in the contract suite: OpenAI chat's, less what Azure's paths don't take."""

from __future__ import annotations

from typing import Any

import orjson

from adapters.providers.azure import DIALECT
from service.domain.failure import FailureKind
from tests.contract import openai_chat
from tests.contract.sample import DialectSample, ErrorSample


def _error(message: str, **more: Any) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": None, "param": None, "code": None} | more})


def filtered(**filters: dict[str, Any]) -> bytes:
    """A prompt that Azure's filters stopped (learn.microsoft.com, content filtering)."""
    return _error(
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        param="prompt",
        code="content_filter",
        status=400,
        innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": filters},
    )


_K = FailureKind
_SAFE = {"filtered": False, "severity": "safe"}
_ERRORS = (
    ErrorSample(
        400,
        filtered(hate=_SAFE, jailbreak={"filtered": True, "detected": True}, violence=_SAFE),
        _K.CONTENT_POLICY,
        says="content management policy. (jailbreak)",
    ),
    ErrorSample(
        400,
        filtered(hate={"filtered": True, "severity": "high"}, self_harm={"filtered": True, "severity": "medium"}),
        _K.CONTENT_POLICY,
        says="(hate, self_harm)",
    ),
    ErrorSample(
        400,
        _error("Unrecognized request argument supplied: stream_options", type="invalid_request_error"),
        _K.INVALID_REQUEST,
        says="stream_options",
    ),
    ErrorSample(
        400,
        _error("This model's maximum context length is 8192 tokens.", code="context_length_exceeded"),
        _K.CONTEXT_LENGTH,
    ),
    ErrorSample(
        401,
        orjson.dumps({"error": {"code": "401", "message": "Access denied due to invalid subscription key."}}),
        _K.AUTH,
        says="Access denied",
    ),
    ErrorSample(401, b'{"statusCode":401,"message":"Unauthorized. Access token is missing."}', _K.AUTH),
    ErrorSample(402, _error("Payment required"), _K.QUOTA),
    ErrorSample(403, _error("Public access is disabled.", code="AccessDenied"), _K.AUTH, says="Public access"),
    ErrorSample(
        404,
        _error("The API deployment for this resource does not exist.", code="DeploymentNotFound"),
        _K.MODEL_MISSING,
    ),
    ErrorSample(404, orjson.dumps({"error": {"code": "404", "message": "Resource not found"}}), _K.MODEL_MISSING),
    ErrorSample(408, _error("The operation was timeout.", code="Timeout"), _K.TIMEOUT),
    ErrorSample(413, b"", _K.TOO_LARGE),
    ErrorSample(
        429,
        orjson.dumps({"error": {"code": "429", "message": "Over the call rate limit. Retry after 3 s."}}),
        _K.RATE_LIMITED,
        {"retry-after": "3"},
        3.0,
        says="call rate limit",
    ),
    ErrorSample(429, _error("You exceeded your quota.", code="insufficient_quota"), _K.QUOTA),
    ErrorSample(500, _error("The server had an error", type="server_error"), _K.SERVER_ERROR),
    ErrorSample(503, b"", _K.OVERLOADED, {"retry-after-ms": "250"}, 0.25),
    ErrorSample(504, b"", _K.TIMEOUT),
    ErrorSample(529, b"", _K.OVERLOADED),
)

_PROMPT = (
    b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,'
    b'"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}\n\n'
)
_CHUNK = (
    b'data: {"choices":[{"content_filter_results":{},"delta":{"content":"Hal","role":"assistant"},'
    b'"finish_reason":null,"index":0}],"created":1,"id":"c","model":"m","object":"chat.completion.chunk"}\n\n'
)

SAMPLE = DialectSample(
    dialect=DIALECT,
    errors=_ERRORS,
    error_in_200=(filtered(hate={"filtered": True, "severity": "high"}), _K.CONTENT_POLICY),
    error_in_stream=(
        _PROMPT + _CHUNK + b'data: {"error":{"message":"The server had an error","type":"server_error"}}\n\n',
        _K.SERVER_ERROR,
    ),
    carried=openai_chat.carried,
)
