"""OpenAI's Responses as the simulator writes them: items, events and their order as OpenAI sends them.

What a request says about its answer stands in the answer again, as OpenAI does it. Encrypted reasoning comes
when the request includes it. Scripted `choices` have no counterpart here and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import orjson

from .openai_chat import OpenAIChat
from .script import Reason, Script, pieces
from .wire import Asked, Encoded, Form, JsonObject, Whole, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

# Stands for the answer's id wherever it occurs, the ids of its items included; so the time, which stands in
# other places, is the same in every answer.
_ID = "answer-id".ljust(32, "-")
_MARK = _ID.encode()
_CREATED = 1735689600
_ENCRYPTED = "c2VhbGVkIGJ5IHRoZSBzaW11bGF0b3IsIG5vdCBieSBhIG1vZGVs"
_OBFUSCATION_WIDTH = 16

# What an answer repeats of its request, and what it says where the request says nothing.
_ECHOED: dict[str, Any] = {
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "metadata": {},
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_EVENT_CODES = {
    Reason.CONTEXT_LENGTH: "context_length_exceeded",
    Reason.RATE_LIMITED: "rate_limit_exceeded",
    Reason.QUOTA: "insufficient_quota",
}


@dataclass(frozen=True, slots=True)
class OpenAIResponses:
    """`POST /v1/responses`, and the same without `/v1` for base URLs that end elsewhere."""

    name: str = "openai.responses"
    paths: tuple[str, ...] = ("/v1/responses", "/responses")
    stream_content_type: str = "text/event-stream; charset=utf-8"
    request_id_header: str = "x-request-id"

    def read(self, path: str, variables: Mapping[str, str], body: JsonObject) -> Asked:  # noqa: ARG002
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise ValueError("model: must be a string")
        stream = body.get("stream") is True
        include = body.get("include") or ()
        form = Form(
            model=model,
            stream=stream,
            obfuscation=stream and (body.get("stream_options") or {}).get("include_obfuscation") is not False,
            logprobs=int(body.get("top_logprobs") or 0) if "message.output_text.logprobs" in include else None,
            encrypted_reasoning="reasoning.encrypted_content" in include,
            echoed=_echoed(body),
        )
        return Asked(form, _last_user(body.get("input")))

    def stamp(self, answer_id: str, now: int, *, stream: bool) -> bytes:  # noqa: ARG002
        return answer_id.encode()

    def stream(self, script: Script, form: Form) -> Encoded:
        events = _Events(form)
        begun = _response(script, form, "in_progress", [])
        head = events("response.created", response=begun) + events("response.in_progress", response=begun)
        output = _output(script, form)
        tokens: list[bytes] = []
        for at, item in enumerate(output):
            tokens += _ITEM_EVENTS[item["type"]](events, at, item, script)
        status = _status(script)
        return Encoded(
            _MARK,
            head,
            tuple(tokens),
            events(f"response.{status}", response=_response(script, form, status, output)),
        )

    def whole(self, script: Script, form: Form) -> Whole:
        return Whole(_MARK, orjson.dumps(_response(script, form, _status(script), _output(script, form))))

    def error(self, status: int, reason: Reason, message: str | None) -> bytes:
        body = orjson.loads(OpenAIChat().error(status, reason, message))
        if body["error"]["param"] == "messages":
            body["error"]["param"] = "input"
        return orjson.dumps(body)

    def error_event(self, reason: Reason, message: str | None) -> bytes:
        said = orjson.loads(self.error(500, reason, message))["error"]
        code = _EVENT_CODES.get(reason, "server_error")
        # The events before it were encoded without it: it has no number of its own.
        event = {"type": "error", "code": code, "message": said["message"], "param": None, "sequence_number": 0}
        return b"event: error\ndata: %b\n\n" % orjson.dumps(event)


class _Events:
    """Writes events, numbered as they are written."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self._number = 0

    def __call__(self, kind: str, **body: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **body}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(event))

    def delta(self, kind: str, text: str, **body: Any) -> bytes:
        if self.form.obfuscation:
            body["obfuscation"] = "0" * (_OBFUSCATION_WIDTH - len(text) % _OBFUSCATION_WIDTH)
        return self(kind, **body)


def _echoed(body: JsonObject) -> str:
    """What the answer repeats, as JSON text: a form must be hashable."""
    given = {name: body[name] for name in _ECHOED if body.get(name) is not None}
    reasoning, text = body.get("reasoning") or {}, body.get("text") or {}
    more = {
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "text": {
            "format": text.get("format") or {"type": "text"},
            "verbosity": text.get("verbosity") or "medium",
        },
    }
    return orjson.dumps(_ECHOED | given | more).decode()


def _last_user(given: object) -> str:
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not given:
        raise ValueError("input: must be a string or a list with at least one item")
    for item in reversed(given):
        if isinstance(item, dict) and item.get("role") == "user":
            return text_of(item.get("content"))
    return ""


def _status(script: Script) -> str:
    finish = script.finish()
    return "failed" if finish == "error" else "incomplete" if finish in _INCOMPLETE else "completed"


def _response(script: Script, form: Form, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    over = status != "in_progress"
    reason = _INCOMPLETE.get(script.finish()) if over else None
    error = {"code": "server_error", "message": "The simulator was told to fail."} if status == "failed" else None
    return {
        "id": f"resp_{_ID}",
        "object": "response",
        "created_at": _CREATED,
        "status": status,
        "background": False,
        "completed_at": _CREATED if status == "completed" else None,
        "error": error,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": form.model,
        "output": output,
        "service_tier": "default",
        **orjson.loads(form.echoed),
        "usage": _usage(script) if over else None,
    }


def _output(script: Script, form: Form) -> list[dict[str, Any]]:
    output: list[dict[str, Any]] = []
    if script.reasoning:
        summary = [{"type": "summary_text", "text": "".join(script.reasoning)}]
        item: dict[str, Any] = {"id": f"rs_{_ID}", "type": "reasoning", "summary": summary}
        output.append(item | {"encrypted_content": _ENCRYPTED} if form.encrypted_reasoning else item)
    text = script.text_tokens()
    if text or not (script.tool_calls or script.refusal):
        output.append(_message(script, form, text))
    elif script.refusal:
        output.append(_message(script, form, ()))
    output += [
        {
            "id": f"fc_{_ID}{at:02x}",
            "type": "function_call",
            "status": "completed",
            "arguments": call.arguments,
            "call_id": call.id,
            "name": call.name,
        }
        for at, call in enumerate(script.tool_calls)
    ]
    return output


def _message(script: Script, form: Form, text: tuple[str, ...]) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if text or not script.refusal:
        logprobs = [entry for entries in _logprobs(script, form, text) for entry in entries]
        content.append({"type": "output_text", "annotations": [], "logprobs": logprobs, "text": "".join(text)})
    if script.refusal:
        content.append({"type": "refusal", "refusal": script.refusal})
    status = "incomplete" if _status(script) == "incomplete" else "completed"
    return {
        "id": f"msg_{_ID}",
        "type": "message",
        "status": status,
        "content": content,
        "role": "assistant",
    }


def _message_events(events: _Events, at: int, item: dict[str, Any], script: Script) -> list[bytes]:
    place = {"item_id": item["id"], "output_index": at}
    begun = {**item, "status": "in_progress", "content": []}
    pending = events("response.output_item.added", output_index=at, item=begun)
    frames: list[bytes] = []
    for index, part in enumerate(item["content"]):
        where = {**place, "content_index": index}
        kind, field = part["type"], "text" if part["type"] == "output_text" else "refusal"
        empty = {**part, field: ""} if kind == "refusal" else {**part, "text": "", "logprobs": []}
        pending += events("response.content_part.added", **where, part=empty)
        tokens = script.text_tokens() if kind == "output_text" else pieces(script.refusal)
        logprobs = _logprobs(script, events.form, tokens) if kind == "output_text" else []
        for token, entries in zip(tokens, logprobs or cycle([None]), strict=False):
            more = {} if entries is None else {"logprobs": entries}
            frames.append(pending + events.delta(f"response.{kind}.delta", token, **where, delta=token, **more))
            pending = b""
        told = {field: part[field]} | ({"logprobs": part["logprobs"]} if field == "text" else {})
        pending += events(f"response.{kind}.done", **where, **told)
        pending += events("response.content_part.done", **where, part=part)
    return _closed(frames, pending + events("response.output_item.done", output_index=at, item=item))


def _reasoning_events(events: _Events, at: int, item: dict[str, Any], script: Script) -> list[bytes]:
    (part,) = item["summary"]
    where = {"item_id": item["id"], "output_index": at, "summary_index": 0}
    pending = events("response.output_item.added", output_index=at, item={**item, "summary": []})
    pending += events("response.reasoning_summary_part.added", **where, part={**part, "text": ""})
    frames: list[bytes] = []
    for piece in pieces(script.reasoning):
        frames.append(pending + events.delta("response.reasoning_summary_text.delta", piece, **where, delta=piece))
        pending = b""
    pending += events("response.reasoning_summary_text.done", **where, text=part["text"])
    pending += events("response.reasoning_summary_part.done", **where, part=part)
    return _closed(frames, pending + events("response.output_item.done", output_index=at, item=item))


def _call_events(events: _Events, at: int, item: dict[str, Any], script: Script) -> list[bytes]:
    where = {"item_id": item["id"], "output_index": at}
    call = next(call for call in script.tool_calls if call.id == item["call_id"])
    begun = {**item, "status": "in_progress", "arguments": ""}
    pending = events("response.output_item.added", output_index=at, item=begun)
    frames: list[bytes] = []
    for piece in call.pieces():
        frames.append(
            pending + events.delta("response.function_call_arguments.delta", piece, **where, delta=piece)
        )
        pending = b""
    told = {"name": item["name"], "arguments": item["arguments"]}
    pending += events("response.function_call_arguments.done", **where, **told)
    return _closed(frames, pending + events("response.output_item.done", output_index=at, item=item))


_ITEM_EVENTS = {"message": _message_events, "reasoning": _reasoning_events, "function_call": _call_events}


def _closed(frames: list[bytes], end: bytes) -> list[bytes]:
    """One frame a token; the item's end goes with its last."""
    if not frames:
        return [end]
    frames[-1] += end
    return frames


def _logprobs(script: Script, form: Form, tokens: tuple[str, ...]) -> list[list[dict[str, Any]]]:
    """Each token's entries; without a wish for them each has none."""
    if form.logprobs is None or not script.logprobs:
        return [[] for _ in tokens]
    values = cycle(script.logprobs)
    return [[_entry(token, next(values), form.logprobs)] for token in tokens]


def _entry(token: str, value: float, alternatives: int) -> dict[str, Any]:
    own: dict[str, Any] = {"token": token, "bytes": list(token.encode()), "logprob": value}
    others = [
        {"token": f"{token}{at}", "bytes": list(f"{token}{at}".encode()), "logprob": value - at}
        for at in range(1, alternatives)
    ]
    return {**own, "top_logprobs": [own, *others] if alternatives else []}


def _usage(script: Script) -> dict[str, Any]:
    counted = script.counted_usage()
    return {
        "input_tokens": counted.prompt_tokens,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": counted.cached_tokens},
        "output_tokens": counted.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": counted.reasoning_tokens},
        "total_tokens": counted.prompt_tokens + counted.completion_tokens,
    }
