"""What recorded clients asked of Anthropic's Messages, counted, and which of it our requests can say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from adapters.providers.anthropic import DIALECT
from service.domain.fields import HINTS
from tests.contract.sample import endpoint_for
from tests.golden.requests import CASES
from tests.support.recorded import read_exchanges

_PLAIN: Final = frozenset(
    (
        *("type", "text", "source", "id", "name", "input", "content", "tool_use_id"),
        *("thinking", "signature", "data", "description", "input_schema"),
    )
)

# In how many of the recorded requests each form is. All but those below are in a golden case.
COUNTED: Final = {
    "max_tokens": 172,
    "messages": 172,
    "model": 172,
    "stream": 83,
    "stop_sequences": 1,
    "temperature": 41,
    "system": 45,
    "system: string": 8,
    "system: text": 30,
    "system: text cache_control": 9,
    "user: string": 87,
    "user: text": 60,
    "user: text cache_control": 25,
    "user: image base64": 12,
    "user: image url": 1,
    "user: tool_result": 10,
    "user: tool_result is_error": 5,
    "tool_result: string": 11,
    "tool_result: text": 4,
    "assistant: string": 1,
    "assistant: text": 15,
    "assistant: thinking": 2,
    "assistant: tool_use": 15,
    "cache_control: ephemeral": 31,
    "cache_control: ephemeral ttl": 2,
    "tools": 41,
    "tools: function": 37,
    "tools: function defer_loading": 3,
    "tools: tool_search_tool_regex_20251119": 2,
    "tools: web_search_20250305": 2,
    "tool_choice": 1,
    "tool_choice: auto disable_parallel_tool_use": 1,
    "thinking": 23,
    "thinking: enabled budget_tokens": 20,
    "thinking: enabled budget_tokens display": 2,
    "thinking: adaptive": 1,
    "output_config": 8,
    "output_config: effort": 1,
    "output_config: format json_schema": 7,
    "output_format": 3,
}

RUN_BY_ANTHROPIC: Final = "a tool that Anthropic runs: our APIs have no name for it"
UNSAID: Final = {
    "output_format": "what output_config.format was called in its preview",
    "tools: web_search_20250305": RUN_BY_ANTHROPIC,
    "tools: tool_search_tool_regex_20251119": RUN_BY_ANTHROPIC,
    "tools: function defer_loading": "of use only beside a tool search that Anthropic runs",
    "thinking: enabled budget_tokens display": "models that take a budget show their thinking without being asked",
    "thinking: adaptive": "ours always asks to see the thinking: the golden form is `adaptive display`",
    "user: tool_result is_error": "neither of our APIs says of a result that it is an error",
}

NOT_THE_SHAPE: Final = 1
"""Recorded requests that Anthropic refused with 400 for their shape."""


def forms(request: dict[str, Any]) -> Iterator[str]:
    """The forms that a request takes: its fields, the kinds of what is in them, the fields of those."""
    for name, value in request.items():
        yield name
        if name == "thinking":
            yield f"thinking: {_kind(value)}"
        elif name == "output_config":
            yield from (f"output_config: {_config(key, inner)}" for key, inner in value.items())
        elif name == "tool_choice":
            yield f"tool_choice: {_kind(value)}"
        elif name == "cache_control":
            yield f"cache_control: {_kind(value)}"
        elif name == "tools":
            yield from (f"tools: {_kind({'type': 'function', **_named(tool)})}" for tool in value)
        elif name == "system":
            yield from _content("system", value)
        elif name == "messages":
            for message in value:
                yield from _content(message["role"], message["content"])


def _config(key: str, value: Any) -> str:
    return f"{key} {value['type']}" if isinstance(value, dict) else key


def _named(tool: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tool.items() if value is not None}


def _kind(value: dict[str, Any]) -> str:
    return " ".join([value["type"], *sorted(key for key in value if key not in _PLAIN)])


def _content(where: str, content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield f"{where}: string"
        return
    for block in content:
        source = block.get("source")
        shown = [block["type"], source["type"]] if source else [block["type"]]
        yield f"{where}: {' '.join([*shown, *sorted(block.keys() - _PLAIN)])}"
        if "cache_control" in block:
            yield f"cache_control: {_kind(block['cache_control'])}"
        if block["type"] == "tool_result" and block.get("content"):
            yield from _content("tool_result", block["content"])


def recorded(shared: Path) -> tuple[Counter[str], int]:
    """How many recorded requests take each form, and how many are none of this API."""
    counted: Counter[str] = Counter()
    left_out = 0
    for exchange in read_exchanges(shared, "anthropic.messages"):
        assert exchange.request is not None
        try:
            counted.update(set(forms(exchange.request)))
        except (AttributeError, KeyError, TypeError):
            assert exchange.status == 400
            left_out += 1
    return counted, left_out


def emitted() -> set[str]:
    """The forms of the golden requests, for a model with a budget and for one that thinks adaptively."""
    found: set[str] = set()
    for case in CASES.values():
        if case.needs - HINTS <= DIALECT.expressible:
            for model in ("claude-haiku-4-5", "claude-sonnet-5"):
                endpoint = replace(endpoint_for(DIALECT), upstream_model=model)
                request = DIALECT.build(case.generation, endpoint, stream=case.stream)
                found |= set(forms(json.loads(request.body)))
    return found


def test_the_recorded_requests_are_counted_to_the_last_one(shared: Path) -> None:
    counted, left_out = recorded(shared)
    assert dict(counted) == COUNTED
    assert left_out == NOT_THE_SHAPE


def test_every_recorded_form_has_a_golden_case_or_a_reason_why_not() -> None:
    ours = emitted()
    assert COUNTED.keys() - ours == UNSAID.keys()


def test_ours_ask_for_more_than_the_recorded_ones() -> None:
    assert emitted() >= {
        "assistant: redacted_thinking",
        "cache_control",
        "metadata",
        "thinking: adaptive display",
        "tool_choice: any",
        "tool_choice: none",
        "tool_choice: tool",
        "tool_result: image base64",
        "user: document base64 title",
        "user: document url",
    }
