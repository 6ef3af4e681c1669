"""Scripts spelt as a model name, so that a stand-alone simulator needs no other control.

`sim-` and then any of these, joined by dashes, in any order (a leading `vendor/` is ignored):

- `echo`                      the last user message
- `obey`                      what the request asks for: tool calls, structured output, limits, stops, reasoning
- `tokens-256`                that many tokens, as fast as possible
- `paced-5ms-256`             that many tokens, one every 5 ms
- `pace-5ms`                  the tokens of whatever is said, one every 5 ms
- `busy-2-1s`                 429 with Retry-After 1 for the first 2 calls with the same last user message
- `after-200ms`               a wait before the first byte
- `takes-1s`                  the whole time of an answer that is not streamed
- `reasoning`                 some reasoning first
- `tool`, `tools`             one function call, two parallel ones
- `refusal`, `length`, `filter`   a refusal; finish reasons length and content_filter
- `fault-cut`, `fault-stall`, `fault-garbage`, `fault-errorevent`, `fault-reset`
                              each may be followed by the number of tokens before it: `fault-cut-10`
- `fault-error200`            a JSON error body with HTTP 200
- `fault-silence`             the connection is aborted before a single byte
- `fault-slow-30s`            a first byte that takes that long (30 s when left out)
- `fault-400`, `-401`, `-402`, `-403`, `-404`, `-429`, `-500`, `-502`, `-503`, `-504`, `-529`
                              the status with its provider's usual body; `fault-429-2s` sets Retry-After
- `fault-context`, `fault-quota`   a prompt that is too long (400); spent credit (429)

Examples: `sim-echo`, `sim-paced-5ms-256`, `sim-tokens-64-fault-cut-10`, `sim-tools-after-50ms`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .script import (
    CONTEXT_LENGTH,
    Cut,
    ErrorIn200,
    Fault,
    Garbage,
    HttpError,
    Reason,
    Reset,
    Script,
    SlowFirstByte,
    Stall,
    ToolCall,
    insufficient_quota,
    rate_limited,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "sim-"
EXAMPLES = (
    "sim-echo",
    "sim-obey",
    "sim-tokens-256",
    "sim-paced-5ms-256",
    "sim-echo-pace-5ms",
    "sim-echo-busy-2-1s",
    "sim-reasoning-tokens-16",
    "sim-tool",
    "sim-tools",
    "sim-refusal",
    "sim-fault-cut",
    "sim-fault-stall",
    "sim-fault-garbage",
    "sim-fault-error200",
    "sim-fault-errorevent",
    "sim-fault-reset",
    "sim-fault-silence",
    "sim-fault-slow-5s",
    "sim-fault-400",
    "sim-fault-401",
    "sim-fault-402",
    "sim-fault-429",
    "sim-fault-500",
    "sim-fault-503",
    "sim-fault-529",
    "sim-fault-context",
    "sim-fault-quota",
)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s)\Z")
_REASONS = {
    400: Reason.INVALID_REQUEST,
    401: Reason.INVALID_KEY,
    402: Reason.QUOTA,
    403: Reason.FORBIDDEN,
    404: Reason.NOT_FOUND,
    500: Reason.SERVER_ERROR,
    502: Reason.SERVER_ERROR,
    503: Reason.OVERLOADED,
    504: Reason.SERVER_ERROR,
    529: Reason.OVERLOADED,
}
_COUNTED: dict[str, type[Cut | Stall | Garbage | ErrorIn200 | Reset]] = {
    "cut": Cut,
    "stall": Stall,
    "garbage": Garbage,
    "errorevent": ErrorIn200,
    "reset": Reset,
}
_REASONING = "The simulator pretends to think about this. "
_CALLS = (
    ToolCall("call_sim00000000000000000001", "get_weather", '{"city":"Paris"}'),
    ToolCall("call_sim00000000000000000002", "get_weather", '{"city":"Rome"}'),
)
_PLAIN: dict[str, dict[str, Any]] = {
    "echo": {"echo": True},
    "obey": {"obey": True},
    "reasoning": {"reasoning": _REASONING},
    "tool": {"tool_calls": _CALLS[:1]},
    "tools": {"tool_calls": _CALLS},
    "refusal": {"refusal": "The simulator was told to refuse."},
    "length": {"finish_reason": "length"},
    "filter": {"finish_reason": "content_filter"},
}


class _Words:
    """The words of one name, read from the left."""

    def __init__(self, words: list[str]) -> None:
        self._words = words[::-1]

    def __iter__(self) -> Iterator[str]:
        while self._words:
            yield self._words.pop()

    def number(self, default: int | None = None) -> int:
        if self._words and self._words[-1].isdecimal():
            return int(self._words.pop())
        if default is None:
            raise ValueError("a number is missing")
        return default

    def seconds(self, default: float | None = None) -> float:
        match = _DURATION.match(self._words[-1]) if self._words else None
        if match is None:
            if default is None:
                raise ValueError("a duration such as 5ms or 2s is missing")
            return default
        self._words.pop()
        return float(match[1]) * (0.001 if match[2] == "ms" else 1.0)


@lru_cache(maxsize=1024)
def script_of(model: str) -> Script | None:
    """The script that a model name spells; None when it does not start with `sim-`.

    Raises ValueError with a sentence for the caller when it starts so and says something unknown.
    """
    name = model.rpartition("/")[2]
    if not name.startswith(PREFIX):
        return None
    words = _Words(name.removeprefix(PREFIX).split("-"))
    fields: dict[str, Any] = {}
    try:
        for word in words:
            fields.update(_directive(word, words))
        return Script(**fields)
    except ValueError as error:
        raise ValueError(f"model: the simulator can't read {model!r}: {error}; GET / lists the names") from None


def _directive(word: str, words: _Words) -> dict[str, Any]:
    if word in _PLAIN:
        return _PLAIN[word]
    match word:
        case "tokens":
            return {"tokens": words.number()}
        case "paced":
            return {"pace": words.seconds(), "tokens": words.number()}
        case "pace":
            return {"pace": words.seconds()}
        case "busy":
            return {"busy_calls": words.number(), "busy_seconds": words.seconds()}
        case "after":
            return {"first_byte_delay": words.seconds()}
        case "takes":
            return {"latency": words.seconds()}
        case "fault":
            return {"fault": _fault(next(iter(words), ""), words)}
        case _:
            raise ValueError(f"{word!r} is not a directive")


def _fault(kind: str, words: _Words) -> Fault:
    if kind in _COUNTED:
        return _COUNTED[kind](after_tokens=words.number(default=3))
    if kind == "429":
        seconds = words.seconds(default=1.0)
        return rate_limited(int(seconds) if seconds.is_integer() else seconds)
    if kind.isdecimal() and int(kind) in _REASONS:
        return HttpError(int(kind), _REASONS[int(kind)])
    match kind:
        case "error200":
            return ErrorIn200()
        case "silence":
            return Reset(after_tokens=None)
        case "slow":
            return SlowFirstByte(words.seconds(default=30.0))
        case "context":
            return CONTEXT_LENGTH
        case "quota":
            return insufficient_quota()
        case _:
            raise ValueError(f"{kind!r} is not a fault")
