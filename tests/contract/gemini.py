"""Gemini's row in the contract suite.

No exchange of this wire is recorded. Answers are made by hand after the types of the SDK `google-genai` 3.4; error
bodies are google.rpc.Status with the details that Google documents for it: google.aip.dev/193,
google.api.ErrorReason, ai.google.dev/gemini-api/docs/troubleshooting and docs/rate-limits.
"""

from __future__ import annotations

from typing import Any

import orjson

from adapters.providers.gemini import DIALECT
from service.domain.failure import FailureKind
from service.domain.fields import Field
from tests.contract.sample import DialectSample, ErrorSample

_CONFIG = {
    "temperature": Field.TEMPERATURE,
    "topP": Field.TOP_P,
    "maxOutputTokens": Field.MAX_OUTPUT_TOKENS,
    "stopSequences": Field.STOP,
    "seed": Field.SEED,
    "presencePenalty": Field.PRESENCE_PENALTY,
    "frequencyPenalty": Field.FREQUENCY_PENALTY,
    "candidateCount": Field.N,
    "responseLogprobs": Field.LOGPROBS,
    "logprobs": Field.TOP_LOGPROBS,
}
_ALLOWED_IN_THE_PROBE = ["get_time"]


def carried(body: dict[str, Any]) -> set[Field]:
    """The fields that a request body holds."""
    config = body.get("generationConfig", {})
    found = {field for name, field in _CONFIG.items() if name in config}
    if "responseJsonSchema" in config:
        found.add(Field.JSON_SCHEMA)
    elif "responseMimeType" in config:
        found.add(Field.JSON_OBJECT)
    thinking = config.get("thinkingConfig")
    if thinking is not None:
        # Who asks for an effort gets to see the thoughts, too.
        found.add(Field.REASONING_SUMMARY if thinking.keys() == {"includeThoughts"} else Field.REASONING_EFFORT)
    if "tools" in body:
        found.add(Field.TOOLS)
    if "toolConfig" in body:
        names = body["toolConfig"]["functionCallingConfig"].get("allowedFunctionNames")
        found |= {Field.TOOL_CHOICE} | ({Field.TOOL_CHOICE_ALLOWED} if names == _ALLOWED_IN_THE_PROBE else set())
    if "serviceTier" in body:
        found.add(Field.SERVICE_TIER)
    for content in body["contents"]:
        for part in content["parts"]:
            found |= _part(part)
    return found


def _part(part: dict[str, Any]) -> set[Field]:
    if "functionResponse" in part:
        media = part["functionResponse"].get("parts", [])
        return {Field.TOOL_MEDIA, *(field for inner in media for field in _part(inner))} if media else set()
    kind = part.get("inlineData", {}).get("mimeType", "")
    if kind.startswith("image/"):
        return {Field.IMAGE_INPUT}
    if kind.startswith("audio/"):
        return {Field.AUDIO_INPUT}
    return {Field.FILE_INPUT} if kind else set()


def error(code: int, status: str, message: str, *details: dict[str, Any]) -> bytes:
    """google.rpc.Status as Google's APIs answer it."""
    body: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        body["details"] = list(details)
    return orjson.dumps({"error": body})


def info(reason: str) -> dict[str, Any]:
    """An ErrorInfo."""
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }


def quota(*ids: str) -> dict[str, Any]:
    """A QuotaFailure."""
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    return {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaMetric": metric, "quotaId": quota_id, "quotaValue": "10"} for quota_id in ids],
    }


def retry(delay: str) -> dict[str, Any]:
    """A RetryInfo."""
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


_K = FailureKind
_MINUTE, _DAY = "GenerateRequestsPerMinutePerProjectPerModel", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
_EXHAUSTED = "You exceeded your current quota, please check your plan and billing details."
_ERRORS = (
    ErrorSample(
        400,
        error(400, "INVALID_ARGUMENT", "* GenerateContentRequest.contents: contents is not specified"),
        _K.INVALID_REQUEST,
        says="contents is not specified",
    ),
    ErrorSample(
        400,
        error(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
        ),
        _K.CONTEXT_LENGTH,
        says="1048577",
    ),
    ErrorSample(
        400,
        error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", info("API_KEY_INVALID")),
        _K.AUTH,
    ),
    ErrorSample(
        400,
        error(400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
        _K.QUOTA,
        says="User location",
    ),
    ErrorSample(401, error(401, "UNAUTHENTICATED", "Bearer secret-token-1234 is not valid."), _K.AUTH),
    ErrorSample(402, error(402, "FAILED_PRECONDITION", "Payment is due."), _K.QUOTA),
    ErrorSample(403, error(403, "PERMISSION_DENIED", "The caller does not have permission"), _K.AUTH),
    ErrorSample(
        403,
        error(403, "PERMISSION_DENIED", "This API method requires billing.", info("BILLING_DISABLED")),
        _K.QUOTA,
    ),
    ErrorSample(
        404,
        error(404, "NOT_FOUND", "models/gemini-none is not found for API version v1beta"),
        _K.MODEL_MISSING,
        says="gemini-none",
    ),
    ErrorSample(408, b"timeout", _K.TIMEOUT),
    ErrorSample(413, b"<html>413</html>", _K.TOO_LARGE),
    ErrorSample(
        429,
        error(429, "RESOURCE_EXHAUSTED", _EXHAUSTED, quota(_MINUTE), retry("36.5s")),
        _K.RATE_LIMITED,
        retry_after=36.5,
        says="your current quota",
    ),
    ErrorSample(
        429,
        error(429, "RESOURCE_EXHAUSTED", _EXHAUSTED, quota(_MINUTE, _DAY), retry("12s")),
        _K.QUOTA,
        retry_after=12.0,
    ),
    ErrorSample(
        429,
        b"[" + error(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).") + b"]",
        _K.RATE_LIMITED,
        {"retry-after": "7"},
        7.0,
        says="Resource has been exhausted",
    ),
    ErrorSample(499, error(499, "CANCELLED", "The operation was cancelled."), _K.UNKNOWN),
    ErrorSample(500, error(500, "INTERNAL", "An internal error has occurred."), _K.SERVER_ERROR),
    ErrorSample(502, b"<html><h1>Bad gateway</h1></html>", _K.SERVER_ERROR, says="status 502"),
    ErrorSample(503, error(503, "UNAVAILABLE", "The model is overloaded."), _K.OVERLOADED, says="overloaded"),
    ErrorSample(504, error(504, "DEADLINE_EXCEEDED", "Deadline expired."), _K.TIMEOUT),
    ErrorSample(529, b'{"error":"overloaded"}', _K.OVERLOADED, says="overloaded"),
    ErrorSample(418, b"", _K.UNKNOWN),
)

_CHUNK = (
    b'data: {"candidates": [{"content": {"parts": [{"text": "Hal"}],"role": "model"},"index": 0}],'
    b'"usageMetadata": {"promptTokenCount": 1},"modelVersion": "m","responseId": "r-1"}\n\n'
)

SAMPLE = DialectSample(
    dialect=DIALECT,
    errors=_ERRORS,
    error_in_200=(error(429, "RESOURCE_EXHAUSTED", "Slow down"), _K.RATE_LIMITED),
    error_in_stream=(
        _CHUNK + b"data: " + error(503, "UNAVAILABLE", "The model is overloaded.") + b"\n\n",
        _K.OVERLOADED,
    ),
    carried=carried,
    lacks={"refusal": "a refusal is a finishReason here, with no text of its own: see content_filter"},
)
