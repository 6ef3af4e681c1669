"""One conversation for every Responses client: what the providers answer, and what must come of it at both ends.

The clients' programs stand beside this module, one a client; each prints what it got as one JSON object:
`{"versions": {package: version}, "said": {step: outcome}}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from adapters.providers.simulator import Call, Cut, Script, ToolCall
from tests.support.running import two_dialects

PLACE: Final = {"city": "Bergen", "country": "Norway"}
_FINE: Final = "Fine in Oslo and Rome."
_ASKS: Final = Script(
    reasoning="Ask the tool.",
    tool_calls=(
        ToolCall("call_1", "weather", '{"city":"Oslo"}'),
        ToolCall("call_2", "weather", '{"city":"Rome"}'),
    ),
)

SCRIPTS: Final = (
    Script(text="Hello there."),
    Script(text="one two three four"),
    _ASKS,
    Script(text=_FINE),
    _ASKS,
    Script(text=_FINE),
    Script(text=json.dumps(PLACE)),
    Script(text="Still here."),
    Script(text="one two three four", fault=Cut(2)),
)
"""In the order of the upstream calls."""

_EXPECTED: Final[dict[str, object]] = {
    "plain": "Hello there.",
    "streamed": "one two three four",
    "tools": _FINE,
    "tools_streamed": _FINE,
    "parsed": PLACE,
    "continued": "Still here.",
}
_ORDERS: Final = {
    "a tool loop continued by id": (3, ("The weather?", "Ask the tool.", "fine in Oslo", "fine in Rome")),
    "a tool loop with its items sent back": (
        5,
        ("The weather?", "Ask the tool.", "fine in Oslo", "fine in Rome"),
    ),
    "a response continued": (7, ("Say hello.", "Hello there.", "And now?")),
}


def functions_only(alpha: str, beta: str) -> dict[str, Any]:
    """The two providers as most servers are: no custom tools; alpha is told its earlier reasoning."""
    rows = two_dialects(alpha, beta)
    rows["providers"][0] |= {"refuses": ["tools.custom"], "passthrough": ["messages.reasoning_content"]}
    return rows


def problems(said: dict[str, Any], calls: Sequence[Call]) -> list[str]:
    """What is not as it must be, in what the client got and in what the provider was asked."""
    found = [
        f"{step}: {said.get(step)!r} instead of {expected!r}"
        for step, expected in _EXPECTED.items()
        if said.get(step) != expected
    ]
    if not said.get("cut"):
        found.append("cut: a stream that was cut ended as if it were whole")
    if len(calls) != len(SCRIPTS):
        return [*found, f"{len(calls)} calls upstream instead of {len(SCRIPTS)}"]
    for what, (number, texts) in _ORDERS.items():
        if lost := out_of_order(calls[number].body["messages"], texts):
            found.append(f"{what}: the provider was not told {lost!r}, or not in its place")
    return found


def out_of_order(messages: object, texts: Sequence[str]) -> str | None:
    """The first of `texts` that does not stand behind the one before."""
    told, at = json.dumps(messages, ensure_ascii=False), 0
    for text in texts:
        at = told.find(text, at)
        if at < 0:
            return text
    return None
