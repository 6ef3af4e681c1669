"""What a recorded answer says, by whichever wire it came, in one comparable form: the provider's side of it.

Anthropic's bytes are read by Anthropic's own client, Bedrock's by botocore, OpenAI's responses by the types of its
SDK; chat answers, which have look-alikes that no SDK types, as the JSON that they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from openai.types.responses import Response

from tests.support import bedrock_model
from tests.support.anthropic_client import read_by_client
from tests.support.normal_form import fold_chunks
from tests.support.recorded import Exchange

FAILED: Final = "an error, or nothing at all"

ENDS: Final = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "guardrail_intervened": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
}
"""Why an answer ended: the providers' words, and ours."""


@dataclass
class Said:
    """What one choice says. Calls as (id or "", name, arguments or input).

    `tokens`: read, written, of those read from a cache, written to one, and of the written ones reasoning; of the
    whole answer, None where the provider gave no counts.
    """

    text: str = ""
    refusal: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str, Any], ...] = ()
    sources: tuple[str, ...] = ()
    heard: str = ""
    likely: int = 0
    end: str | None = None
    tokens: tuple[int, int, int, int, int] | None = None


def failed(exchange: Exchange) -> bool:
    """Whether there is no answer to tell: an error, also one with status 200, or an empty body."""
    document = exchange.document or {}
    return exchange.status != 200 or not (exchange.body or exchange.raw) or bool(document.get("error"))


def recorded(exchange: Exchange) -> list[Said]:
    """What the provider sent, by choice."""
    match exchange.kind:
        case "anthropic.messages":
            return [_of_messages(read_by_client(exchange.body.encode()).model_dump())]
        case "bedrock.converse":
            return [_of_converse(bedrock_model.parsed(exchange.body.encode()))]
        case "bedrock.converse_stream":
            return [_of_converse(bedrock_model.gathered(bedrock_model.parsed_stream(exchange.raw)))]
        case "openai.responses":
            return [of_response(_typed(exchange))]
        case _:
            return _of_chats(exchange)


def _of_chats(exchange: Exchange) -> list[Said]:
    document = exchange.document or _gathered(exchange.chunks)
    return [of_chat(choice, document.get("usage")) for choice in document["choices"]]


def alike(expected: Said, got: Said) -> Said:
    """`got` with what may differ put right.

    That is JSON where the provider sends objects, ids where it sends none, an end where it gave no reason for it.
    """
    calls = tuple(
        (id_ if their_id else "", name, json.loads(arguments) if isinstance(theirs, dict) else arguments)
        for (their_id, _, theirs), (id_, name, arguments) in zip(expected.calls, got.calls, strict=False)
    )
    return replace(got, calls=calls + got.calls[len(calls) :], end=got.end if expected.end else None)


def of_chat(choice: dict[str, Any], usage: dict[str, Any] | None) -> Said:
    """What a choice of a chat completion says, be it a provider's or ours."""
    message = choice.get("message", {})
    called = list(message.get("tool_calls") or ())
    if message.get("function_call"):
        called.append({"function": message["function_call"]})
    inner = [(call.get("id", ""), call.get("function") or call["custom"]) for call in called]
    content = message.get("content") or ""
    thought = message.get("reasoning_content") or message.get("reasoning") or ""
    if isinstance(content, list):
        thought = "".join(piece["text"] for part in content for piece in part.get("thinking", ()))
        content = "".join(part.get("text", "") for part in content)
    return Said(
        text=content,
        refusal=message.get("refusal") or "",
        reasoning=thought,
        calls=tuple((id_, call["name"], call.get("arguments", call.get("input"))) for id_, call in inner),
        sources=tuple(source["url_citation"]["url"] for source in message.get("annotations") or ()),
        heard=(message.get("audio") or {}).get("transcript", ""),
        likely=len((choice.get("logprobs") or {}).get("content") or ()),
        end=ENDS.get(choice.get("finish_reason") or ""),
        tokens=_chat_tokens(usage) if usage else None,
    )


def of_response(response: dict[str, Any], output: list[dict[str, Any]] | None = None) -> Said:
    """What a response says, be it OpenAI's or ours; `output` in the place of its own."""
    output = response["output"] if output is None else output
    parts = [part for item in output if item["type"] == "message" for part in item.get("content") or ()]
    texts = [part for part in parts if part["type"] == "output_text"]
    thoughts = [item for item in output if item["type"] == "reasoning"]
    calls = tuple(
        (item["call_id"], item["name"], item.get("arguments", item.get("input")))
        for item in output
        if item["type"] in ("function_call", "custom_tool_call")
    )
    cut = (response["incomplete_details"] or {}).get("reason")
    assert response["status"] == ("incomplete" if cut else "completed")
    said = Said(
        text="".join(part["text"] for part in texts),
        refusal="".join(part["refusal"] for part in parts if part["type"] == "refusal"),
        reasoning="".join(
            part["text"]
            for item in thoughts
            for part in [*(item.get("summary") or ()), *(item.get("content") or ())]
        ),
        calls=calls,
        sources=tuple(source["url"] for part in texts for source in part.get("annotations") or ()),
        heard=response.get("audio", {}).get("transcript", ""),
        likely=sum(len(part.get("logprobs") or ()) for part in texts),
        end=ENDS[cut] if cut else "tool_calls" if calls else "stop",
    )
    if (usage := response["usage"]) is not None:
        details = usage["input_tokens_details"]
        cached, written = details["cached_tokens"], details.get("cache_write_tokens") or 0
        thought = usage["output_tokens_details"]["reasoning_tokens"]
        said.tokens = (usage["input_tokens"], usage["output_tokens"], cached, written, thought)
    return said


def _chat_tokens(usage: dict[str, Any]) -> tuple[int, int, int, int, int]:
    details = usage.get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens") or usage.get("cached_tokens") or usage.get("prompt_cache_hit_tokens")
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    written = details.get("cache_write_tokens") or 0
    return usage["prompt_tokens"], usage["completion_tokens"], cached or 0, written, thought


def _gathered(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """A chat stream as the whole answer that it makes."""
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice.get("delta", {})
            for at, call in enumerate(delta.get("tool_calls") or ()):
                # Mistral sends whole calls and doesn't number them.
                call.setdefault("index", at)
            if isinstance(delta.get("content"), list):
                delta["reasoning"] = "".join(text for part in delta["content"] for text in _thoughts(part))
                delta["content"] = "".join(part.get("text", "") for part in delta["content"])
    folded = fold_chunks(chunks)
    return {**folded, "choices": [_message(folded["choices"][at]) for at in sorted(folded["choices"])]}


def _thoughts(part: dict[str, Any]) -> Iterable[str]:
    return (piece["text"] for piece in part.get("thinking", ()))


def _message(choice: dict[str, Any]) -> dict[str, Any]:
    calls = choice["delta"].pop("tool_calls", {})
    return {**choice, "message": {**choice["delta"], "tool_calls": [calls[at] for at in sorted(calls)]}}


def _of_messages(message: dict[str, Any]) -> Said:
    blocks, usage = message["content"], message["usage"]
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    return Said(
        text="".join(block["text"] for block in blocks if block["type"] == "text"),
        reasoning="".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        calls=tuple(
            (block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"
        ),
        sources=tuple(
            cited["url"] for block in blocks for cited in block.get("citations") or () if "url" in cited
        ),
        end=ENDS[message["stop_reason"]],
        tokens=(usage["input_tokens"] + read + written, usage["output_tokens"], read, written, thought),
    )


def _of_converse(answer: dict[str, Any]) -> Said:
    blocks, usage = answer["output"]["message"]["content"], answer["usage"]
    used = [block["toolUse"] for block in blocks if "toolUse" in block]
    read, written = usage.get("cacheReadInputTokens") or 0, usage.get("cacheWriteInputTokens") or 0
    return Said(
        text="".join(block.get("text", "") for block in blocks),
        calls=tuple((use["toolUseId"], use["name"], use["input"]) for use in used),
        end=ENDS[answer["stopReason"]],
        tokens=(usage["totalTokens"] - usage["outputTokens"], usage["outputTokens"], read, written, 0),
    )


def _typed(exchange: Exchange) -> dict[str, Any]:
    document = exchange.document or exchange.chunks[-1]["response"]
    typed = Response.construct(**json.loads(json.dumps(document)))
    return typed.model_dump(mode="json", warnings=False)
