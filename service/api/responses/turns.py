"""Entries -> turns: what belongs to one turn of the assistant's, and which output answers which call.

Providers of chat shape want a call's outputs directly behind the turn that made it, so they are put there
wherever they stand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import assert_never

from service.api.problems import Problems, shown
from service.api.responses.calls import ANSWERS, OUTPUT_TYPES
from service.api.responses.entries import Beside, Output, Place, Said, Written
from service.domain.generation import Opaque, Part, Role, ToolCall, ToolKind, Turn


class _Assistant:
    """One turn of the assistant's while it grows, with the outputs of its calls."""

    __slots__ = ("annotations", "in_message", "marks", "messages", "outputs", "parts", "phase")

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.marks: list[str] = []
        self.outputs: list[Turn] = []
        self.messages = 0
        self.in_message = False
        self.phase: str | None = None
        self.annotations: str | None = None

    def takes(self, message: Written) -> bool:
        """Whether `message` is of this turn: two in a row are two; a turn has one phase, one list of sources."""
        if not self.messages:
            return True
        if self.in_message or self.phase != message.phase:
            return False
        return self.annotations is None or message.annotations is None

    def write(self, message: Written) -> None:
        self.parts += message.parts
        self.marks.append(message.place.mark)
        self.messages += 1
        self.in_message = True
        self.phase = message.phase
        self.annotations = self.annotations or message.annotations

    def add(self, entry: Beside) -> None:
        self.parts.append(entry.part)
        self.marks.append(entry.place.mark)
        self.in_message = False

    def leave_out(self, call: ToolCall, mark: str) -> None:
        del self.parts[next(at for at, part in enumerate(self.parts) if part is call)]
        self.marks.remove(mark)

    def turns(self) -> Iterable[Turn]:
        if self.marks:
            yield Turn(
                Role.ASSISTANT,
                tuple(self.parts),
                annotations=self.annotations,
                phase=self.phase,
                items=tuple(self.marks),
            )
        yield from self.outputs


@dataclass(slots=True)
class _Called:
    """A call and whether its output came."""

    place: Place
    call: ToolCall
    turn: _Assistant
    cut: bool
    answered: bool = False


class TurnBuilder:
    """Puts a conversation's entries together; what does not fit goes to `problems`."""

    __slots__ = ("_calls", "_open", "_problems", "_provider_calls", "_shells", "_turns")

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._turns: list[Turn | _Assistant] = []
        self._open: _Assistant | None = None
        self._calls: dict[str, _Called] = {}
        # local_shell_call items by their own id, which some clients answer by.
        self._shells: dict[str, str] = {}
        self._provider_calls: set[str] = set()

    def add(self, entry: Said | Written | Beside | Output) -> None:
        """The next entry."""
        match entry:
            case Said():
                self._open = None
                self._turns.append(Turn(entry.role, entry.parts, items=(entry.place.mark,)))
            case Written():
                turn = self._open
                if turn is None or not turn.takes(entry):
                    turn = self._begin()
                turn.write(entry)
            case Beside():
                turn = self._open or self._begin()
                turn.add(entry)
                self._note(entry, turn)
            case Output():
                self._answer(entry)
            case _:
                assert_never(entry)

    def finish(self, first: Turn | None) -> tuple[Turn, ...]:
        """All turns, `first` before them. Calls that nobody answered are noted; cut ones go."""
        for called in self._calls.values():
            if not called.answered:
                self._unanswered(called)
        turns = [] if first is None else [first]
        for turn in self._turns:
            if isinstance(turn, Turn):
                turns.append(turn)
            else:
                turns += turn.turns()
        return tuple(turns)

    def _begin(self) -> _Assistant:
        turn = self._open = _Assistant()
        self._turns.append(turn)
        return turn

    def _note(self, entry: Beside, turn: _Assistant) -> None:
        part = entry.part
        if isinstance(part, Opaque):
            self._provider_calls.add(entry.id)
        elif isinstance(part, ToolCall) and part.id:
            before = self._calls.get(part.id)
            # Some models count their calls anew in each answer: an id is free again once its call is answered.
            if before is not None and not before.answered:
                if before.cut:
                    self._unanswered(before)
                else:
                    self._problems.add(
                        f"{entry.place.path}.call_id",
                        f"{shown(part.id)} is the call_id of {before.place.path} too: each call needs its own",
                    )
            self._calls[part.id] = _Called(entry.place, part, turn, entry.cut)
            if part.kind == "local_shell" and entry.id:
                self._shells[entry.id] = part.id

    def _answer(self, entry: Output) -> None:
        result, path = entry.result, entry.place.path
        called = self._calls.get(result.call_id) or self._calls.get(self._shells.get(result.call_id, ""))
        if called is None:
            if entry.opaque is not None and result.call_id in self._provider_calls:
                self.add(Beside(entry.place, entry.opaque))
            elif result.call_id:
                self._problems.add(
                    f"{path}.call_id",
                    f"no call has the call_id {shown(result.call_id)}: send the call before its output, or name "
                    "the response that made it in previous_response_id",
                )
            return
        kind = called.call.kind
        if called.answered:
            self._problems.add(f"{path}.call_id", f"{shown(called.call.id)} has its output already: send it once")
        elif kind not in ANSWERS[entry.type]:
            self._problems.add(path, f"answers a {_item(kind)}: it must be a {OUTPUT_TYPES[kind]}")
        called.answered = True
        # What comes behind an output is of another turn.
        self._open = None
        bound = replace(result, call_id=called.call.id, kind=kind) if kind != "function" else result
        called.turn.outputs.append(Turn(Role.TOOL, (bound,), items=(entry.place.mark,)))

    def _unanswered(self, called: _Called) -> None:
        call, place = called.call, called.place
        if called.cut:
            called.turn.leave_out(call, place.mark)
            return
        wanted = f"a {OUTPUT_TYPES[call.kind]} with the call_id {shown(call.id)}"
        if place.own:
            self._problems.add(place.path, f"is a call without its output: add {wanted}")
        else:
            self._problems.add("input", f"must hold {wanted}: the conversation before it calls {shown(call.name)}")


def _item(kind: ToolKind) -> str:
    return {"custom": "custom_tool_call"}.get(kind, f"{kind}_call")
