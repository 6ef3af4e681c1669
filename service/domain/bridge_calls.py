"""Calls of bridged functions, turned back into calls of the tools that they stand for.

Stateful, one mapper an answer. How requests go over the bridge stands in `bridge`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from service.domain.bridge import INPUT, Bridged
from service.domain.events import Event, Finish, ToolCallDelta, ToolCallStart
from service.domain.generation import LocalToolKind
from service.domain.json_stream import StringProperty, ValueEnd
from service.domain.local_tools import action_of, is_object

_MAPPED: Final = (ToolCallStart, ToolCallDelta, Finish)


class CallMapper:
    """One answer's calls on their way back; all other events pass as they are.

    A custom tool's text goes on as it comes. A local tool's action is held until its arguments are a whole
    object, or else until its choice ends; blanks or words after the object say nothing. What comes out folds
    to the same however the events were split.
    """

    __slots__ = ("_calls", "_tools")

    def __init__(self, tools: Mapping[str, Bridged]) -> None:
        self._tools = tools
        self._calls: dict[tuple[int, int], StringProperty | _LocalCall] = {}

    def map(self, events: Sequence[Event]) -> list[Event]:
        """`events` with bridged calls under their own kind and name; possibly none where text is held."""
        mapped: list[Event] = []
        for event in events:
            if isinstance(event, _MAPPED):
                self._take(event, mapped)
            else:
                mapped.append(event)
        return mapped

    def end(self) -> list[Event]:
        """What was held, once the answer is over."""
        mapped: list[Event] = []
        for choice in sorted({choice for choice, _ in self._calls}):
            self._close(choice, mapped)
        return mapped

    def whole(self, events: Sequence[Event]) -> list[Event]:
        """A whole answer's events."""
        return self.map(events) + self.end()

    def _take(self, event: ToolCallStart | ToolCallDelta | Finish, mapped: list[Event]) -> None:
        if isinstance(event, Finish):
            self._close(event.choice, mapped)
            mapped.append(event)
        elif isinstance(event, ToolCallStart):
            tool = self._tools.get(event.name)
            if tool is None:
                mapped.append(event)
                return
            kind = tool.kind
            place = (event.choice, event.index)
            self._calls[place] = (
                StringProperty(INPUT) if kind == "custom" else _LocalCall(cast("LocalToolKind", kind))
            )
            mapped.append(ToolCallStart(event.index, event.id, tool.name, kind, event.choice))
        else:
            call = self._calls.get((event.choice, event.index))
            if call is None:
                mapped.append(event)
                return
            text = call.feed(event.arguments)
            if text:
                mapped.append(ToolCallDelta(event.index, text, event.choice))

    def _close(self, choice: int, mapped: list[Event]) -> None:
        for place in sorted(place for place in self._calls if place[0] == choice):
            text = self._calls.pop(place).end()
            if text:
                mapped.append(ToolCallDelta(place[1], text, choice))


class _LocalCall:
    """A local tool's arguments while they come in."""

    __slots__ = ("_done", "_end", "_held", "_kind", "_whole")

    def __init__(self, kind: LocalToolKind) -> None:
        self._kind = kind
        self._held: list[str] = []
        self._end = ValueEnd()
        self._done = False
        # Whether an object may still come to its end here; None before the first character.
        self._whole: bool | None = None

    def feed(self, fragment: str) -> str:
        """The action as soon as its arguments are a whole object, "" before and after."""
        if self._done:
            return ""
        at = 0
        if self._whole is None:
            at = len(fragment) - len(fragment.lstrip())
            if at < len(fragment):
                self._whole = fragment[at] == "{"
        if self._whole:
            after = self._end.feed(fragment, at)
            if after >= 0:
                text = "".join(self._held) + fragment[:after]
                self._whole = is_object(text)
                if self._whole:
                    self._held = [text]
                    return self.end()
        self._held.append(fragment)
        return ""

    def end(self) -> str:
        """The action of whatever has come, "" when it was given before."""
        if self._done:
            return ""
        self._done = True
        return action_of(self._kind, "".join(self._held))
