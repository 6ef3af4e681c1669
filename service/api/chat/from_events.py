"""A stream of events -> chunks. Whole answers are written next door; both share `pieces`.

Few chunks: neighbouring events of one kind and choice in a batch share one. A chunk costs a message on every
hop behind this, so the plain case, one text, is written from a template.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, assert_never

from eurouter.v1 import chat_pb2 as pb
from eurouter.v1 import tools_pb2

from service.api.chat.pieces import FINISH_REASONS, annotation, logprobs, put_extra, put_usage, reasoning_detail
from service.domain.events import (
    AudioDelta,
    Event,
    Extra,
    Finish,
    MessageStart,
    OpaqueAnnotation,
    OpaqueItem,
    OpaqueProgress,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    Start,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UrlCitation,
    Usage,
)

_ANY: Final = ""
"""The kind of a chunk that holds nothing yet but what may stand beside anything."""


class _Choice:
    """What a choice's next chunks depend on: reasoning since the last seal, pieces sealed, kinds of its calls."""

    __slots__ = ("calls", "kind", "reasoning", "sealed")

    def __init__(self) -> None:
        self.calls: dict[int, str] = {}
        self.kind = "text"
        self.reasoning: list[str] = []
        self.sealed = 0


class ChunkWriter:
    """Writes one stream's chunks.

    `provider` is the slug of who answers. `model`, `completion_id` and `now` (Unix seconds) stand in for what
    the provider does not say. With `functions_style` a call is a function_call.
    """

    def __init__(
        self,
        *,
        provider: str,
        model: str,
        completion_id: str,
        now: int,
        include_usage: bool = False,
        functions_style: bool = False,
    ) -> None:
        self._head = pb.ChatCompletionChunk(
            id=completion_id, object="chat.completion.chunk", created=now, model=model, provider=provider
        )
        self._include_usage = include_usage
        self._functions_style = functions_style
        # For the plain case, by choice: a chunk with an empty text, from the second chunk of the choice on.
        self._texts: dict[int, pb.ChatCompletionChunk] = {}
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._held: list[tuple[str, str]] = []
        self._chunks: list[pb.ChatCompletionChunk] = []
        self._open: pb.ChunkChoice | None = None
        self._kind = _ANY

    def write(self, events: Sequence[Event]) -> list[pb.ChatCompletionChunk]:
        """The chunks for a batch; none when it holds nothing that a chunk tells.

        Raises:
            ValueError: a value that the contract has no room for, such as a count beyond 32 bits.
        """
        if len(events) == 1:
            event = events[0]
            if type(event) is TextDelta and not event.logprobs and not self._held:
                template = self._texts.get(event.choice)
                if template is not None:
                    chunk = pb.ChatCompletionChunk()
                    chunk.CopyFrom(template)
                    chunk.choices[0].delta.content = event.text
                    return [chunk]
        self._chunks = []
        self._open = None
        for event in events:
            self._apply(event)
        return self._chunks

    def finish(self) -> list[pb.ChatCompletionChunk]:
        """What is left at the clean end: the usage, when it was asked for and the provider gave it."""
        self._chunks = []
        self._open = None
        told = self._usage if self._include_usage else None
        if told is not None or self._held:
            chunk = self._new_chunk()
            if told is not None:
                put_usage(chunk.usage, told)
        return self._chunks

    def _apply(self, event: Event) -> None:  # noqa: C901  one arm per kind of event
        match event:
            case TextDelta():
                if event.logprobs:
                    self._begin_choice(event.choice)
                choice = self._chunk_of(event.choice, "text")
                choice.delta.content += event.text
                if event.logprobs:
                    choice.logprobs.MergeFrom(logprobs(event.logprobs, ()))
            case ReasoningDelta():
                self._reasoning(event)
            case ToolCallStart() | ToolCallDelta():
                self._call(event)
            case RefusalDelta():
                if event.logprobs:
                    self._begin_choice(event.choice)
                choice = self._chunk_of(event.choice, "refusal")
                choice.delta.refusal += event.text
                if event.logprobs:
                    choice.logprobs.MergeFrom(logprobs((), event.logprobs))
            case ReasoningSeal():
                if event.signature is not None or event.encrypted is not None:
                    self._seal(event)
            case UrlCitation() | OpaqueAnnotation():
                self._chunk_of(event.choice, "annotations").delta.annotations.append(annotation(event))
            case AudioDelta():
                self._audio(event)
            case Finish():
                self._finish(event)
            case Extra():
                self._extra(event)
            case Usage():
                self._usage = event
            case MessageStart() | OpaqueItem() | OpaqueProgress():
                pass  # a chat answer is one message, and has no room for what a provider ran by itself
            case Start():
                self._begin(event)
            case _:
                assert_never(event)

    def _begin(self, start: Start) -> None:
        if not self._choices:
            head = self._head
            head.id = start.id or head.id
            head.model = start.model or head.model
            head.created = start.created or head.created
            if start.system_fingerprint is not None:
                head.system_fingerprint = start.system_fingerprint
            if start.service_tier is not None:
                head.service_tier = start.service_tier

    def _new_chunk(self) -> pb.ChatCompletionChunk:
        chunk = pb.ChatCompletionChunk()
        chunk.CopyFrom(self._head)
        if self._held:
            put_extra(chunk, self._held)
            self._held = []
        self._chunks.append(chunk)
        return chunk

    def _chunk_of(self, index: int, kind: str) -> pb.ChunkChoice:
        """The open chunk when it is this choice's and of this kind or of any, else a new one."""
        choice = self._open
        if choice is not None and choice.index == index and self._kind in (kind, _ANY):
            self._kind = kind
            return choice
        chunk = self._new_chunk()
        choice = chunk.choices.add()
        choice.index = index
        if index not in self._choices:
            self._choices[index] = _Choice()
            choice.delta.role = pb.CHAT_ROLE_ASSISTANT
            template = pb.ChatCompletionChunk()
            template.CopyFrom(self._head)
            template.choices.add(index=index).delta.content = ""
            self._texts[index] = template
        self._open = choice
        self._kind = kind
        return choice

    def _begin_choice(self, index: int) -> None:
        """Keeps logprobs out of a choice's first chunk: OpenAI's Python client would count them twice there."""
        if index not in self._choices:
            self._chunk_of(index, _ANY)
        if self._open is not None and self._open.delta.role:
            self._open = None

    def _reasoning(self, event: ReasoningDelta) -> None:
        self._chunk_of(event.choice, "reasoning").delta.reasoning += event.text
        choice = self._choices[event.choice]
        if choice.kind != event.kind:
            choice.kind = event.kind
            choice.reasoning = []
        choice.reasoning.append(event.text)

    def _seal(self, event: ReasoningSeal) -> None:
        delta = self._chunk_of(event.choice, "reasoning").delta
        choice = self._choices[event.choice]
        delta.reasoning_details.append(
            reasoning_detail("".join(choice.reasoning), choice.kind, event, choice.sealed)
        )
        choice.sealed += 1
        choice.reasoning = []
        choice.kind = "text"

    def _call(self, event: ToolCallStart | ToolCallDelta) -> None:
        delta = self._chunk_of(event.choice, "calls").delta
        kinds = self._choices[event.choice].calls
        if isinstance(event, ToolCallStart):
            kinds[event.index] = event.kind
        elif event.index not in kinds:
            raise ValueError(f"a fragment of tool call {event.index}, which never started")
        index = event.index
        if self._functions_style:
            if index == 0:
                _put_function(delta.function_call, event)
                return
            # The old form has room for one call; further ones are told as what they are.
            index -= 1
        # One entry for each call: clients join entries of one index only across chunks.
        entry = next((each for each in delta.tool_calls if each.index == index), None)
        if entry is None:
            entry = delta.tool_calls.add(index=index)
        if isinstance(event, ToolCallStart):
            entry.id = event.id
        if kinds[event.index] == "custom":
            _put_custom(entry.custom, event)
        else:
            _put_function(entry.function, event)

    def _audio(self, event: AudioDelta) -> None:
        # Base64 fragments with padding can't be joined: each has a chunk of its own.
        self._open = None
        audio = pb.ChatAudio(
            id=event.id, expires_at=event.expires_at, data=event.data or None, transcript=event.transcript or None
        )
        self._chunk_of(event.choice, "audio").delta.audio.CopyFrom(audio)

    def _finish(self, event: Finish) -> None:
        choice = self._chunk_of(event.choice, "finish")
        choice.finish_reason = FINISH_REASONS[event.reason]
        if self._functions_style and choice.finish_reason == pb.FINISH_REASON_TOOL_CALLS:
            choice.finish_reason = pb.FINISH_REASON_FUNCTION_CALL

    def _extra(self, event: Extra) -> None:
        if event.scope == "answer":
            if self._chunks:
                put_extra(self._chunks[-1], event.fields)
            else:
                self._held += event.fields
            return
        mine = self._open is not None and self._open.index == event.choice
        choice = self._chunk_of(event.choice, self._kind if mine else _ANY)
        put_extra(choice if event.scope == "choice" else choice.delta, event.fields)


def _put_function(call: tools_pb2.FunctionCall, event: ToolCallStart | ToolCallDelta) -> None:
    if isinstance(event, ToolCallStart):
        call.name = event.name
    else:
        call.arguments += event.arguments


def _put_custom(call: tools_pb2.CustomToolCall, event: ToolCallStart | ToolCallDelta) -> None:
    if isinstance(event, ToolCallStart):
        call.name = event.name
    else:
        call.input += event.arguments
