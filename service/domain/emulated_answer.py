"""The arguments of a forced call, turned back into the answer's text. Stateful, one mapper an answer.

Nothing of a text is told before it is whole and checked. How requests become such calls stands in `emulation`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from service.domain.emulation import VALUE, Emulated
from service.domain.events import (
    Event,
    Finish,
    FinishReason,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
)
from service.domain.failure import Failure, FailureKind, UpstreamError

_BLANKS: Final = r"[ \t\n\r]*"
_OPENING: Final = re.compile(rf'{_BLANKS}\{{{_BLANKS}"{VALUE}"{_BLANKS}:{_BLANKS}')
_CLOSING: Final = re.compile(rf"{_BLANKS}\}}{_BLANKS}\Z")
_WELL: Final = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS})
_DECODER: Final = json.JSONDecoder()

MAX_HELD: Final = 4 * 1024 * 1024
"""Characters of one answer that are held until they can be checked; no model writes so many."""


@dataclass(slots=True)
class _Call:
    name: str
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Choice:
    """What came of one choice. `seals` wait for the call that they may belong to."""

    calls: dict[int, _Call] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    seals: list[ReasoningSeal] = field(default_factory=list)
    refused: bool = False


class AnswerMapper:
    """One answer on its way back; all but calls, text and ends passes as it is.

    The text is the model's own JSON, not written anew. Words beside the call are left out: no JSON could hold
    them. A choice that was cut (length, content filter) is told as far as it came, as endpoints do that know
    schemas themselves. `check` says what is wrong with a JSON text, half a sentence, or None.
    """

    __slots__ = ("_check", "_choices", "_emulated", "_room")

    def __init__(self, emulated: Emulated, check: Callable[[str], str | None]) -> None:
        self._emulated = emulated
        self._check = check
        self._choices: dict[int, _Choice] = {}
        self._room = MAX_HELD

    def map(self, events: Sequence[Event]) -> list[Event]:
        """`events` with text in place of the call; possibly none while it comes in.

        Raises:
            UpstreamError: MISMATCH for a whole answer that is none of the schema's, PROTOCOL for one without end.
        """
        mapped: list[Event] = []
        for event in events:
            self._take(event, mapped)
        return mapped

    def end(self) -> list[Event]:
        """What was held, once the answer is over. Raises as `map`."""
        mapped: list[Event] = []
        for index in sorted(self._choices):
            self._close(index, None, mapped)
        return mapped

    def whole(self, events: Sequence[Event]) -> list[Event]:
        """A whole answer's events. Raises as `map`."""
        return self.map(events) + self.end()

    def _take(self, event: Event, mapped: list[Event]) -> None:
        match event:
            case Finish():
                self._close(event.choice, event, mapped)
            case ToolCallStart():
                choice = self._choice(event.choice)
                choice.calls[event.index] = _Call(event.name)
                # A signature on a call that nobody will ever see again can't be given back.
                mapped += [seal for seal in choice.seals if seal.id != event.id]
                choice.seals.clear()
            case ToolCallDelta():
                self._hold(event.arguments)
                self._choice(event.choice).calls[event.index].arguments.append(event.arguments)
            case TextDelta():
                self._hold(event.text)
                self._choice(event.choice).words.append(event.text)
            case ReasoningSeal() if event.encrypted is not None and event.id is not None:
                self._hold(event.encrypted)
                self._choice(event.choice).seals.append(event)
            case RefusalDelta():
                self._choice(event.choice).refused = True
                mapped.append(event)
            case _:
                mapped.append(event)

    def _hold(self, text: str) -> None:
        self._room -= len(text)
        if self._room < 0:
            message = f"the answer to be checked is longer than {MAX_HELD} characters"
            raise UpstreamError(Failure(FailureKind.PROTOCOL, message))

    def _choice(self, index: int) -> _Choice:
        return self._choices.setdefault(index, _Choice())

    def _close(self, index: int, finish: Finish | None, mapped: list[Event]) -> None:
        choice = self._choices.pop(index, None) or _Choice()
        mapped += choice.seals
        well = finish is None or finish.reason in _WELL
        text = self._called(choice, well=well) if choice.calls else self._said(choice, well=well)
        if text:
            mapped.append(TextDelta(text, index))
        if finish is not None:
            mapped.append(replace(finish, reason=FinishReason.STOP) if well else finish)

    def _said(self, choice: _Choice, *, well: bool) -> str:
        """The text of a choice without a call: a refusal in words of its own has none."""
        text = "".join(choice.words)
        if well and not choice.refused:
            self._hold_to(text)
        return text

    def _called(self, choice: _Choice, *, well: bool) -> str:
        if len(choice.calls) > 1:
            raise _mismatch("has several calls of the tool where one was asked for")
        (call,) = choice.calls.values()
        if call.name != self._emulated.tool:
            raise _mismatch("has a call of a tool that it was not given")
        text = "".join(call.arguments)
        if not well and not _is_json(text):
            return self._part(text)
        text = self._unwrapped(text or "{}")
        self._hold_to(text)
        return text

    def _unwrapped(self, text: str) -> str:
        if not self._emulated.wrapped:
            return text
        opening = _OPENING.match(text)
        if opening is not None:
            try:
                _, end = _DECODER.raw_decode(text, opening.end())
            except (ValueError, RecursionError):
                raise _mismatch("is no JSON") from None
            if _CLOSING.match(text, end):
                return text[opening.end() : end]
        raise _mismatch(f"is no object with {VALUE} alone")

    def _part(self, text: str) -> str:
        """The beginning of an answer that was cut."""
        if not self._emulated.wrapped:
            return text
        opening = _OPENING.match(text)
        return text[opening.end() :] if opening else ""

    def _hold_to(self, text: str) -> None:
        complaint = self._check(text)
        if complaint is not None:
            raise _mismatch(complaint)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _mismatch(what: str) -> UpstreamError:
    return UpstreamError(
        Failure(FailureKind.MISMATCH, f"the answer, whose form was emulated by a tool that must be called, {what}")
    )
