"""The provider-neutral request: turns of parts, tools, output format, sampling.

An API builds it from its own message, a dialect writes it in its own wire format. Nothing here knows JSON
field names of either side; values that only some dialects carry stand in `Generation.options` as they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from service.domain.fields import Field

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A JSON value as the standard library and orjson read it."""

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


LocalToolKind: TypeAlias = Literal["local_shell", "shell", "apply_patch"]
"""Tools of the Responses API that run on the caller's side, by the names that they have there."""

ToolKind: TypeAlias = Literal["function", "custom"] | LocalToolKind


class Role(StrEnum):
    """Who a turn is from."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text, possibly empty. `cache_breakpoint` marks the end of a prefix worth caching (a hint)."""

    text: str
    cache_breakpoint: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """An image: `url` is an https address or a data URI; `detail` is auto, low, high (a hint)."""

    url: str
    detail: str | None = None
    cache_breakpoint: bool = False


@dataclass(frozen=True, slots=True)
class Audio:
    """Inline audio: base64 `data` and its `format` (wav, mp3, flac, m4a, ogg, pcm16, pcm24)."""

    data: str
    format: str
    cache_breakpoint: bool = False


@dataclass(frozen=True, slots=True)
class File:
    """A document: `data` is a data URI or base64. File ids of a provider never get this far unless owned.

    `url` is an https address in place of `data`, for the provider to fetch. `detail` is low or high (a hint).
    """

    data: str | None = None
    filename: str | None = None
    file_id: str | None = None
    cache_breakpoint: bool = False
    url: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the assistant refused in an earlier turn. `in_content`: it stood among the content parts."""

    text: str
    in_content: bool = False


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of the assistant's reasoning.

    `signature` and `encrypted` are opaque and belong to the dialect named by `format`; a dialect leaves
    foreign ones out. `details` is false when the caller gave plain readable reasoning only.
    """

    text: str = ""
    summary: str | None = None
    signature: str | None = None
    encrypted: str | None = None
    format: str | None = None
    id: str | None = None
    details: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call in an assistant turn.

    `arguments`: JSON text of a function, free text of a custom tool; of a local tool the JSON text of its
    action (local_shell, shell) or operation (apply_patch), and `name` is its kind. `details` is the JSON text
    of an object with what only the Responses API says of it (namespace, caller, environment): a hint.
    """

    id: str
    name: str
    arguments: str
    kind: ToolKind = "function"
    details: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back, bound to its call by `call_id`. A lone text part is plain text.

    `kind` is its call's. A `shell` call's output is one text part that holds the JSON text of the list which
    the Responses API has there. `details` is as in ToolCall; an `apply_patch` call's has the key `status`,
    completed or failed, always.
    """

    call_id: str
    parts: tuple[Part, ...]
    name: str | None = None
    kind: ToolKind = "function"
    details: str | None = None


@dataclass(frozen=True, slots=True)
class AudioReference:
    """An earlier audio answer, by its id at the provider."""

    id: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """A part, item or tool that only endpoints speaking `dialect` understand. `json` is its text."""

    dialect: str
    type: str
    json: str


Part: TypeAlias = (
    Text | Image | Audio | File | Refusal | Reasoning | ToolCall | ToolResult | AudioReference | Opaque
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. Assistant turns hold text, reasoning, refusals and calls; tool turns one ToolResult.

    `annotations` is the JSON text of an earlier answer's sources (a hint), or None. `phase` is what an
    earlier answer was to its turn, commentary or final_answer (a hint). `items` names what the turn was made
    of, by id or JSON path, where an API wants to say which turns were left out.
    """

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    annotations: str | None = None
    phase: str | None = None
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """A function: `parameters` is its JSON Schema as text (key order kept), or None for no arguments.

    `details` is the JSON text of an object with what only the Responses API says of a function
    (defer_loading, allowed_callers, output_schema): a hint. `strict_unsaid`: the caller said nothing of
    strictness in an API where that means strict if possible; endpoints of that API are told nothing either.
    """

    name: str
    description: str | None = None
    parameters: str | None = None
    strict: bool | None = None
    details: str | None = None
    strict_unsaid: bool = False


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar: its text and its syntax (lark or regex)."""

    definition: str
    syntax: str


@dataclass(frozen=True, slots=True)
class CustomTool:
    """A tool with free-form input; `format` is None (unset), "text" or a grammar; `details` as in FunctionTool."""

    name: str
    description: str | None = None
    format: Grammar | Literal["text"] | None = None
    details: str | None = None


@dataclass(frozen=True, slots=True)
class LocalTool:
    """A tool that the caller runs and the model knows without a schema; `json` is its declaration's text."""

    kind: LocalToolKind
    json: str


Tool: TypeAlias = FunctionTool | CustomTool | LocalTool | Opaque
"""An Opaque one is run by the provider: endpoints of other dialects leave it out unless the choice names it."""


@dataclass(frozen=True, slots=True)
class NamedChoice:
    """The model must call this tool; a local one has its kind for a name."""

    name: str
    kind: ToolKind = "function"


@dataclass(frozen=True, slots=True)
class AllowedChoice:
    """The model may (auto) or must (required) call one of these tools.

    `tools` is JSON text in the Chat API's form: [{"type": "function", "function": {"name": ...}}, ...].
    """

    mode: Literal["auto", "required"]
    tools: str


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | NamedChoice | AllowedChoice | Opaque


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The answer must match `schema` (JSON text, key order kept)."""

    name: str
    schema: str | None = None
    description: str | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class GrammarFormat:
    """The answer must match a grammar."""

    grammar: str


OutputFormat: TypeAlias = Literal["text", "json_object", "python"] | JsonSchema | GrammarFormat | Opaque


@dataclass(frozen=True, slots=True)
class Generation:
    """Everything the model is asked, with None for what the caller left to the model.

    `options` carries named fields that dialects either write as they are or can't express at all (store,
    modalities, audio, prediction, web_search_options, moderation and the hints user, metadata, service_tier,
    prompt_cache_*, safety_identifier). `extra` carries fields that nobody named, as JSON text; a dialect
    writes those that the endpoint's provider lists in `passthrough`. `functions_style` is true when the
    caller used the old `functions` field names; dialects that know these write and read them, all others
    treat them as tools. `truncate`: the oldest turns may be left out where the endpoint's context is too short.
    """

    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output: OutputFormat | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: Mapping[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int | None = None
    reasoning_effort: str | None = None
    reasoning_summary: str | None = None
    verbosity: str | None = None
    options: Mapping[Field, Json] = field(default_factory=lambda: MappingProxyType({}))
    extra: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    functions_style: bool = False
    truncate: bool = False
