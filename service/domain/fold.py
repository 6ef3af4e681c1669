"""Folds a stream of events into the whole answer, and merges neighbouring deltas. Pure; no formats here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, assert_never

from service.domain.events import (
    AudioDelta,
    Event,
    Extra,
    Finish,
    Folded,
    FoldedCall,
    FoldedChoice,
    FoldedReasoning,
    MessageStart,
    OpaqueAnnotation,
    OpaqueItem,
    OpaqueProgress,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    Start,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    UrlCitation,
    Usage,
)


@dataclass(slots=True)
class _Choice:
    text: list[str] | None = None
    refusal: list[str] | None = None
    reasoning: list[FoldedReasoning] = field(default_factory=list)
    open_reasoning: dict[int, list[str]] = field(default_factory=dict)
    open_kind: str = ""
    calls: dict[int, tuple[ToolCallStart, list[str]]] = field(default_factory=dict)
    messages: list[tuple[str | None, int]] = field(default_factory=list)
    items: dict[int, OpaqueItem] = field(default_factory=dict)
    annotations: list[UrlCitation | OpaqueAnnotation] = field(default_factory=list)
    audio: AudioDelta | None = None
    finish: Finish | None = None
    text_logprobs: list[TokenLogprob] = field(default_factory=list)
    refusal_logprobs: list[TokenLogprob] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)
    message_extra: dict[str, str] = field(default_factory=dict)


def fold(events: Iterable[Event]) -> Folded:
    """The whole answer that `events` describe.

    Raises:
        ValueError: an answer without a Start, or a delta for a tool call that never started.
    """
    start: Start | None = None
    usage: Usage | None = None
    extra: dict[str, str] = {}
    choices: dict[int, _Choice] = {}
    for event in events:
        match event:
            case Start():
                start = start or event
            case Usage():
                usage = event
            case Extra(scope="answer"):
                extra.update(event.fields)
            case _:
                choice = choices.get(event.choice)
                if choice is None:
                    choice = choices[event.choice] = _Choice()
                _apply(choice, event)
    if start is None:
        raise ValueError("an answer without a start")
    done = tuple(_freeze(index, choices[index]) for index in sorted(choices))
    return Folded(start=start, choices=done, usage=usage, extra=extra or None)


def _apply(choice: _Choice, event: Event) -> None:  # noqa: C901  one arm per kind of event
    match event:
        case TextDelta():
            choice.text = choice.text or []
            choice.text.append(event.text)
            choice.text_logprobs.extend(event.logprobs)
        case RefusalDelta():
            choice.refusal = choice.refusal or []
            choice.refusal.append(event.text)
            choice.refusal_logprobs.extend(event.logprobs)
        case ReasoningDelta():
            if choice.open_kind != event.kind:
                _close_reasoning(choice, None)
            choice.open_kind = event.kind
            choice.open_reasoning.setdefault(event.part, []).append(event.text)
        case ReasoningSeal():
            if event.encrypted is not None:
                _close_reasoning(choice, None)
                choice.reasoning.append(FoldedReasoning(seal=event))
            else:
                _close_reasoning(choice, event)
        case ToolCallStart():
            choice.calls[event.index] = (event, [])
        case ToolCallDelta():
            if event.index not in choice.calls:
                raise ValueError(f"a fragment of tool call {event.index}, which never started")
            choice.calls[event.index][1].append(event.arguments)
        case MessageStart():
            choice.messages.append((event.phase, sum(map(len, choice.text or ()))))
        case OpaqueItem():
            choice.items[event.index] = event
        case UrlCitation() | OpaqueAnnotation():
            choice.annotations.append(event)
        case AudioDelta():
            choice.audio = _join_audio(choice.audio, event)
        case Finish():
            choice.finish = event
        case Extra():
            target = choice.extra if event.scope == "choice" else choice.message_extra
            target.update(event.fields)
        case Start() | Usage() | OpaqueProgress():
            pass
        case _:
            assert_never(event)


def _close_reasoning(choice: _Choice, seal: ReasoningSeal | None) -> None:
    if choice.open_reasoning or seal is not None:
        parts = tuple("".join(texts) for _, texts in sorted(choice.open_reasoning.items()))
        kind: Literal["text", "summary"] = "summary" if choice.open_kind == "summary" else "text"
        choice.reasoning.append(FoldedReasoning("".join(parts), kind, seal, parts if len(parts) > 1 else ()))
    choice.open_reasoning = {}
    choice.open_kind = ""


def _join_audio(before: AudioDelta | None, new: AudioDelta) -> AudioDelta:
    if before is None:
        return new
    return AudioDelta(
        data=before.data + new.data,
        transcript=before.transcript + new.transcript,
        id=before.id or new.id,
        expires_at=before.expires_at if before.expires_at is not None else new.expires_at,
        choice=before.choice,
    )


def _freeze(index: int, choice: _Choice) -> FoldedChoice:
    _close_reasoning(choice, None)
    return FoldedChoice(
        index=index,
        text=None if choice.text is None else "".join(choice.text),
        refusal=None if choice.refusal is None else "".join(choice.refusal),
        reasoning=tuple(choice.reasoning),
        calls=tuple(
            FoldedCall(start.id, start.name, "".join(fragments), start.kind)
            for _, (start, fragments) in sorted(choice.calls.items())
        ),
        messages=tuple(choice.messages),
        items=tuple(item for _, item in sorted(choice.items.items())),
        annotations=tuple(choice.annotations),
        audio=choice.audio,
        finish=choice.finish,
        text_logprobs=tuple(choice.text_logprobs),
        refusal_logprobs=tuple(choice.refusal_logprobs),
        extra=choice.extra or None,
        message_extra=choice.message_extra or None,
    )
