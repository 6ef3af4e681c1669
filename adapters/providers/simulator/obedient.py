"""Answers that do what a request asks for, by rule and without a model: tools, schemas, limits, stops, thinking.

The rules are few. A tool that must be called is called, each declared one once where several may be; arguments and
structured output fit their schema, with the last line that was asked in every string; an open assistant turn is
repeated and gone on with; anything else gets back what users said so far. Reads the bodies of all wire formats and
writes none.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from .script import Script, ToolCall, pieces
from .wire import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIXES_KEPT = 4096
_CHARACTERS_A_TOKEN = 4
_THOUGHT = "The simulator pretends to think about this. " * 6
_SAMPLES: Mapping[str, Any] = {"integer": 1, "number": 1.5, "boolean": True, "null": None}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks for. `turns` are its prompt in pieces; `choice` is none, auto, required or a name."""

    turns: tuple[bytes, ...]
    users: tuple[str, ...]
    open_turn: str | None
    tools: tuple[tuple[str, Mapping[str, Any]], ...]
    choice: str
    parallel: bool
    schema: Mapping[str, Any] | None
    limit: int | None
    stops: tuple[str, ...]
    thinks: bool


class Obedient:
    """Makes scripts from requests; remembers the prompts that it saw, to count what a cache would have held."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def script(self, script: Script, body: Mapping[str, Any]) -> Script:
        """The script with what this request asks for as its content; its pace and faults stay."""
        wish = wish_of(body)
        calls = tuple(_calls(wish))
        text = None if calls else _text(wish)
        thought = pieces(_THOUGHT) if wish.thinks else ()
        spoken = () if text is None else pieces(_until_stop(text, wish.stops))
        limit = wish.limit if wish.limit is not None else len(thought) + len(spoken) + 1
        kept = spoken[: max(0, limit - len(thought))]
        cut = len(thought) + len(spoken) > limit
        made = replace(
            script,
            obey=False,
            text=kept,
            reasoning=thought[:limit],
            tool_calls=() if cut else calls,
            finish_reason=script.finish_reason or ("length" if cut else None),
        )
        if script.usage is not None:
            return made
        prompt, cached = self._count(wish.turns)
        sent = made.counted_usage()
        return replace(made, usage=replace(sent, prompt_tokens=prompt, cached_tokens=cached))

    def _count(self, turns: tuple[bytes, ...]) -> tuple[int, int]:
        """The prompt's tokens and how many of them stood at the start of an earlier prompt."""
        prompt = cached = 0
        digest = hashlib.blake2b(digest_size=16)
        for turn in turns:
            prompt += len(turn) // _CHARACTERS_A_TOKEN + 1
            digest.update(turn)
            key = digest.digest()
            if key in self._seen:
                cached = prompt
            self._seen[key] = None
        while len(self._seen) > _PREFIXES_KEPT:
            self._seen.popitem(last=False)
        return prompt, cached


def wish_of(body: Mapping[str, Any]) -> Wish:
    """Reads a request of any wire format; what it does not understand it passes over."""
    turns = body.get("messages") or body.get("input") or ()
    if isinstance(turns, str):
        turns = [{"role": "user", "content": turns}]
    turns = [turn for turn in turns if isinstance(turn, dict)]
    first = {key: body[key] for key in ("instructions", "system", "tools") if body.get(key)}
    last = turns[-1] if turns else {}
    choice = body.get("tool_choice") or "auto"
    serial = isinstance(choice, dict) and choice.get("disable_parallel_tool_use") is True
    return Wish(
        turns=tuple(orjson.dumps(turn) for turn in ([first, *turns] if first else turns)),
        users=tuple(text_of(turn.get("content")) for turn in turns if turn.get("role") == "user"),
        open_turn=text_of(last.get("content")) if last.get("role") == "assistant" else None,
        tools=tuple(_tools(body.get("tools") or ())),
        choice=choice if isinstance(choice, str) else _named(choice),
        parallel=body.get("parallel_tool_calls") is not False and not serial,
        schema=_schema(body),
        limit=_first(body, "max_completion_tokens", "max_output_tokens", "max_tokens"),
        stops=_stops(_first(body, "stop", "stop_sequences")),
        thinks=_thinks(body),
    )


def sample(schema: Mapping[str, Any], text: str) -> Any:
    """A value that fits a plain JSON Schema: required and optional properties, the shortest array."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return sample(schema[key][0], text)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema:
        return {name: sample(part, text) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [sample(schema.get("items") or {}, text)] * int(schema.get("minItems", 0))
    return _SAMPLES.get(str(kind), text)


def _calls(wish: Wish) -> Iterator[ToolCall]:
    if not wish.tools or wish.choice in ("auto", "none"):
        return
    named = [tool for tool in wish.tools if tool[0] == wish.choice]
    wanted = named or (wish.tools if wish.parallel else wish.tools[:1])
    for at, (name, schema) in enumerate(wanted):
        yield ToolCall(f"call_sim{at:020d}", name, orjson.dumps(sample(schema, _asked(wish))).decode())


def _text(wish: Wish) -> str:
    if wish.schema is not None:
        return orjson.dumps(sample(wish.schema, _asked(wish))).decode()
    if wish.open_turn is not None:
        return f"{wish.open_turn} and so on, says the simulator."
    return "The simulator was told: " + " / ".join(wish.users)


def _asked(wish: Wish) -> str:
    return wish.users[-1].rpartition("\n")[2] if wish.users else ""


def _until_stop(text: str, stops: tuple[str, ...]) -> str:
    for stop in stops:
        text = text.partition(stop)[0]
    return text


def _tools(tools: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for tool in tools:
        inner = tool.get("function", tool)
        if isinstance(inner.get("name"), str):
            yield inner["name"], inner.get("parameters") or inner.get("input_schema") or {}


def _named(choice: Mapping[str, Any]) -> str:
    """A choice that is an object: the name that it holds, or its kind in OpenAI's words."""
    name = choice.get("name") or (choice.get("function") or {}).get("name")
    kind = str(choice.get("type", "auto"))
    return name or {"any": "required"}.get(kind, kind)


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    text = body.get("text") or body.get("output_config") or {}
    wanted = body.get("response_format") or text.get("format") or {}
    if wanted.get("type") == "json_object":
        return {"type": "object", "properties": {"simulated": {"const": True}}}
    found: Mapping[str, Any] | None = (wanted.get("json_schema") or wanted).get("schema")
    return found


def _thinks(body: Mapping[str, Any]) -> bool:
    effort = body.get("reasoning_effort") or (body.get("reasoning") or {}).get("effort")
    thinking = (body.get("thinking") or {}).get("type")
    return effort not in (None, "none") or thinking in ("enabled", "adaptive")


def _stops(stop: Any) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _first(body: Mapping[str, Any], *keys: str) -> Any:
    return next((body[key] for key in keys if body.get(key) is not None), None)
