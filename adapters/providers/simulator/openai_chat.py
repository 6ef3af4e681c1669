"""OpenAI's chat completions as the simulator writes them: field sets and order as OpenAI sends them.

Reasoning is written as DeepSeek's and OpenRouter's servers do (`reasoning_content` or `reasoning` in the
delta, `content` null beside it): OpenAI's own chat endpoint shows none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import orjson

from .script import Reason, Script, pieces
from .wire import Asked, Encoded, Form, JsonObject, Whole, model_and_messages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ID = "chatcmpl-" + "0" * 32
_CREATED = 1000000000  # ten digits, as every Unix time until 2286
_FINGERPRINT = "fp_simulator"
_OBFUSCATION_WIDTH = 16

_ERRORS: dict[Reason, tuple[str, str | None, str | None, str]] = {
    # reason: type, param, code, message
    Reason.CONTEXT_LENGTH: (
        "invalid_request_error",
        "messages",
        "context_length_exceeded",
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    ),
    Reason.INVALID_REQUEST: (
        "invalid_request_error",
        None,
        None,
        "The simulator was told to reject this request.",
    ),
    Reason.INVALID_KEY: ("invalid_request_error", None, "invalid_api_key", "Incorrect API key provided."),
    Reason.FORBIDDEN: (
        "invalid_request_error",
        None,
        "unsupported_country_region_territory",
        "Not allowed here.",
    ),
    Reason.NOT_FOUND: ("invalid_request_error", None, "model_not_found", "The model does not exist."),
    Reason.QUOTA: ("insufficient_quota", None, "insufficient_quota", "You exceeded your current quota."),
    Reason.RATE_LIMITED: ("requests", None, "rate_limit_exceeded", "Rate limit reached for requests."),
    Reason.SERVER_ERROR: (
        "server_error",
        None,
        None,
        "The server had an error while processing your request.",
    ),
    Reason.OVERLOADED: (
        "server_error",
        None,
        None,
        "The engine is currently overloaded, please try again later.",
    ),
}


@dataclass(frozen=True, slots=True)
class OpenAIChat:
    """`POST /v1/chat/completions`, and the same without `/v1` for base URLs that end elsewhere."""

    name: str = "openai.chat"
    paths: tuple[str, ...] = ("/v1/chat/completions", "/chat/completions")
    stream_content_type: str = "text/event-stream; charset=utf-8"
    request_id_header: str = "x-request-id"

    def read(self, path: str, variables: Mapping[str, str], body: JsonObject) -> Asked:  # noqa: ARG002
        model, last_user = model_and_messages(body)
        stream = body.get("stream") is True
        options = body.get("stream_options") or {}
        choices = body.get("n") or 1
        if not isinstance(choices, int) or choices < 1:
            raise ValueError("n: must be an integer of at least 1")
        form = Form(
            model=model,
            stream=stream,
            include_usage=stream and options.get("include_usage") is True,
            obfuscation=stream and options.get("include_obfuscation") is not False,
            choices=choices,
            logprobs=int(body.get("top_logprobs") or 0) if body.get("logprobs") is True else None,
        )
        return Asked(form, last_user)

    def stamp(self, answer_id: str, now: int, *, stream: bool) -> bytes:
        return _stamp(f"chatcmpl-{answer_id}", now, stream=stream)

    def stream(self, script: Script, form: Form) -> Encoded:
        choices = script.choices or form.choices
        first, deltas = _deltas(script)
        logprobs = _logprobs(script, form)

        def step(delta: JsonObject, finish: str | None = None) -> bytes:
            text = delta.get("content") if finish is None else None
            given = None if logprobs is None or not text else {"content": logprobs(text), "refusal": None}
            return b"".join(_chunk(form, _choice(at, delta, given, finish)) for at in range(choices))

        tail = step({}, script.finish())
        if form.include_usage:
            tail += _chunk(form, None, _usage(script, choices))
        tokens = tuple(step(delta) for delta in deltas)
        mark = _stamp(_ID, _CREATED, stream=True)
        return Encoded(mark, step(first), tokens, tail + b"data: [DONE]\n\n")

    def whole(self, script: Script, form: Form) -> Whole:
        choices = script.choices or form.choices
        text, logprobs = script.text_tokens(), _logprobs(script, form)
        message: dict[str, Any] = {"role": "assistant", "content": _content(script, text)}
        if script.reasoning:
            message[script.reasoning_field] = "".join(script.reasoning)
        if script.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in script.tool_calls
            ]
        message |= {"refusal": script.refusal or None, "annotations": []}
        given = None
        if logprobs is not None and text:
            given = {"content": [entry for token in text for entry in logprobs(token)], "refusal": None}
        answer = {
            "id": _ID,
            "object": "chat.completion",
            "created": _CREATED,
            "model": form.model,
            "choices": [
                {"index": at, "message": message, "logprobs": given, "finish_reason": script.finish()}
                for at in range(choices)
            ],
            "usage": _usage(script, choices),
            "service_tier": "default",
            "system_fingerprint": _FINGERPRINT,
        }
        return Whole(_stamp(_ID, _CREATED, stream=False), orjson.dumps(answer))

    def error(self, status: int, reason: Reason, message: str | None) -> bytes:  # noqa: ARG002
        kind, param, code, sentence = _ERRORS[reason]
        return orjson.dumps(
            {"error": {"message": message or sentence, "type": kind, "param": param, "code": code}}
        )

    def error_event(self, reason: Reason, message: str | None) -> bytes:
        return b"data: %b\n\n" % self.error(500, reason, message)


def models(names: Sequence[str]) -> dict[str, Any]:
    """The body of `GET /v1/models` in OpenAI's shape."""
    data = [{"id": name, "object": "model", "created": 1735689600, "owned_by": "simulator"} for name in names]
    return {"object": "list", "data": data}


def _stamp(answer_id: str, now: int, *, stream: bool) -> bytes:
    kind = "chat.completion.chunk" if stream else "chat.completion"
    return f'"id":"{answer_id}","object":"{kind}","created":{now}'.encode()


def _content(script: Script, text: tuple[str, ...]) -> str | None:
    """An answer of tool calls or a refusal alone has null, an empty answer has an empty string."""
    return "".join(text) if text or not (script.tool_calls or script.refusal) else None


def _deltas(script: Script) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The role's delta, then one delta a token."""
    text, calls = script.text_tokens(), script.tool_calls
    field = script.reasoning_field
    beside: dict[str, Any] = {field: None} if script.reasoning else {}
    deltas: list[dict[str, Any]] = [{"content": None, field: piece} for piece in pieces(script.reasoning)]
    deltas += [{"content": token, **beside} for token in text]
    deltas += [{"refusal": piece} for piece in pieces(script.refusal)]
    first: dict[str, Any] = {"role": "assistant", "content": None if _content(script, text) is None else ""}
    if script.reasoning:
        first |= {"content": None, field: ""}
    # OpenAI puts a lone call's opening into the role's chunk; with anything before it, it has its own.
    if len(calls) == 1 and not deltas:
        first |= {"tool_calls": [_opening(script, 0)]}
        deltas += _arguments(script, 0)
    else:
        for at in range(len(calls)):
            opening, rest = _opening(script, at), _arguments(script, at)
            deltas += [{"tool_calls": [opening]}, *rest]
    first["refusal"] = "" if script.refusal else None
    return first, deltas


def _opening(script: Script, at: int) -> dict[str, Any]:
    call = script.tool_calls[at]
    return {"index": at, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}


def _arguments(script: Script, at: int) -> list[dict[str, Any]]:
    return [
        {"tool_calls": [{"index": at, "function": {"arguments": piece}}]}
        for piece in script.tool_calls[at].pieces()
    ]


def _choice(index: int, delta: JsonObject, logprobs: JsonObject | None, finish: str | None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def _chunk(form: Form, choice: dict[str, Any] | None, usage: JsonObject | None = None) -> bytes:
    chunk: dict[str, Any] = {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": form.model,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
        "choices": [] if choice is None else [choice],
    }
    if form.include_usage:
        chunk["usage"] = usage
    if form.obfuscation:
        text = "" if choice is None else str(choice["delta"].get("content") or "")
        chunk["obfuscation"] = "0" * (_OBFUSCATION_WIDTH - len(text) % _OBFUSCATION_WIDTH)
    return b"data: %b\n\n" % orjson.dumps(chunk)


def _logprobs(script: Script, form: Form) -> Any:
    """A function from a token to its logprob entries, or None when none are given."""
    if form.logprobs is None or not script.logprobs:
        return None
    values, alternatives = cycle(script.logprobs), form.logprobs

    def entries(token: str) -> list[dict[str, Any]]:
        value = next(values)
        own: dict[str, Any] = {"token": token, "logprob": value, "bytes": list(token.encode())}
        others = [
            {"token": f"{token}{at}", "logprob": value - at, "bytes": list(f"{token}{at}".encode())}
            for at in range(1, alternatives)
        ]
        return [{**own, "top_logprobs": [own, *others] if alternatives else []}]

    return entries


def _usage(script: Script, choices: int) -> dict[str, Any]:
    counted = script.counted_usage(choices)
    return {
        "prompt_tokens": counted.prompt_tokens,
        "completion_tokens": counted.completion_tokens,
        "total_tokens": counted.prompt_tokens + counted.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": counted.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": counted.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
