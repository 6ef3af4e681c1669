"""Mistral's chat completions as the simulator writes them: its fields and order, thinking as content, whole calls.

Forms and error codes: those that the mistral dialect is held to (tests/golden, tests/contract). Below a path of
its own, since OpenAI's has the same. Scripted `choices` and `logprobs` are left out; a refusal is plain text, and
a scripted `content_filter` passes as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from .script import Reason, Script, pieces
from .wire import Asked, Encoded, Form, JsonObject, Whole, model_and_messages

if TYPE_CHECKING:
    from collections.abc import Mapping

_ID = "0" * 32
_MARK = _ID.encode()
_CREATED = 1000000000
_PADDING = "abcdefghijklmnopqrstuvwxyz0123456789"

_ERRORS: dict[Reason, tuple[str, str | None, str]] = {
    # reason: type, code, message
    Reason.CONTEXT_LENGTH: (
        "invalid_request_prompt",
        "3051",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
    ),
    Reason.INVALID_REQUEST: ("invalid_request_error", None, "The simulator was told to reject this request."),
    Reason.INVALID_KEY: ("unauthorized", None, "Unauthorized"),
    Reason.FORBIDDEN: ("forbidden", None, "Forbidden"),
    Reason.NOT_FOUND: ("invalid_model", "1500", "Invalid model"),
    Reason.QUOTA: ("payment_required", None, "You have no active subscription"),
    Reason.RATE_LIMITED: ("rate_limited", "1300", "Rate limit exceeded"),
    Reason.SERVER_ERROR: ("internal_server_error", None, "Internal server error"),
    Reason.OVERLOADED: ("internal_server_error", None, "Service unavailable."),
}


@dataclass(frozen=True, slots=True)
class MistralChat:
    """`POST /mistral/v1/chat/completions`."""

    name: str = "mistral.chat"
    paths: tuple[str, ...] = ("/mistral/v1/chat/completions",)
    stream_content_type: str = "text/event-stream; charset=utf-8"
    request_id_header: str = "mistral-correlation-id"

    def read(self, path: str, variables: Mapping[str, str], body: JsonObject) -> Asked:  # noqa: ARG002
        model, last_user = model_and_messages(body)
        if "stream_options" in body:
            # As Mistral does with what it does not know; its streams always end with the usage.
            raise ValueError("stream_options: Extra inputs are not permitted")
        return Asked(Form(model=model, stream=body.get("stream") is True), last_user)

    def stamp(self, answer_id: str, now: int, *, stream: bool) -> bytes:  # noqa: ARG002
        return answer_id.encode()

    def stream(self, script: Script, form: Form) -> Encoded:
        head = _chunk(form, {"role": "assistant", "content": ""})
        deltas: list[dict[str, Any]] = [{"content": [_thinking(piece)]} for piece in pieces(script.reasoning)]
        deltas += [{"content": piece} for piece in script.text_tokens() + pieces(script.refusal)]
        tokens = tuple(_chunk(form, delta, p=_PADDING[: at % len(_PADDING)]) for at, delta in enumerate(deltas, 4))
        last: dict[str, Any] = {"content": ""}
        if script.tool_calls:
            last["tool_calls"] = [{**call, "index": at} for at, call in enumerate(_calls(script))]
        tail = _chunk(form, last, script.finish(), usage=_usage(script), p=_PADDING[:4])
        return Encoded(_MARK, head, tokens, tail + b"data: [DONE]\n\n")

    def whole(self, script: Script, form: Form) -> Whole:
        message = {"role": "assistant", "tool_calls": _calls(script) or None, "content": _content(script)}
        answer = {
            "id": _ID,
            "created": _CREATED,
            "model": form.model,
            "usage": _usage(script),
            "object": "chat.completion",
            "choices": [{"index": 0, "finish_reason": script.finish(), "message": message}],
        }
        return Whole(_MARK, orjson.dumps(answer))

    def error(self, status: int, reason: Reason, message: str | None) -> bytes:
        kind, code, sentence = _ERRORS[reason]
        error = {"object": "error", "message": message or sentence, "type": kind, "param": None, "code": code}
        return orjson.dumps(error | {"raw_status_code": status})

    def error_event(self, reason: Reason, message: str | None) -> bytes:
        return b"data: %b\n\n" % self.error(500, reason, message)


def _chunk(form: Form, delta: JsonObject, finish: str | None = None, **more: Any) -> bytes:
    chunk = {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": form.model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }
    return b"data: %b\n\n" % orjson.dumps(chunk)


def _thinking(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


def _content(script: Script) -> str | list[dict[str, Any]]:
    text = "".join(script.text_tokens()) + script.refusal
    if not script.reasoning:
        return text
    thinking = {**_thinking("".join(script.reasoning)), "closed": True}
    return [thinking, {"type": "text", "text": text}] if text else [thinking]


def _calls(script: Script) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}} for call in script.tool_calls
    ]


def _usage(script: Script) -> dict[str, Any]:
    counted = script.counted_usage()
    return {
        "prompt_tokens": counted.prompt_tokens,
        "total_tokens": counted.prompt_tokens + counted.completion_tokens,
        "completion_tokens": counted.completion_tokens,
        "prompt_audio_seconds": None,
        "num_cached_tokens": counted.cached_tokens,
        "prompt_tokens_details": {"cached_tokens": counted.cached_tokens},
    }
