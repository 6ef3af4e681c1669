"""Google's generateContent as the simulator writes it: field sets and order of the types of `google-genai` 3.4.

Errors: google.rpc.Status. A refusal is a SAFETY end here; a script's `choices` and `logprobs` are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from .script import Reason, Script, Usage, pieces
from .wire import Asked, Encoded, Form, JsonObject, Whole, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_ID = "0" * 32
_MARK = _ID.encode()
_SIGNATURE = "c2lnbmVkIGJ5IHRoZSBzaW11bGF0b3IsIG5vdCBieSBhIG1vZGVs"
_MODELS = "/models/{model}"
_BASES = ("/v1beta", "/v1", "/v1/projects/{project}/locations/{location}/publishers/google")
_STREAMS = ":streamGenerateContent"
_FINISH_REASONS = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
_CODES = {Reason.OVERLOADED: 503, Reason.RATE_LIMITED: 429, Reason.INVALID_REQUEST: 400}
_MESSAGES = {
    Reason.CONTEXT_LENGTH: "The input token count (1048577) exceeds the maximum number of tokens allowed.",
    Reason.INVALID_REQUEST: "The simulator was told to reject this request.",
    Reason.INVALID_KEY: "API key not valid. Please pass a valid API key.",
    Reason.FORBIDDEN: "The caller does not have permission",
    Reason.NOT_FOUND: "models/none is not found for API version v1beta",
    Reason.QUOTA: "You exceeded your current quota, please check your plan and billing details.",
    Reason.RATE_LIMITED: "Resource has been exhausted (e.g. check quota).",
    Reason.SERVER_ERROR: "An internal error has occurred.",
    Reason.OVERLOADED: "The model is overloaded. Please try again later.",
}
_SPENT = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}],
}

Part = dict[str, Any]


@dataclass(frozen=True, slots=True)
class GeminiContent:
    """`POST /v1beta/models/MODEL:generateContent` and `:streamGenerateContent`, below Vertex' base as well."""

    name: str = "gemini.content"
    paths: tuple[str, ...] = tuple(
        f"{base}{_MODELS}{method}" for base in _BASES for method in (":generateContent", _STREAMS)
    )
    stream_content_type: str = "text/event-stream"
    request_id_header: str = "x-request-id"

    def read(self, path: str, variables: Mapping[str, str], body: JsonObject) -> Asked:
        contents = body.get("contents")
        if not isinstance(contents, list) or not contents:
            raise ValueError("contents: contents is not specified")
        asked = [content for content in contents if isinstance(content, dict) and content.get("role") != "model"]
        last = text_of(asked[-1].get("parts")) if asked else ""
        return Asked(Form(model=variables["model"], stream=path.endswith(_STREAMS)), last)

    def stamp(self, answer_id: str, now: int, *, stream: bool) -> bytes:  # noqa: ARG002
        return answer_id.encode()

    def stream(self, script: Script, form: Form) -> Encoded:
        counted = script.counted_usage()
        before = _usage(Usage(prompt_tokens=counted.prompt_tokens, cached_tokens=counted.cached_tokens))
        frames = [_frame(_answer(form, [part], before)) for part in _streamed(script)]
        end = _frame(_answer(form, [{"text": ""}], _usage(counted), _finish_reason(script)))
        return Encoded(_MARK, b"", tuple(frames), end)

    def whole(self, script: Script, form: Form) -> Whole:
        answer = _answer(form, _parts(script), _usage(script.counted_usage()), _finish_reason(script))
        return Whole(_MARK, orjson.dumps(answer))

    def error(self, status: int, reason: Reason, message: str | None) -> bytes:
        return _error(status, reason, message)

    def error_event(self, reason: Reason, message: str | None) -> bytes:
        return b"data: %b\n\n" % _error(_CODES.get(reason, 500), reason, message)


def _error(status: int, reason: Reason, message: str | None) -> bytes:
    word = _STATUSES.get(_CODES.get(reason, status), "INTERNAL")
    error: dict[str, Any] = {"code": status, "message": message or _MESSAGES[reason], "status": word}
    if reason is Reason.QUOTA:
        error["details"] = [_SPENT]
    return orjson.dumps({"error": error})


def _frame(answer: JsonObject) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(answer)


def _answer(
    form: Form, parts: list[Part], usage: dict[str, int], finish_reason: str | None = None
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
    if finish_reason:
        candidate["finishReason"] = finish_reason
    candidate["index"] = 0
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": form.model, "responseId": _ID}


def _parts(script: Script) -> list[Part]:
    parts: list[Part] = []
    if script.reasoning:
        parts.append({"text": "".join(script.reasoning), "thought": True})
    if text := "".join(script.text_tokens()) + script.refusal:
        parts.append({"text": text})
    return parts + _calls(script)


def _streamed(script: Script) -> list[Part]:
    """The parts of each chunk; calls come whole on this wire."""
    parts: list[Part] = [{"text": piece, "thought": True} for piece in pieces(script.reasoning)]
    parts += [{"text": piece} for piece in script.text_tokens() + pieces(script.refusal)]
    return parts + _calls(script)


def _calls(script: Script) -> list[Part]:
    calls: list[Part] = [
        {"functionCall": {"id": call.id, "name": call.name, "args": _args(call.arguments)}}
        for call in script.tool_calls
    ]
    if calls:
        # Of calls in parallel only the first is signed.
        calls[0]["thoughtSignature"] = _SIGNATURE
    return calls


def _args(arguments: str) -> object:
    """The arguments as Google's object; scripted JSON that is broken has no form here."""
    if not arguments.strip():
        return {}
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        raise ValueError("tool_calls.arguments: not JSON; Google's answers carry an object") from None


def _finish_reason(script: Script) -> str:
    if script.refusal and script.finish_reason is None:
        return "SAFETY"
    return _FINISH_REASONS.get(script.finish(), script.finish())


def _usage(counted: Usage) -> dict[str, int]:
    usage = {"promptTokenCount": counted.prompt_tokens}
    answered = counted.completion_tokens - counted.reasoning_tokens
    if answered:
        usage["candidatesTokenCount"] = answered
    usage["totalTokenCount"] = counted.prompt_tokens + counted.completion_tokens
    if counted.cached_tokens:
        usage["cachedContentTokenCount"] = counted.cached_tokens
    if counted.reasoning_tokens:
        usage["thoughtsTokenCount"] = counted.reasoning_tokens
    return usage
