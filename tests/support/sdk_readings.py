"""Chat answers as the providers' own SDKs read them, and as we do, in one comparable form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from mistralai.client.models import ChatCompletionResponse, CompletionChunk
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from service.domain.events import Event, ReasoningDelta
from service.domain.fold import fold


@dataclass(frozen=True)
class Reading:
    """One choice: text, reasoning, calls as (id, name, arguments), the provider's word for its end.

    `tokens` of the whole answer: read, written, together; None where the answer does not say.
    """

    text: str
    reasoning: str
    calls: tuple[tuple[str, str, Any], ...]
    end: str | None
    tokens: tuple[int, int, int] | None


def ours(events: Sequence[Event]) -> list[Reading]:
    """What our events say."""
    folded = fold(events)
    usage = folded.usage
    tokens = None if usage is None else (usage.input_tokens, usage.output_tokens, usage.total_tokens)
    return [
        Reading(
            choice.text or "",
            "".join(e.text for e in events if isinstance(e, ReasoningDelta) and e.choice == choice.index),
            tuple((call.id, call.name, _arguments(call.arguments)) for call in choice.calls),
            choice.finish.raw if choice.finish else None,
            tokens,
        )
        for choice in folded.choices
    ]


def mistrals(body: bytes) -> list[Reading]:
    """What the SDK `mistralai` reads from a whole answer."""
    answer = ChatCompletionResponse.model_validate_json(body)
    return _readings([(answer.usage, answer.choices)], lambda choice: choice.message)


def mistrals_stream(body: bytes) -> list[Reading]:
    """What it reads from a stream's chunks."""
    chunks = [CompletionChunk.model_validate(document) for document in documents(body)]
    return _readings([(chunk.usage, chunk.choices) for chunk in chunks], lambda choice: choice.delta)


def openais(body: bytes) -> list[Reading]:
    """What the SDK `openai` reads from a whole answer. Its types leave nothing out, whatever is missing."""
    answer = ChatCompletion.construct(**json.loads(body))
    return _readings([(answer.usage, answer.choices)], lambda choice: getattr(choice, "message", None))


def openais_stream(body: bytes) -> list[Reading]:
    """What it reads from a stream's chunks."""
    chunks = [ChatCompletionChunk.construct(**document) for document in documents(body)]
    return _readings(
        [(chunk.usage, chunk.choices) for chunk in chunks], lambda choice: getattr(choice, "delta", None)
    )


def documents(stream: bytes) -> list[dict[str, Any]]:
    """The JSON documents of a stream, without its end marker."""
    lines = (line.removeprefix(b"data:").strip() for line in stream.split(b"\n") if line.startswith(b"data:"))
    return [json.loads(line) for line in lines if line and line != b"[DONE]"]


def _readings(pieces: Iterable[tuple[Any, Any]], said: Any) -> list[Reading]:
    texts: dict[int, str] = {}
    thoughts: dict[int, str] = {}
    ends: dict[int, str | None] = {}
    calls: dict[int, dict[int, list[str]]] = {}
    tokens = None
    for usage, choices in pieces:
        if usage:
            tokens = (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
        for choice in choices:
            at, message = choice.index, said(choice)
            text, thought = _content(message)
            texts[at] = texts.get(at, "") + text
            thoughts[at] = thoughts.get(at, "") + thought
            ends[at] = getattr(choice, "finish_reason", None) or ends.get(at)
            _collect(calls.setdefault(at, {}), getattr(message, "tool_calls", None) or ())
            _collect_old(calls[at], getattr(message, "function_call", None))
    return [
        Reading(texts[at], thoughts[at], tuple(_called(*call) for call in calls[at].values()), ends[at], tokens)
        for at in sorted(texts)
    ]


def _content(message: Any) -> tuple[str, str]:
    content = getattr(message, "content", None) or ""
    extra = getattr(message, "model_extra", None) or {}
    if isinstance(content, str):
        return content, extra.get("reasoning_content") or extra.get("reasoning") or ""
    text = "".join(chunk.text for chunk in content if chunk.type == "text")
    inner = [piece for chunk in content if chunk.type == "thinking" for piece in chunk.thinking]
    return text, "".join(piece.text for piece in inner if piece.type == "text")


def _collect(calls: dict[int, list[str]], fragments: Iterable[Any]) -> None:
    for position, fragment in enumerate(fragments):
        # Mistral's calls come whole, in older streams without an index; OpenAI's come in pieces, by index.
        index = fragment.index if getattr(fragment, "index", None) else position
        known = calls.setdefault(index, ["", "", ""])
        known[0] = known[0] or fragment.id or ""
        called = getattr(fragment, "function", None) or _custom(fragment)
        known[1] = known[1] or called.name or ""
        arguments = getattr(called, "arguments", None) or getattr(called, "input", None) or ""
        known[2] += arguments if isinstance(arguments, str) else json.dumps(arguments)


def _custom(fragment: Any) -> Any:
    # The types of a stream's chunks have no custom calls: what they do not name stays a dictionary.
    called = fragment.custom
    return SimpleNamespace(**{"name": None, **called}) if isinstance(called, dict) else called


def _collect_old(calls: dict[int, list[str]], call: Any) -> None:
    if call is not None:
        known = calls.setdefault(0, ["", "", ""])
        known[1], known[2] = known[1] or call.name or "", known[2] + (call.arguments or "")


def _called(call_id: str, name: str, arguments: str) -> tuple[str, str, Any]:
    return call_id, name, _arguments(arguments)


def _arguments(text: str) -> Any:
    try:
        return json.loads(text) if text else {}
    except ValueError:
        # A custom tool's input is any text.
        return text
