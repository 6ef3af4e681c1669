"""Anthropic's Messages as the simulator writes them: field sets, order and events as Anthropic sends them.

Error types by status: the Messages API's error list. Scripted `choices` and `logprobs` have no counterpart
here and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from .script import Reason, Script, pieces
from .wire import Asked, Encoded, Form, JsonObject, Whole, model_and_messages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ID = "msg_" + "0" * 32
_MARK = _ID.encode()
_SIGNATURE = "c2lnbmVkIGJ5IHRoZSBzaW11bGF0b3IsIG5vdCBieSBhIG1vZGVs"
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_EVENT_TYPES = {
    Reason.OVERLOADED: "overloaded_error",
    Reason.RATE_LIMITED: "rate_limit_error",
    Reason.INVALID_REQUEST: "invalid_request_error",
}
_MESSAGES = {
    Reason.CONTEXT_LENGTH: "prompt is too long: 210000 tokens > 200000 maximum",
    Reason.INVALID_REQUEST: "The simulator was told to reject this request.",
    Reason.INVALID_KEY: "invalid x-api-key",
    Reason.FORBIDDEN: "Your API key does not have permission to use the specified resource.",
    Reason.NOT_FOUND: "model: not found",
    Reason.QUOTA: "Your credit balance is too low to access the Anthropic API.",
    Reason.RATE_LIMITED: "This request would exceed your organization's rate limit.",
    Reason.SERVER_ERROR: "Internal server error",
    Reason.OVERLOADED: "Overloaded",
}
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'


@dataclass(frozen=True, slots=True)
class AnthropicMessages:
    """`POST /v1/messages`."""

    name: str = "anthropic.messages"
    paths: tuple[str, ...] = ("/v1/messages",)
    stream_content_type: str = "text/event-stream; charset=utf-8"
    request_id_header: str = "request-id"

    def read(self, path: str, variables: Mapping[str, str], body: JsonObject) -> Asked:  # noqa: ARG002
        model, last_user = model_and_messages(body)
        limit = body.get("max_tokens")
        if not isinstance(limit, int) or limit < 1:
            raise ValueError("max_tokens: Field required")
        return Asked(Form(model=model, stream=body.get("stream") is True), last_user)

    def stamp(self, answer_id: str, now: int, *, stream: bool) -> bytes:  # noqa: ARG002
        return f"msg_{answer_id}".encode()

    def stream(self, script: Script, form: Form) -> Encoded:
        start = {**_message(script, form, []), "stop_reason": None, "stop_details": None}
        start["usage"] = {**start["usage"], "output_tokens": 1}
        head = _event({"type": "message_start", "message": start}) + _PING
        tokens: list[bytes] = []
        for index, (block, deltas) in enumerate(_blocks(script)):
            first = _event({"type": "content_block_start", "index": index, "content_block": block})
            frames = [_event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas]
            frames[0] = first + frames[0]
            frames[-1] += _event({"type": "content_block_stop", "index": index})
            tokens += frames
        end = {
            "stop_reason": _stop_reason(script),
            "stop_sequence": None,
            "stop_details": _stop_details(script),
        }
        tail = _event({"type": "message_delta", "delta": end, "usage": _final_usage(script)})
        return Encoded(_MARK, head, tuple(tokens), tail + _event({"type": "message_stop"}))

    def whole(self, script: Script, form: Form) -> Whole:
        return Whole(_MARK, orjson.dumps(_message(script, form, _content(script))))

    def error(self, status: int, reason: Reason, message: str | None) -> bytes:
        return _error(_ERROR_TYPES.get(status, "api_error"), reason, message)

    def error_event(self, reason: Reason, message: str | None) -> bytes:
        return b"event: error\ndata: %b\n\n" % _error(_EVENT_TYPES.get(reason, "api_error"), reason, message)


def models(names: Sequence[str]) -> dict[str, Any]:
    """The body of `GET /v1/models` in Anthropic's shape."""
    created = "2025-01-01T00:00:00Z"
    data = [{"type": "model", "id": name, "display_name": name, "created_at": created} for name in names]
    return {"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]}


def _error(kind: str, reason: Reason, message: str | None) -> bytes:
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": message or _MESSAGES[reason]}})


def _event(data: JsonObject) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), orjson.dumps(data))


def _content(script: Script) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if script.reasoning:
        content.append({"type": "thinking", "thinking": "".join(script.reasoning), "signature": _SIGNATURE})
    if text := "".join(script.text_tokens()) + script.refusal:
        content.append({"type": "text", "text": text})
    content += [{**_tool_use(call.id, call.name), "input": _input(call.arguments)} for call in script.tool_calls]
    return content


def _message(script: Script, form: Form, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "model": form.model,
        "id": _ID,
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": _stop_reason(script),
        "stop_sequence": None,
        "stop_details": _stop_details(script),
        "usage": _usage(script),
    }


def _blocks(script: Script) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each block's opening and its deltas (never none)."""
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if thoughts := pieces(script.reasoning):
        deltas: list[dict[str, Any]] = [{"type": "thinking_delta", "thinking": piece} for piece in thoughts]
        deltas.append({"type": "signature_delta", "signature": _SIGNATURE})
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
    if text := script.text_tokens() + pieces(script.refusal):
        blocks.append(({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in text]))
    for call in script.tool_calls:
        # The first delta of a tool's input is empty at Anthropic, too.
        fragments = ("", *call.pieces())
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in fragments]
        blocks.append((_tool_use(call.id, call.name), deltas))
    return blocks


def _tool_use(call_id: str, name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": {}, "caller": {"type": "direct"}}


def _input(arguments: str) -> object:
    """The arguments as Anthropic's object; scripted JSON that is broken has no whole form here."""
    if not arguments.strip():
        return {}
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        raise ValueError("tool_calls.arguments: not JSON; Anthropic's whole answers carry an object") from None


def _stop_reason(script: Script) -> str:
    if script.refusal and script.finish_reason is None:
        return "refusal"
    return _STOP_REASONS.get(script.finish(), script.finish())


def _stop_details(script: Script) -> dict[str, Any] | None:
    if _stop_reason(script) != "refusal":
        return None
    return {"type": "refusal", "category": None, "explanation": None}


def _input_usage(script: Script) -> dict[str, Any]:
    counted = script.counted_usage()
    return {
        "input_tokens": counted.prompt_tokens - counted.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": counted.cached_tokens,
    }


def _usage(script: Script) -> dict[str, Any]:
    return {
        **_input_usage(script),
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": script.counted_usage().completion_tokens,
        "service_tier": "standard",
        "inference_geo": "not_available",
    }


def _final_usage(script: Script) -> dict[str, Any]:
    counted = script.counted_usage()
    usage = {**_input_usage(script), "output_tokens": counted.completion_tokens}
    if counted.reasoning_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": counted.reasoning_tokens}
    return usage
