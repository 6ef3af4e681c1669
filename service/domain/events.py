"""The provider-neutral answer: what a dialect's reader emits and an API's writer turns into its own shape.

A whole answer is read as the same events that a stream yields. `fold` is the law that binds the two: folding
a stream's events equals folding the whole answer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from service.domain.generation import ToolKind
from service.domain.money import Cost


class FinishReason(StrEnum):
    """Why a choice ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Start:
    """The answer has an id and a model; nothing that a caller sees as content. Emitted once, first.

    `created` is in Unix seconds, 0 when the provider does not say.
    """

    id: str
    model: str
    created: int = 0
    system_fingerprint: str | None = None
    service_tier: str | None = None


@dataclass(frozen=True, slots=True)
class TopToken:
    """A likely token at a position: text, natural log probability, UTF-8 bytes or None."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A generated token with its log probability and the likeliest alternatives."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top: tuple[TopToken, ...] = ()


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of a choice, with its tokens' log probabilities when they were asked for."""

    text: str
    choice: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """More text of a refusal."""

    text: str
    choice: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More readable reasoning. `kind` summary: the provider's summary in place of the reasoning itself.

    `part` counts the paragraphs that a provider tells apart within one piece of reasoning, from 0.
    """

    text: str
    choice: int = 0
    kind: Literal["text", "summary"] = "text"
    part: int = 0


@dataclass(frozen=True, slots=True)
class ReasoningSeal:
    """Ends a piece of reasoning with what its provider wants back: a signature or encrypted content.

    A seal with `signature` belongs to the ReasoningDeltas since the last seal; one with `encrypted` is a
    piece of its own. `format` names the dialect that can read it. One with neither says that a piece ended,
    which may have had no text at all.
    """

    format: str
    signature: str | None = None
    encrypted: str | None = None
    id: str | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """A tool call begins. `index` counts the choice's tool calls from 0 and binds the deltas that follow."""

    index: int
    id: str
    name: str
    kind: ToolKind = "function"
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of a call's arguments, in the form that ToolCall has for its kind."""

    index: int
    arguments: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class MessageStart:
    """Text from here on is a message of its own; emitted by dialects whose answers hold several.

    `phase` is what the message is to its turn: commentary, final_answer or None.
    """

    phase: str | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True)
class OpaqueItem:
    """An item of the answer that only `dialect` knows, such as a web search that the provider ran.

    `index` counts the answer's opaque items from 0. `json` is the item as it is now; `done` the last time.
    A whole answer has only the last.
    """

    index: int
    dialect: str
    type: str
    json: str
    done: bool = True
    choice: int = 0


@dataclass(frozen=True, slots=True)
class OpaqueProgress:
    """News of an opaque item between its two states: the dialect's own event of `type`, `json` its text."""

    index: int
    type: str
    json: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class UrlCitation:
    """A source: the answer's characters from `start_index` up to `end_index` cite `url`."""

    url: str
    title: str
    start_index: int
    end_index: int
    choice: int = 0


@dataclass(frozen=True, slots=True)
class OpaqueAnnotation:
    """A source of a kind that nobody named; `json` is the whole object's text."""

    type: str
    json: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """More of an audio answer: base64 `data` and `transcript` fragments; `id`, `expires_at` when they come."""

    data: str = ""
    transcript: str = ""
    id: str | None = None
    expires_at: int | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """A choice ended. `raw` is the provider's own word for it; one that is not known comes as an Extra, too."""

    reason: FinishReason
    raw: str = ""
    choice: int = 0


NATIVE_FINISH_REASON: Final = "native_finish_reason"
"""The extra field of a choice that holds a word for its end which no table knows (OpenRouter's name for it)."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens used so far; a later one replaces an earlier. Input includes cache reads and writes.

    None means that the provider does not say. `details` keeps the provider's further integer counts by
    the name that the Chat API gives them, such as `prompt.audio_tokens` or `completion.text_tokens`.
    `extra` keeps what it adds, as JSON text by name. `cost` is set when an answer is whole, by the prices of the
    endpoint that gave it.
    """

    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    details: tuple[tuple[str, int], ...] = ()
    extra: tuple[tuple[str, str], ...] = ()
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Extra:
    """Fields that a provider added, as (name, JSON text); a later value replaces an earlier of its name.

    `scope`: where they stood. `prompt_filter_results` (answer) and `content_filter_results` (choice) come
    this way too.
    """

    scope: Literal["answer", "choice", "message"]
    fields: tuple[tuple[str, str], ...]
    choice: int = 0


Event: TypeAlias = (
    Start
    | TextDelta
    | RefusalDelta
    | ReasoningDelta
    | ReasoningSeal
    | ToolCallStart
    | ToolCallDelta
    | MessageStart
    | OpaqueItem
    | OpaqueProgress
    | UrlCitation
    | OpaqueAnnotation
    | AudioDelta
    | Finish
    | Usage
    | Extra
)

VISIBLE: tuple[type, ...] = (
    TextDelta,
    RefusalDelta,
    ReasoningDelta,
    ReasoningSeal,
    ToolCallStart,
    ToolCallDelta,
    OpaqueItem,
    OpaqueProgress,
    UrlCitation,
    OpaqueAnnotation,
    AudioDelta,
)
"""Events that a caller can see: the first of them is the commit point, after which nothing falls back."""


@dataclass(frozen=True, slots=True)
class FoldedCall:
    """A whole tool call."""

    id: str
    name: str
    arguments: str
    kind: ToolKind


@dataclass(frozen=True, slots=True)
class FoldedReasoning:
    """A whole piece of reasoning with its seal; `parts` are its paragraphs where there are several."""

    text: str = ""
    kind: Literal["text", "summary"] = "text"
    seal: ReasoningSeal | None = None
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoldedChoice:
    """A whole choice. `text` and `refusal` are None when no such delta came.

    `messages` holds, for each message that was begun, its phase and where in `text` it begins.
    """

    index: int
    text: str | None = None
    refusal: str | None = None
    reasoning: tuple[FoldedReasoning, ...] = ()
    calls: tuple[FoldedCall, ...] = ()
    messages: tuple[tuple[str | None, int], ...] = ()
    items: tuple[OpaqueItem, ...] = ()
    annotations: tuple[UrlCitation | OpaqueAnnotation, ...] = ()
    audio: AudioDelta | None = None
    finish: Finish | None = None
    text_logprobs: tuple[TokenLogprob, ...] = ()
    refusal_logprobs: tuple[TokenLogprob, ...] = ()
    extra: Mapping[str, str] | None = None
    message_extra: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """A whole answer."""

    start: Start
    choices: tuple[FoldedChoice, ...]
    usage: Usage | None
    extra: Mapping[str, str] | None = None
