"""What may differ between what was recorded and what passes through us, one function for each difference.

Works on plain JSON and shares no code with the service: its own folding of streams is what ours is held
against. Everything that no function here names must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

Json = dict[str, Any]

_SCHEMAS: Final = frozenset({"parameters", "schema"})


def request_form(body: Json) -> Json:
    """A request, recorded or sent, in its one form. `model` is compared as it is."""
    for normalise in REQUEST:
        body = normalise(body)
    return body


def answer_form(answer: Json) -> Json:
    """A whole answer or a folded stream in its one form."""
    for normalise in ANSWER:
        answer = normalise(answer)
    return answer


def null_is_absent(value: Any) -> Any:
    """OpenAI's API takes null for a field that is not set, everywhere; inside a JSON Schema it is a value."""
    if isinstance(value, list):
        return [null_is_absent(item) for item in value]
    if isinstance(value, dict):
        return {
            key: item if key in _SCHEMAS else null_is_absent(item)
            for key, item in value.items()
            if item is not None
        }
    return value


def not_streaming_is_unsaid(body: Json) -> Json:
    """`stream: false` is the default: a whole answer is asked for by leaving it out."""
    return {key: value for key, value in body.items() if not (key == "stream" and value is False)}


def max_tokens_is_max_completion_tokens(body: Json) -> Json:
    """Two names of one limit: which one goes out is a property of the provider's row."""
    return {"max_completion_tokens" if key == "max_tokens" else key: value for key, value in body.items()}


def a_stop_is_a_list(body: Json) -> Json:
    """One stop sequence may be written without the list around it."""
    stop = body.get("stop")
    return {**body, "stop": [stop]} if isinstance(stop, str) else body


def usage_is_always_asked_for(body: Json) -> Json:
    """Every stream is asked for its usage, whether or not the caller wants to see it: it is counted."""
    if "stream_options" not in body:
        return body
    options = {key: value for key, value in body["stream_options"].items() if key != "include_usage"}
    rest = {key: value for key, value in body.items() if key != "stream_options"}
    return {**rest, "stream_options": options} if options else rest


def a_lone_text_is_a_string(body: Json) -> Json:
    """One text part and a string are the same content; the string is what more servers take."""
    messages = []
    for message in body["messages"]:
        match message.get("content"):
            case [{"type": "text", "text": str(text), **more}] if not more:
                messages.append({**message, "content": text})
            case _:
                messages.append(message)
    return {**body, "messages": messages}


def provider_is_ours(answer: Json) -> Json:
    """We add who answered."""
    return {key: value for key, value in answer.items() if key != "provider"}


REQUEST: Final[tuple[Callable[[Any], Any], ...]] = (
    null_is_absent,
    not_streaming_is_unsaid,
    max_tokens_is_max_completion_tokens,
    a_stop_is_a_list,
    usage_is_always_asked_for,
    a_lone_text_is_a_string,
)

ANSWER: Final[tuple[Callable[[Any], Any], ...]] = (
    null_is_absent,
    provider_is_ours,
)


def fold_chunks(chunks: Iterable[Json]) -> Json:
    """The answer that a stream's chunks make, in the stream's own words (a choice's message is its `delta`).

    Usage is the last that came; `obfuscation` is padding against eavesdroppers and says nothing.
    """
    folded: Json = {"choices": {}}
    for chunk in chunks:
        for key, value in chunk.items():
            if key == "choices":
                for choice in value:
                    _fold_choice(folded["choices"].setdefault(choice["index"], {"delta": {}}), choice)
            elif key != "obfuscation" and value is not None and (value or not folded.get(key)):
                folded[key] = value
    return folded


def _fold_choice(folded: Json, choice: Json) -> None:
    for key, value in choice.items():
        if key == "delta":
            _fold_delta(folded["delta"], value)
        elif key == "logprobs" and value is not None:
            into = folded.setdefault("logprobs", {})
            for name, tokens in value.items():
                into[name] = (into.get(name) or []) + (tokens or [])
        elif value is not None:
            folded[key] = value


def _fold_delta(folded: Json, delta: Json) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            calls = folded.setdefault("tool_calls", {})
            for call in value or []:
                _join(calls.setdefault(call["index"], {}), call)
        elif key == "function_call" and value is not None:
            _join(folded.setdefault("function_call", {}), value)
        elif isinstance(value, str) and key != "role":
            folded[key] = folded.get(key, "") + value
        elif value is not None:
            folded[key] = value


def _join(folded: Json, fragment: Json) -> None:
    for key, value in fragment.items():
        if isinstance(value, dict):
            _join(folded.setdefault(key, {}), value)
        elif key in ("arguments", "input"):
            folded[key] = folded.get(key, "") + (value or "")
        elif value is not None:
            folded[key] = value
