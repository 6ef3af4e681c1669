"""What every provider's failures mean, in one table over all dialects.

The bodies are written after the documentation that each row names; recorded ones are read at the end.
"""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from service.domain.errors import ERRORS
from service.domain.failure import HARMS_HEALTH, REASONS, TRY_ELSEWHERE
from service.domain.failure import FailureKind as K
from tests.contract.dialects import DIALECTS

BY_NAME: Final = {sample.name: sample.dialect for sample in DIALECTS}

OUTCOMES: Final[dict[K, tuple[bool, bool, str]]] = {
    K.INVALID_REQUEST: (False, False, "PROVIDER_REJECTED"),
    K.CONTEXT_LENGTH: (False, False, "CONTEXT_LENGTH_EXCEEDED"),
    K.CONTENT_POLICY: (False, False, "CONTENT_POLICY"),
    K.TOO_LARGE: (False, False, "BODY_TOO_LARGE"),
    K.AUTH: (True, True, "PROVIDER_AUTH_FAILED"),
    K.QUOTA: (True, True, "PROVIDER_QUOTA_SPENT"),
    K.MODEL_MISSING: (True, True, "PROVIDER_MODEL_MISSING"),
    K.RATE_LIMITED: (True, True, "PROVIDER_RATE_LIMITED"),
    K.OVERLOADED: (True, True, "PROVIDER_UNAVAILABLE"),
    K.SERVER_ERROR: (True, True, "PROVIDER_UNAVAILABLE"),
    K.TIMEOUT: (True, True, "PROVIDER_TIMEOUT"),
}
"""By kind: whether another endpoint is asked, whether the endpoint cools down, what the caller is told.

A context that is too short is a case of its own: endpoints with a longer one are asked."""


@dataclass(frozen=True)
class Row:
    """One failed answer and what it is taken for. `body`: a document, or text as it is."""

    dialect: str
    source: str
    status: int
    body: Any
    kind: K
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float | None = None

    def __str__(self) -> str:
        return f"{self.dialect}-{self.status}-{self.kind}"

    @property
    def raw(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


def openai(message: str, code: str | None = None, kind: str = "invalid_request_error", **more: Any) -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


def anthropic(kind: str, message: str, **details: Any) -> Any:
    return {"type": "error", "error": {"type": kind, "message": message, **details}, "request_id": "req_1"}


def aws(name: str, message: str) -> dict[str, Any]:
    kind = f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"
    return {"body": {"message": message}, "headers": {"x-amzn-errortype": kind}}


def google(code: int, status: str, message: str, *details: Any) -> Any:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


_OPENAI: Final = "platform.openai.com/docs/guides/error-codes"
_TOO_LONG: Final = (
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
)


def openai_rows(dialect: str) -> Iterator[Row]:
    def row(status: int, body: Any, kind: K, **more: Any) -> Row:
        return Row(dialect, _OPENAI, status, body, kind, **more)

    spent = "You exceeded your current quota, please check your plan and billing details."
    yield row(401, openai("Incorrect API key provided: sk-x.", "invalid_api_key"), K.AUTH)
    yield row(
        403, openai("Country, region, or territory not supported", "unsupported_country_region_territory"), K.AUTH
    )
    yield row(404, openai("The model does not exist", "model_not_found"), K.MODEL_MISSING)
    yield row(
        429,
        openai("Rate limit reached", "rate_limit_exceeded", "tokens"),
        K.RATE_LIMITED,
        headers={"retry-after-ms": "800", "retry-after": "1"},
        wait=0.8,
    )
    yield row(
        429,
        openai("Rate limit reached", "rate_limit_exceeded", "requests"),
        K.RATE_LIMITED,
        headers={"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"},
        wait=360.0,
    )
    yield row(429, openai(spent, "insufficient_quota", "insufficient_quota"), K.QUOTA)
    yield row(400, openai("Billing hard limit has been reached", "billing_hard_limit_reached"), K.QUOTA)
    yield row(
        500, openai("The server had an error while processing your request", None, "server_error"), K.SERVER_ERROR
    )
    yield row(
        503,
        openai("The engine is currently overloaded, please try again later", None, "server_error"),
        K.OVERLOADED,
    )
    yield row(400, openai(_TOO_LONG, "context_length_exceeded"), K.CONTEXT_LENGTH)
    yield row(
        400, openai("Your request was rejected by our safety system", "content_policy_violation"), K.CONTENT_POLICY
    )
    yield row(400, openai("Invalid 'temperature'", "decimal_above_max_value"), K.INVALID_REQUEST)


_COMPATIBLE: Final = (
    # vllm-project/vllm: vllm/entrypoints/openai (ErrorResponse)
    Row(
        "openai_chat",
        "vLLM",
        400,
        {"object": "error", "message": _TOO_LONG, "type": "BadRequestError", "param": None, "code": 400},
        K.CONTEXT_LENGTH,
    ),
    Row(
        "openai_chat",
        "vLLM",
        404,
        {
            "object": "error",
            "message": "The model `x` does not exist.",
            "type": "NotFoundError",
            "param": None,
            "code": 404,
        },
        K.MODEL_MISSING,
    ),
    # ggml-org/llama.cpp: tools/server (format_error_response)
    Row(
        "openai_chat",
        "llama.cpp",
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 9000,
                "n_ctx": 4096,
            }
        },
        K.CONTEXT_LENGTH,
    ),
    Row(
        "openai_chat",
        "llama.cpp",
        503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        K.OVERLOADED,
    ),
    # huggingface/text-generation-inference: router/src/validation.rs, infer
    Row(
        "openai_chat",
        "TGI",
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. "
            "Given: 4000 `inputs` tokens and 200 `max_new_tokens`",
            "error_type": "validation",
        },
        K.CONTEXT_LENGTH,
    ),
    Row("openai_chat", "TGI", 429, {"error": "Model is overloaded", "error_type": "overloaded"}, K.RATE_LIMITED),
    # sgl-project/sglang: tokenizer manager
    Row(
        "openai_chat",
        "SGLang",
        400,
        {
            "object": "error",
            "message": "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
            "type": "BadRequestError",
            "code": 400,
        },
        K.CONTEXT_LENGTH,
    ),
    # docs.ollama.com/api/errors
    Row(
        "openai_chat",
        "Ollama",
        404,
        {"error": {"message": "model 'x' not found", "type": "api_error", "code": None}},
        K.MODEL_MISSING,
    ),
    # openrouter.ai/docs/api-reference/errors, api-docs.deepseek.com/quick_start/error_codes,
    # console.groq.com/docs/errors
    Row("openai_chat", "OpenRouter", 402, {"error": {"code": 402, "message": "Insufficient credits"}}, K.QUOTA),
    Row(
        "openai_chat",
        "DeepSeek",
        402,
        openai("Insufficient Balance", "invalid_request_error", "unknown_error"),
        K.QUOTA,
    ),
    Row("openai_chat", "Groq", 498, openai("Flex tier capacity exceeded", "capacity_exceeded"), K.OVERLOADED),
    Row("openai_chat", "a proxy", 502, "<html>502 Bad Gateway</html>", K.SERVER_ERROR),
    Row("openai_chat", "a proxy", 504, "<html>504</html>", K.TIMEOUT),
    Row("openai_chat", "a proxy", 529, "", K.OVERLOADED),
)

_CLAUDE: Final = "docs.anthropic.com/en/api/errors"
_ANTHROPIC: Final = (
    Row("anthropic", _CLAUDE, 401, anthropic("authentication_error", "invalid x-api-key"), K.AUTH),
    Row("anthropic", _CLAUDE, 403, anthropic("permission_error", "Your API key does not have permission"), K.AUTH),
    Row("anthropic", _CLAUDE, 404, anthropic("not_found_error", "model: claude-none"), K.MODEL_MISSING),
    Row("anthropic", _CLAUDE, 402, anthropic("billing_error", "Your payment is overdue"), K.QUOTA),
    Row(
        "anthropic",
        _CLAUDE,
        400,
        anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        K.QUOTA,
    ),
    Row(
        "anthropic",
        _CLAUDE,
        429,
        anthropic("rate_limit_error", "This request would exceed your rate limit"),
        K.RATE_LIMITED,
        {"retry-after": "17"},
        17.0,
    ),
    Row(
        "anthropic",
        _CLAUDE,
        429,
        anthropic("rate_limit_error", "Spend limit", details={"error_code": "enforced_spend_limit_reached"}),
        K.QUOTA,
    ),
    Row(
        "anthropic", _CLAUDE, 413, anthropic("request_too_large", "Request exceeds the maximum size"), K.TOO_LARGE
    ),
    Row("anthropic", _CLAUDE, 500, anthropic("api_error", "Internal server error"), K.SERVER_ERROR),
    Row("anthropic", _CLAUDE, 504, anthropic("timeout_error", "Request timed out"), K.TIMEOUT),
    Row("anthropic", _CLAUDE, 529, anthropic("overloaded_error", "Overloaded"), K.OVERLOADED),
    Row(
        "anthropic",
        _CLAUDE,
        400,
        anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        K.CONTEXT_LENGTH,
    ),
    Row(
        "anthropic", _CLAUDE, 400, anthropic("invalid_request_error", "messages.0: wrong shape"), K.INVALID_REQUEST
    ),
    Row(
        "anthropic",
        _CLAUDE,
        400,
        anthropic("invalid_request_error", "Output blocked by content filtering policy"),
        K.CONTENT_POLICY,
    ),
)

_AWS: Final = "docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html"
_BEDROCK: Final = (
    Row("bedrock", _AWS, 403, kind=K.AUTH, **aws("AccessDeniedException", "You don't have access to the model")),
    Row("bedrock", _AWS, 403, kind=K.AUTH, **aws("UnrecognizedClientException", "The security token is invalid.")),
    Row(
        "bedrock",
        _AWS,
        404,
        kind=K.MODEL_MISSING,
        **aws("ResourceNotFoundException", "Could not resolve the model"),
    ),
    Row("bedrock", _AWS, 429, kind=K.RATE_LIMITED, **aws("ThrottlingException", "Too many requests")),
    Row("bedrock", _AWS, 400, kind=K.QUOTA, **aws("ServiceQuotaExceededException", "A quota is exceeded")),
    Row("bedrock", _AWS, 402, {"message": "Payment required"}, K.QUOTA),
    Row("bedrock", _AWS, 408, kind=K.TIMEOUT, **aws("ModelTimeoutException", "The model timed out")),
    Row("bedrock", _AWS, 424, kind=K.SERVER_ERROR, **aws("ModelErrorException", "The model failed")),
    Row("bedrock", _AWS, 429, kind=K.OVERLOADED, **aws("ModelNotReadyException", "The model is not ready")),
    Row("bedrock", _AWS, 500, kind=K.SERVER_ERROR, **aws("InternalServerException", "Internal error")),
    Row("bedrock", _AWS, 503, kind=K.OVERLOADED, **aws("ServiceUnavailableException", "Unavailable")),
    Row(
        "bedrock",
        _AWS,
        400,
        kind=K.CONTEXT_LENGTH,
        **aws("ValidationException", "Input is too long for requested model."),
    ),
    Row(
        "bedrock",
        _AWS,
        400,
        kind=K.CONTENT_POLICY,
        **aws("ValidationException", "Output blocked by content filtering policy"),
    ),
    Row("bedrock", _AWS, 400, kind=K.INVALID_REQUEST, **aws("ValidationException", "1 validation error detected")),
)


def mistral(message: Any, kind: str, code: str) -> Any:
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


_LA_PLATEFORME: Final = "docs.mistral.ai: API errors; shared OpenAPI description (HTTPValidationError)"
_MISTRAL: Final = (
    Row("mistral", _LA_PLATEFORME, 401, {"detail": "Unauthorized"}, K.AUTH),
    Row("mistral", _LA_PLATEFORME, 402, {"detail": "Payment required"}, K.QUOTA),
    Row("mistral", _LA_PLATEFORME, 400, mistral("Invalid model: x", "invalid_model", "1500"), K.MODEL_MISSING),
    Row(
        "mistral",
        _LA_PLATEFORME,
        429,
        mistral("Rate limit exceeded", "rate_limited", "1300"),
        K.RATE_LIMITED,
        {"x-ratelimit-reset-req-minute": "20"},
        20.0,
    ),
    Row(
        "mistral",
        _LA_PLATEFORME,
        400,
        mistral(
            "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
            "invalid_request_prompt",
            "3051",
        ),
        K.CONTEXT_LENGTH,
    ),
    Row(
        "mistral",
        _LA_PLATEFORME,
        422,
        {"detail": [{"loc": ["body", "temperature"], "msg": "too high", "type": "x"}]},
        K.INVALID_REQUEST,
    ),
    Row(
        "mistral",
        _LA_PLATEFORME,
        500,
        mistral("Service unavailable.", "internal_server_error", "1000"),
        K.SERVER_ERROR,
    ),
    Row(
        "mistral",
        _LA_PLATEFORME,
        503,
        mistral("Service unavailable.", "unreachable_backend", "1100"),
        K.OVERLOADED,
    ),
)

_FOUNDRY: Final = "learn.microsoft.com/azure/ai-foundry/openai: quotas, content filtering, reference"
_FILTERED: Final = openai(
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
    "content_filter",
    status=400,
    innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"violence": {"filtered": True}}},
)
_AZURE: Final = (
    Row(
        "azure",
        _FOUNDRY,
        401,
        {"error": {"code": "401", "message": "Access denied due to invalid subscription key"}},
        K.AUTH,
    ),
    Row("azure", _FOUNDRY, 401, {"statusCode": 401, "message": "Unauthorized. Access token is missing"}, K.AUTH),
    Row(
        "azure",
        _FOUNDRY,
        403,
        {"error": {"code": "AccessDenied", "message": "Public access is disabled."}},
        K.AUTH,
    ),
    Row(
        "azure",
        _FOUNDRY,
        404,
        {"error": {"code": "DeploymentNotFound", "message": "no such deployment"}},
        K.MODEL_MISSING,
    ),
    Row(
        "azure",
        _FOUNDRY,
        429,
        {"error": {"code": "429", "message": "exceeded token rate limit"}},
        K.RATE_LIMITED,
        {"retry-after": "6"},
        6.0,
    ),
    Row("azure", _FOUNDRY, 429, openai("You exceeded your current quota", "insufficient_quota"), K.QUOTA),
    Row("azure", _FOUNDRY, 400, openai(_TOO_LONG, "context_length_exceeded"), K.CONTEXT_LENGTH),
    Row("azure", _FOUNDRY, 400, _FILTERED, K.CONTENT_POLICY),
    Row("azure", _FOUNDRY, 400, openai("Unrecognized request argument", None), K.INVALID_REQUEST),
    Row(
        "azure",
        _FOUNDRY,
        500,
        {"error": {"code": "InternalServerError", "message": "Backend failed"}},
        K.SERVER_ERROR,
    ),
    Row("azure", _FOUNDRY, 503, {"error": {"code": "ServiceUnavailable", "message": "busy"}}, K.OVERLOADED),
)

_AI: Final = "ai.google.dev/gemini-api/docs/troubleshooting, google.aip.dev/193"
_DAY: Final = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "RequestsPerDayPerProject"}],
}
_MINUTE: Final = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "RequestsPerMinute"}],
}
_SOON: Final = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36.5s"}
_NO_KEY: Final = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
}
_GEMINI: Final = (
    Row("gemini", _AI, 400, google(400, "INVALID_ARGUMENT", "API key not valid.", _NO_KEY), K.AUTH),
    Row("gemini", _AI, 403, google(403, "PERMISSION_DENIED", "The caller does not have permission"), K.AUTH),
    Row("gemini", _AI, 404, google(404, "NOT_FOUND", "models/none is not found"), K.MODEL_MISSING),
    Row("gemini", _AI, 429, google(429, "RESOURCE_EXHAUSTED", "Quota", _MINUTE, _SOON), K.RATE_LIMITED, wait=36.5),
    Row("gemini", _AI, 429, google(429, "RESOURCE_EXHAUSTED", "Quota", _DAY), K.QUOTA),
    Row("gemini", _AI, 500, google(500, "INTERNAL", "An internal error has occurred"), K.SERVER_ERROR),
    Row("gemini", _AI, 503, google(503, "UNAVAILABLE", "The model is overloaded."), K.OVERLOADED),
    Row("gemini", _AI, 504, google(504, "DEADLINE_EXCEEDED", "too long"), K.TIMEOUT),
    Row(
        "gemini",
        _AI,
        400,
        google(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
        ),
        K.CONTEXT_LENGTH,
    ),
    Row("gemini", _AI, 400, google(400, "INVALID_ARGUMENT", "contents is not specified"), K.INVALID_REQUEST),
)

TABLE: Final = (
    *openai_rows("openai_chat"),
    *openai_rows("openai_responses"),
    *_COMPATIBLE,
    *_ANTHROPIC,
    *_BEDROCK,
    *_MISTRAL,
    *_AZURE,
    *_GEMINI,
)

NOT_AN_ERROR: Final = {
    ("gemini", K.CONTENT_POLICY): "a blocked prompt is an answer with promptFeedback, status 200",
    ("mistral", K.CONTENT_POLICY): "no code for it is documented",
}


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_a_failed_answer_is_taken_for_what_its_provider_means_by_it(row: Row) -> None:
    failure = BY_NAME[row.dialect].classify(row.status, row.headers, row.raw)
    assert failure.kind is row.kind
    assert failure.status == row.status
    assert failure.retry_after == row.wait
    elsewhere, harms, reason = OUTCOMES[failure.kind]
    assert (failure.kind in TRY_ELSEWHERE) == elsewhere
    assert (failure.kind in HARMS_HEALTH) == harms
    assert REASONS[failure.kind].value == reason


def test_every_dialect_has_every_kind_of_failure_in_the_table() -> None:
    needed = set(OUTCOMES) - {K.TOO_LARGE, K.TIMEOUT}
    for name in BY_NAME:
        found = {row.kind for row in TABLE if row.dialect == name}
        missing = {kind for kind in needed - found if (name, kind) not in NOT_AN_ERROR}
        assert not missing, name


@pytest.mark.parametrize("sample", DIALECTS, ids=lambda sample: sample.name)
@pytest.mark.parametrize(
    "body", [b"", b"{}", b"null", b"[]", b'{"error":null}', b'{"error":[]}', b"<html></html>", b"\xff"]
)
def test_a_status_without_a_word_of_the_provider_says_enough(sample: Any, body: bytes) -> None:
    expected = {
        401: K.AUTH,
        402: K.QUOTA,
        403: K.AUTH,
        404: K.MODEL_MISSING,
        408: K.TIMEOUT,
        429: K.RATE_LIMITED,
        500: K.SERVER_ERROR,
        502: K.SERVER_ERROR,
        503: K.OVERLOADED,
        504: K.TIMEOUT,
        529: K.OVERLOADED,
    }
    for status, kind in expected.items():
        assert sample.dialect.classify(status, {}, body).kind is kind, status


@pytest.mark.parametrize("sample", DIALECTS, ids=lambda sample: sample.name)
def test_every_dialect_honours_every_form_of_retry_after(sample: Any) -> None:
    date = {"date": "Sat, 22 Nov 2025 03:00:10 GMT", "retry-after": "Sat, 22 Nov 2025 03:00:30 GMT"}
    for headers, wait in (
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        (date, 20.0),
        ({"x-ratelimit-reset-tokens": "1m30s"}, 90.0),
        ({}, None),
    ):
        assert sample.dialect.classify(429, headers, b"{}").retry_after == wait


def test_no_failure_of_a_provider_is_the_callers_to_authenticate() -> None:
    for kind in OUTCOMES:
        told = ERRORS[REASONS[kind]]
        assert told.grpc != "UNAUTHENTICATED"
        assert told.http != 401


SPOKEN: Final = {
    "openai.chat": "openai_chat",
    "openai.responses": "openai_responses",
    "anthropic.messages": "anthropic",
    "azure.chat": "azure",
    "bedrock.converse": "bedrock",
    "bedrock.converse_stream": "bedrock",
}
RECORDED: Final = {
    "invalid_api_key": K.AUTH,
    "invalid_image_url": K.INVALID_REQUEST,
    "model_not_found": K.MODEL_MISSING,
    "DeploymentNotFound": K.MODEL_MISSING,
    "authentication_error": K.AUTH,
    "invalid_request_error": K.INVALID_REQUEST,
    "ExpiredTokenException": K.AUTH,
    "ValidationException": K.MODEL_MISSING,
}
"""By the code that each recorded error has; Bedrock's says in words that the model's name is wrong."""


def test_every_recorded_error_is_taken_for_what_it_is(shared: Path) -> None:
    kinds: Counter[K] = Counter()
    with lzma.open(shared / "fixtures" / "recorded-exchanges.jsonl.xz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows:
        if row["status"] < 400:
            continue
        body = row["body"].encode()
        failure = BY_NAME[SPOKEN[row["kind"]]].classify(row["status"], row["headers"] or {}, body)
        assert failure.code is not None, row["body"]
        assert failure.kind is RECORDED[failure.code], row["body"]
        assert failure.status == row["status"]
        said = json.loads(body)
        message = said.get("message") or said["error"]["message"]
        assert failure.message.split()[:3] == message.split()[:3]
        kinds[failure.kind] += 1
    assert kinds == {K.AUTH: 8, K.INVALID_REQUEST: 5, K.MODEL_MISSING: 10}
