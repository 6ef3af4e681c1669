"""Bedrock's Converse and ConverseStream as the simulator writes them: Bedrock's own fields, order and frames.

The model stands in the path. Answers have no id and no model of their own; the call's id is a header. Scripted
`choices` and `logprobs` have no counterpart here and are left out. Exceptions: the service model in botocore.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from .frames import event, exception
from .script import Reason, Script, pieces
from .wire import Asked, Encoded, Form, JsonObject, Whole, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

# Nothing in an answer is the call's own: frames have checksums, so nothing may be put in later either.
_MARK = b"\x00no mark\x00"
_SIGNATURE = "c2lnbmVkIGJ5IHRoZSBzaW11bGF0b3IsIG5vdCBieSBhIG1vZGVs"
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}
_EXCEPTIONS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_IN_STREAMS = {
    Reason.OVERLOADED: "serviceUnavailableException",
    Reason.RATE_LIMITED: "throttlingException",
    Reason.INVALID_REQUEST: "validationException",
}
_MESSAGES = {
    Reason.CONTEXT_LENGTH: "Input is too long for requested model.",
    Reason.INVALID_REQUEST: "The simulator was told to reject this request.",
    Reason.INVALID_KEY: "The security token included in the request is invalid.",
    Reason.FORBIDDEN: "You don't have access to the model with the specified model ID.",
    Reason.NOT_FOUND: "Could not resolve the foundation model from the provided model identifier.",
    Reason.QUOTA: "Your account's quota is spent.",
    Reason.RATE_LIMITED: "Too many requests, please wait before trying again.",
    Reason.SERVER_ERROR: "The system encountered an unexpected error during processing. Try your request again.",
    Reason.OVERLOADED: "The service is temporarily unavailable.",
}


@dataclass(frozen=True, slots=True)
class BedrockConverse:
    """`POST /model/{id}/converse` and `/model/{id}/converse-stream`."""

    name: str = "bedrock.converse"
    paths: tuple[str, ...] = ("/model/{model}/converse", "/model/{model}/converse-stream")
    stream_content_type: str = "application/vnd.amazon.eventstream"
    request_id_header: str = "x-amzn-requestid"

    def read(self, path: str, variables: Mapping[str, str], body: JsonObject) -> Asked:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise ValueError("messages: must be a list with at least one message")
        users = [message for message in messages if isinstance(message, dict) and message.get("role") == "user"]
        form = Form(model=unquote(variables["model"]), stream=path.endswith("-stream"))
        return Asked(form, text_of(users[-1].get("content")) if users else "")

    def stamp(self, answer_id: str, now: int, *, stream: bool) -> bytes:  # noqa: ARG002
        return _MARK

    def stream(self, script: Script, form: Form) -> Encoded:  # noqa: ARG002
        head = _event("messageStart", {"role": "assistant"})
        tokens: list[bytes] = []
        for index, (start, deltas) in enumerate(_blocks(script)):
            at = {"contentBlockIndex": index}
            frames = [_event("contentBlockDelta", {**at, "delta": delta}) for delta in deltas]
            if start:
                frames[0] = _event("contentBlockStart", {**at, "start": start}) + frames[0]
            frames[-1] += _event("contentBlockStop", at)
            tokens += frames
        tail = _event("messageStop", {"stopReason": _stop_reason(script)})
        tail += _event("metadata", {"metrics": {"latencyMs": 1}, "usage": _usage(script)})
        return Encoded(_MARK, head, tuple(tokens), tail)

    def whole(self, script: Script, form: Form) -> Whole:  # noqa: ARG002
        answer = {
            "metrics": {"latencyMs": 1},
            "output": {"message": {"content": _content(script), "role": "assistant"}},
            "stopReason": _stop_reason(script),
            "usage": _usage(script),
        }
        return Whole(_MARK, orjson.dumps(answer))

    def error(self, status: int, reason: Reason, message: str | None) -> bytes:
        kind = _EXCEPTIONS.get(status, "InternalServerException")
        if reason is Reason.QUOTA:
            kind = "ServiceQuotaExceededException"
        elif reason is Reason.OVERLOADED:
            kind = "ServiceUnavailableException"
        elif reason is Reason.INVALID_KEY:
            kind = "UnrecognizedClientException"
        # A header names the exception at Bedrock; in the body, where AWS's other JSON services have it, it stands
        # for itself.
        return orjson.dumps({"__type": kind, "message": message or _MESSAGES[reason]})

    def error_event(self, reason: Reason, message: str | None) -> bytes:
        kind = _IN_STREAMS.get(reason, "internalServerException")
        return exception(kind, orjson.dumps({"message": message or _MESSAGES[reason]}))


def _event(kind: str, payload: JsonObject) -> bytes:
    return event(kind, orjson.dumps(payload))


def _content(script: Script) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if script.reasoning:
        told = {"text": "".join(script.reasoning), "signature": _SIGNATURE}
        content.append({"reasoningContent": {"reasoningText": told}})
    if text := "".join(script.text_tokens()) + script.refusal:
        content.append({"text": text})
    for call in script.tool_calls:
        use = {"input": _input(call.arguments), "name": call.name, "toolUseId": call.id}
        content.append({"toolUse": use})
    return content


def _blocks(script: Script) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each block's opening (empty: none is sent) and its deltas (never none)."""
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if thoughts := pieces(script.reasoning):
        deltas: list[dict[str, Any]] = [{"reasoningContent": {"text": piece}} for piece in thoughts]
        deltas.append({"reasoningContent": {"signature": _SIGNATURE}})
        blocks.append(({}, deltas))
    if text := script.text_tokens() + pieces(script.refusal):
        blocks.append(({}, [{"text": piece} for piece in text]))
    for call in script.tool_calls:
        # The first delta of a tool's input is empty at Bedrock, too.
        deltas = [{"toolUse": {"input": piece}} for piece in ("", *call.pieces())]
        blocks.append(({"toolUse": {"name": call.name, "toolUseId": call.id}}, deltas))
    return blocks


def _input(arguments: str) -> object:
    """The arguments as an object; scripted JSON that is broken has no whole form here."""
    if not arguments.strip():
        return {}
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        raise ValueError("tool_calls.arguments: not JSON; Bedrock's whole answers carry an object") from None


def _stop_reason(script: Script) -> str:
    if script.refusal and script.finish_reason is None:
        return "content_filtered"
    return _STOP_REASONS.get(script.finish(), script.finish())


def _usage(script: Script) -> dict[str, int]:
    counted = script.counted_usage()
    return {
        "inputTokens": counted.prompt_tokens - counted.cached_tokens,
        "outputTokens": counted.completion_tokens,
        "totalTokens": counted.prompt_tokens + counted.completion_tokens,
        "cacheReadInputTokens": counted.cached_tokens,
        "cacheWriteInputTokens": 0,
    }
