"""What may differ between what was recorded and what passes through us, one function for each difference.

Works on plain JSON and shares no code with the service: its folding of streams is what ours is held against.
Everything that no function here names must be equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

Json = dict[str, Any]

_SCHEMAS: Final = frozenset({"parameters", "schema"})


def request_form(body: Json) -> Json:
    """A request, recorded or sent, in its one form. `model` is compared as it is."""
    return _in_turn(REQUEST, body)


def answer_form(answer: Json) -> Json:
    """A whole answer or a folded stream, recorded or returned, in its one form."""
    return _in_turn(ANSWER, answer)


def a_schema_is_its_text(value: Any) -> Any:
    """This one is stricter: models follow the order of a JSON Schema's keys, and null or 1.0 in it are values."""
    if isinstance(value, list):
        return [a_schema_is_its_text(item) for item in value]
    if isinstance(value, dict):
        return {
            key: json.dumps(item) if key in _SCHEMAS else a_schema_is_its_text(item) for key, item in value.items()
        }
    return value


def null_is_absent(value: Any) -> Any:
    """OpenAI's API takes null for a field that is not set, everywhere, and prints it where it pleases."""
    if isinstance(value, list):
        return [null_is_absent(item) for item in value]
    if isinstance(value, dict):
        return {key: null_is_absent(item) for key, item in value.items() if item is not None}
    return value


def not_streaming_is_unsaid(body: Json) -> Json:
    """`stream: false` is the default: a whole answer is asked for by leaving it out."""
    return _without(body, "stream") if body.get("stream") is False else body


def max_tokens_is_max_completion_tokens(body: Json) -> Json:
    """Two names of one limit: which one goes out is a property of the provider's row."""
    return {"max_completion_tokens" if key == "max_tokens" else key: value for key, value in body.items()}


def a_stop_is_a_list(body: Json) -> Json:
    """One stop sequence may be written without the list around it."""
    stop = body.get("stop")
    return {**body, "stop": [stop]} if isinstance(stop, str) else body


def usage_is_always_asked_for(body: Json) -> Json:
    """Every stream is asked for its usage, whether or not the caller wants to see it: it is counted."""
    options = _without(body.get("stream_options", {}), "include_usage")
    rest = _without(body, "stream_options")
    return {**rest, "stream_options": options} if options else rest


def a_lone_text_is_a_string(body: Json) -> Json:
    """One text part and a string are the same content; the string is what more servers take."""

    def flat(message: Json) -> Json:
        match message.get("content"):
            case [{"type": "text", "text": str(text), **more}] if not more:
                return {**message, "content": text}
        return message

    return {**body, "messages": [flat(message) for message in body["messages"]]}


def no_sources_in_history_are_unsaid(body: Json) -> Json:
    """Clients send answers back with their empty list of annotations, which says nothing."""
    return {**body, "messages": [_without_empty(message, "annotations") for message in body["messages"]]}


REQUEST: Final[tuple[Callable[[Any], Any], ...]] = (
    a_schema_is_its_text,
    null_is_absent,
    not_streaming_is_unsaid,
    max_tokens_is_max_completion_tokens,
    a_stop_is_a_list,
    usage_is_always_asked_for,
    a_lone_text_is_a_string,
    no_sources_in_history_are_unsaid,
)


def provider_is_ours(answer: Json) -> Json:
    """We add who answered."""
    return _without(answer, "provider")


def the_cost_is_ours(answer: Json) -> Json:
    """We say what an answer costs by the catalogue's prices, in place of what its provider says (OpenRouter)."""
    usage = answer.get("usage")
    return {**answer, "usage": _without(usage, "cost", "currency")} if usage else answer


def nothing_in_a_list_is_no_list(answer: Json) -> Json:
    """Some servers send empty lists of annotations and calls, others leave them out; we leave them out."""
    return _each_message(answer, lambda message: _without_empty(message, "annotations", "tool_calls"))


def the_role_is_always_told(answer: Json) -> Json:
    """Azure and a proxy left it out; OpenAI's contract demands it, and a message for it to stand in."""
    key = "delta" if isinstance(answer["choices"], dict) else "message"
    answer = _each_choice(answer, lambda choice: {**choice, key: choice.get(key, {})})
    return _each_message(answer, lambda message: {"role": "assistant", **message})


def reasoning_has_one_name(answer: Json) -> Json:
    """`reasoning_content` is what DeepSeek, vLLM and others call it; the API that we mirror says `reasoning`."""

    def renamed(message: Json) -> Json:
        return {"reasoning" if key == "reasoning_content" else key: value for key, value in message.items()}

    return _each_message(answer, renamed)


def calls_are_numbered_in_streams_only(answer: Json) -> Json:
    """A server (Together) numbers the calls of whole answers as well: their order says the same."""

    def bare(message: Json) -> Json:
        calls = message.get("tool_calls")
        if not isinstance(calls, list):
            return message
        return {**message, "tool_calls": [_without(call, "index") for call in calls]}

    return _each_message(answer, bare)


def an_unknown_end_has_a_place_beside_the_known_one(answer: Json) -> Json:
    """A server's (Together's) own word, which OpenAI's contract has no room for: we tell it beside `stop`."""

    def told(choice: Json) -> Json:
        word = choice.get("native_finish_reason")
        return {**_without(choice, "native_finish_reason"), "finish_reason": word} if word else choice

    return _each_choice(answer, told)


def cached_tokens_have_one_place(answer: Json) -> Json:
    """Some servers count them beside OpenAI's place for them; we tell them there too."""
    usage = answer.get("usage") or {}
    cached = usage.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))
    if cached is None:
        return answer
    details = {"cached_tokens": cached, **usage.get("prompt_tokens_details", {})}
    return {**answer, "usage": {**usage, "prompt_tokens_details": details}}


ANSWER: Final[tuple[Callable[[Any], Any], ...]] = (
    null_is_absent,
    provider_is_ours,
    the_cost_is_ours,
    the_role_is_always_told,
    nothing_in_a_list_is_no_list,
    reasoning_has_one_name,
    calls_are_numbered_in_streams_only,
    an_unknown_end_has_a_place_beside_the_known_one,
    cached_tokens_have_one_place,
)


def usage_is_held_back(folded: Json) -> Json:
    """For a recorded stream whose caller didn't ask for its usage: we asked for it, and keep it to ourselves."""
    return _without(folded, "usage")


def fold_chunks(chunks: Iterable[Json]) -> Json:
    """The answer that a stream's chunks make: its choices by index, what a choice says under `delta`.

    Usage is the last that came; `obfuscation` and Mistral's `p` are padding against eavesdroppers and say nothing.
    Of the other fields beside the choices the last value counts that is no empty one (Azure's first chunk has no
    id).
    """
    folded: Json = {"choices": {}}
    for chunk in chunks:
        for choice in chunk["choices"]:
            _fold_choice(folded["choices"].setdefault(choice["index"], {"delta": {}}), choice)
        for key, value in _without(chunk, "choices", "obfuscation", "p").items():
            if value or key not in folded:
                folded[key] = value
    return folded


def gathered(told: list[Json]) -> Json:
    """Chunks of ours as the whole answer that they make: messages in choices. Takes annotations out of `told`."""
    sources: dict[int, list[Json]] = {}
    for chunk in told:
        for choice in chunk["choices"]:
            sources.setdefault(choice["index"], []).extend(choice["delta"].pop("annotations", ()))
    folded = fold_chunks(told)
    choices = []
    for at in sorted(folded["choices"]):
        choice = folded["choices"][at]
        calls = choice["delta"].pop("tool_calls", {})
        message = {**choice["delta"], "tool_calls": [calls[i] for i in sorted(calls)], "annotations": sources[at]}
        choices.append({**choice, "message": message})
    return {**folded, "choices": choices}


def _fold_choice(folded: Json, choice: Json) -> None:
    for key, value in choice.items():
        if value is None:
            continue
        if key == "delta":
            _fold_delta(folded["delta"], value)
        elif key == "logprobs":
            into = folded.setdefault("logprobs", {})
            for name, tokens in value.items():
                into[name] = into.get(name, []) + (tokens or [])
        else:
            folded[key] = value


def _fold_delta(folded: Json, delta: Json) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            for call in value or []:
                _join(folded.setdefault("tool_calls", {}).setdefault(call["index"], {}), call)
        elif isinstance(value, dict):
            _join(folded.setdefault(key, {}), value)
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


def differences(expected: Any, got: Any, path: str = "") -> Iterator[str]:
    """Each place where the two differ, with what stands there; 1 and 1.0 are equal, true and 1 are not."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in expected | got:
            if key not in got:
                yield f"{path}.{key}: {expected[key]!r:.200} got lost"
            elif key not in expected:
                yield f"{path}.{key}: {got[key]!r:.200} was added"
            else:
                yield from differences(expected[key], got[key], f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, (one, other) in enumerate(zip(expected, got, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif expected != got or isinstance(expected, bool) is not isinstance(got, bool):
        yield f"{path}: {expected!r:.200} became {got!r:.200}"


def _in_turn(functions: Iterable[Callable[[Any], Any]], value: Json) -> Json:
    for function in functions:
        value = function(value)
    return value


def _without(value: Json, *keys: str) -> Json:
    return {key: item for key, item in value.items() if key not in keys}


def _without_empty(value: Json, *keys: str) -> Json:
    return {key: item for key, item in value.items() if key not in keys or item}


def _each_choice(answer: Json, change: Callable[[Json], Json]) -> Json:
    choices = answer["choices"]
    if isinstance(choices, dict):
        return {**answer, "choices": {index: change(choice) for index, choice in choices.items()}}
    return {**answer, "choices": [change(choice) for choice in choices]}


def _each_message(answer: Json, change: Callable[[Json], Json]) -> Json:
    def changed(choice: Json) -> Json:
        return {key: change(value) if key in ("message", "delta") else value for key, value in choice.items()}

    return _each_choice(answer, changed)
