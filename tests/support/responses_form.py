"""What may differ between a recorded exchange of the Responses API and what passes through us: one function each.

Works on plain JSON and shares no code with the service: its folding of streams is what ours is held against.
Everything that no function here names must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from tests.support.normal_form import (
    Json,
    a_schema_is_its_text,
    not_streaming_is_unsaid,
    null_is_absent,
    the_cost_is_ours,
)

_OURS: Final = ("id", "created_at", "completed_at", "store")
_ENCRYPTED: Final = "reasoning.encrypted_content"

ECHOED: Final = frozenset(
    {
        *("background", "frequency_penalty", "instructions", "max_output_tokens", "max_tool_calls", "metadata"),
        *("parallel_tool_calls", "presence_penalty", "previous_response_id", "prompt_cache_key"),
        *("prompt_cache_retention", "reasoning", "safety_identifier", "temperature", "text", "tool_choice"),
        *("tools", "top_logprobs", "top_p", "truncation", "user"),
    }
)
"""What a response repeats of its request. Service tiers are not in here: the provider says which one it took."""


def request_form(body: Json) -> Json:
    """A request, recorded or sent, in its one form. `model` is compared as it is."""
    return _in_turn(REQUEST, body)


def answer_form(response: Json, request: Json) -> Json:
    """A whole response to `request`, recorded or returned, in its one form."""
    response = _in_turn(ANSWER, response)
    return (
        response
        if _ENCRYPTED in (request.get("include") or ())
        else encrypted_reasoning_is_shown_on_demand(response)
    )


def event_forms(events: Iterable[Json], request: Json) -> list[Json]:
    """The events of a stream in their one form, neighbouring deltas of one text joined."""
    forms: list[Json] = []
    for event in events:
        form = _event_form(event, request)
        last = forms[-1] if forms else {}
        if "delta" in form and _without(last, "delta", "logprobs") == _without(form, "delta", "logprobs"):
            last["delta"] += form["delta"]
            if "logprobs" in form or "logprobs" in last:
                last["logprobs"] = [*last.get("logprobs", ()), *form.get("logprobs", ())]
        else:
            forms.append(form)
    return forms


def a_schema_and_nothing_is_text(value: Any) -> Any:
    """Schemas are compared as texts, null is absent."""
    return null_is_absent(a_schema_is_its_text(value))


def empty_lists_are_unsaid(value: Any) -> Any:
    """Annotations, probabilities, tools and includes that are none say nothing; some versions leave them out."""
    if isinstance(value, list):
        return [empty_lists_are_unsaid(item) for item in value]
    if isinstance(value, dict):
        return {key: empty_lists_are_unsaid(item) for key, item in value.items() if item != []}
    return value


def nothing_is_kept_upstream(body: Json) -> Json:
    """We always send `store: false`: responses are kept here."""
    return _without(body, "store")


def encrypted_reasoning_is_always_asked_for(body: Json) -> Json:
    """What isn't stored upstream must come back to us whole, whether or not the caller wants to see it."""
    include = [name for name in body.get("include", ()) if name != _ENCRYPTED]
    return {**_without(body, "include"), **({"include": include} if include else {})}


def an_input_text_is_a_message(body: Json) -> Json:
    """A string is one user message."""
    said = body.get("input")
    return {**body, "input": [{"role": "user", "content": said}]} if isinstance(said, str) else body


def items_of_input_are_bare(body: Json) -> Json:
    """An item's id and state name what is stored at a provider; calls are bound by `call_id`."""
    return _each_input(body, lambda item: _without(item, "id", "status"))


def a_message_is_the_default_item(body: Json) -> Json:
    """An item without a type is a message."""
    return _each_input(body, lambda item: {"type": "message", **item})


def a_lone_text_is_a_string(body: Json) -> Json:
    """One text part and a string are the same content."""

    def flat(item: Json) -> Json:
        match item.get("content"):
            case [{"type": "input_text" | "output_text", "text": str(text), **more}] if not more:
                return {**item, "content": text}
        return item

    return _each_input(body, flat)


REQUEST: Final[tuple[Callable[[Any], Any], ...]] = (
    a_schema_and_nothing_is_text,
    empty_lists_are_unsaid,
    not_streaming_is_unsaid,
    nothing_is_kept_upstream,
    encrypted_reasoning_is_always_asked_for,
    an_input_text_is_a_message,
    items_of_input_are_bare,
    a_message_is_the_default_item,
    a_lone_text_is_a_string,
)


def id_times_and_store_are_ours(response: Json) -> Json:
    """The response is made and kept here."""
    return _without(response, *_OURS)


def an_echo_is_of_the_request(response: Json) -> Json:
    """Ours repeats what was asked for beside the API's defaults, theirs what became of it: see `echo_of`."""
    return _without(response, *ECHOED)


def items_are_numbered(response: Json) -> Json:
    """Items get ids of ours: which item is meant is what counts."""
    output = [_item_form(item, at) for at, item in enumerate(response.get("output", ()))]
    return {**response, "output": output}


def cache_writes_are_counted(response: Json) -> Json:
    """A count that older answers lack and OpenAI's contract demands by now: none were written."""
    usage = response.get("usage")
    if not usage:
        return response
    details = {"cache_write_tokens": 0, **usage.get("input_tokens_details", {})}
    return {**response, "usage": {**usage, "input_tokens_details": details}}


def the_tier_is_told(response: Json) -> Json:
    """OpenAI's contract demands it by now; where a provider doesn't say there is one."""
    return {"service_tier": "default", **response}


def encrypted_reasoning_is_shown_on_demand(response: Json) -> Json:
    """Some providers send it unasked (to organisations that let nothing be kept): we show it to those who ask."""
    output = [_without(item, "encrypted_content") for item in response["output"]]
    return {**response, "output": output}


ANSWER: Final[tuple[Callable[[Any], Any], ...]] = (
    a_schema_and_nothing_is_text,
    empty_lists_are_unsaid,
    id_times_and_store_are_ours,
    an_echo_is_of_the_request,
    items_are_numbered,
    cache_writes_are_counted,
    the_cost_is_ours,
    the_tier_is_told,
)


def echo_of(request: Json, response: Json) -> tuple[Json, Json]:
    """What must be repeated of the request, and what the response repeats of it: to be compared.

    Objects may be repeated with defaults beside what was said.
    """
    asked = {key: value for key, value in _in_turn(_ECHO, request).items() if key in ECHOED}
    told = _in_turn(_ECHO, response)
    return asked, {key: _said(asked[key], told[key]) for key in asked if key in told}


_ECHO: Final[tuple[Callable[[Any], Any], ...]] = (a_schema_and_nothing_is_text, empty_lists_are_unsaid)


def fold_events(events: Iterable[Json]) -> list[Json]:
    """The output that a stream's deltas make, by output index: no event is believed that repeats a whole.

    Audio stands beside the output.
    """
    items: dict[int, Json] = {}
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            items[event["output_index"]] = {**event["item"]}
        elif kind.endswith((".delta", "_part.added", "annotation.added")) and "output_index" in event:
            _fold(items[event["output_index"]], kind, event)
    return [_item_form(_settled(items[at]), at) for at in sorted(items)]


def _fold(item: Json, kind: str, event: Json) -> None:
    match kind.partition(".")[0]:
        case "content_part":
            item["content"] = [*item.get("content", ()), {**event["part"]}]
        case "reasoning_summary_part":
            item["summary"] = [*item.get("summary", ()), {**event["part"]}]
        case "reasoning_summary_text":
            item["summary"][event["summary_index"]]["text"] += event["delta"]
        case "output_text" if kind.endswith("annotation.added"):
            part = item["content"][event["content_index"]]
            part["annotations"] = [*part.get("annotations", ()), event["annotation"]]
        case "output_text" | "reasoning_text":
            part = item["content"][event["content_index"]]
            part["text"] += event["delta"]
            part["logprobs"] = [*part.get("logprobs", ()), *event.get("logprobs", ())]
        case "refusal":
            item["content"][event["content_index"]]["refusal"] += event["delta"]
        case "function_call_arguments":
            item["arguments"] = item.get("arguments", "") + event["delta"]
        case "custom_tool_call_input":
            item["input"] = item.get("input", "") + event["delta"]
        case _:
            raise AssertionError(f"a delta that no item takes: {kind}")


def _settled(item: Json) -> Json:
    """How an item ended no delta tells."""
    bare: Json = empty_lists_are_unsaid(null_is_absent(_without(item, "status", "encrypted_content")))
    return bare


def _event_form(event: Json, request: Json) -> Json:
    form: Json = empty_lists_are_unsaid(null_is_absent(_without(event, "sequence_number", "obfuscation")))
    if "response" in event:
        form["response"] = answer_form(event["response"], request)
        if event["type"] in ("response.created", "response.in_progress"):
            # The tier is known when the provider has answered.
            form["response"] = _without(form["response"], "service_tier")
    if "item" in form:
        form["item"] = _item_form(form["item"], event["output_index"])
        if _ENCRYPTED not in (request.get("include") or ()):
            form["item"] = _without(form["item"], "encrypted_content")
    if form["type"] == "response.function_call_arguments.done":
        # OpenAI's contract demands it by now; the item's own event tells it.
        form.pop("name", None)
    if "item_id" in form:
        form["item_id"] = f"item {event['output_index']}"
    return form


def _item_form(item: Json, at: int) -> Json:
    """Reasoning has no state in older answers: what is listed in one is complete."""
    state = {"status": "completed"} if item["type"] == "reasoning" else {}
    return {**state, **item, "id": f"item {at}"}


def _is_function(tool: Json) -> bool:
    return tool.get("type") == "function"


def _said(asked: Any, told: Any) -> Any:
    if isinstance(asked, dict) and isinstance(told, dict):
        return {key: _said(asked[key], told[key]) for key in asked if key in told}
    if isinstance(asked, list) and isinstance(told, list) and len(asked) == len(told):
        return [_said(one, other) for one, other in zip(asked, told, strict=True)]
    return told


def _in_turn(functions: Iterable[Callable[[Any], Any]], value: Json) -> Json:
    for function in functions:
        value = function(value)
    return value


def _without(value: Json, *keys: str) -> Json:
    return {key: item for key, item in value.items() if key not in keys}


def _each_input(body: Json, change: Callable[[Json], Json]) -> Json:
    items = body.get("input")
    return {**body, "input": [change(item) for item in items]} if isinstance(items, list) else body
