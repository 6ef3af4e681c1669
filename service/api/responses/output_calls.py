"""Tool calls of the output: of functions and custom tools with their deltas, of local tools in one piece."""

from __future__ import annotations

from typing import Final, cast

import orjson
from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_items_pb2 as items_pb

from service.api.responses.event_log import EventLog
from service.api.responses.output_item import IN_PROGRESS, Ending, OutputItem
from service.domain.events import ToolCallStart
from service.domain.generation import LocalToolKind

LOCAL: Final[dict[LocalToolKind, str]] = {
    "local_shell": "local_shell_call",
    "shell": "shell_call",
    "apply_patch": "apply_patch_call",
}
"""The kinds of items that calls of local tools are."""

# What stands for an action until it is known: of the right shape, and nothing to do.
_NO_ACTION: Final[dict[LocalToolKind, str]] = {
    "local_shell": '{"type":"exec","command":[],"env":{}}',
    "shell": '{"commands":[],"timeout_ms":null,"max_output_length":null}',
    "apply_patch": '{"type":"update_file","path":"","diff":""}',
}


def item_kind(start: ToolCallStart) -> str:
    """The kind of item that a call is."""
    if start.kind == "function":
        return "function_call"
    return "custom_tool_call" if start.kind == "custom" else LOCAL[start.kind]


class OutputCall(OutputItem):
    """A call: its text comes in fragments, `close` writes the whole."""

    __slots__ = ("texts",)

    def __init__(self, log: EventLog, index: int, item_id: str) -> None:
        super().__init__(log, index, item_id)
        self.texts: list[str] = []

    def more(self, text: str) -> None:
        """More of the call's text."""
        raise NotImplementedError

    def is_whole(self) -> bool:
        """Whether nothing can come any more that would mean something."""
        return is_object("".join(self.texts))


class FunctionCall(OutputCall):
    """A call of a function; arguments that are a whole object can't go on."""

    __slots__ = ()

    def __init__(self, log: EventLog, index: int, item_id: str, start: ToolCallStart) -> None:
        super().__init__(log, index, item_id)
        call = self.item.function_call
        call.id, call.call_id, call.name, call.status = item_id, start.id, start.name, IN_PROGRESS

    def more(self, text: str) -> None:
        """As the base class."""
        if not self.log.silent:
            event = events_pb.ResponseStreamEvent()
            told = event.function_call_arguments_delta
            told.item_id, told.output_index, told.delta = self.id, self.index, text
            self.log.add(event)
        self.texts.append(text)

    def close(self, ending: Ending) -> None:
        """As the base class."""
        call = self.item.function_call
        call.arguments = "".join(self.texts)
        call.status = ending
        if not self.log.silent:
            event = events_pb.ResponseStreamEvent()
            told = event.function_call_arguments_done
            told.item_id, told.output_index = self.id, self.index
            told.name, told.arguments = call.name, call.arguments
            self.log.add(event)
        self.done()


class CustomCall(OutputCall):
    """A call of a custom tool; free text may always go on."""

    __slots__ = ()

    def __init__(self, log: EventLog, index: int, item_id: str, start: ToolCallStart) -> None:
        super().__init__(log, index, item_id)
        call = self.item.custom_tool_call
        call.id, call.call_id, call.name, call.status = item_id, start.id, start.name, IN_PROGRESS

    def more(self, text: str) -> None:
        """As the base class."""
        if not self.log.silent:
            event = events_pb.ResponseStreamEvent()
            told = event.custom_tool_call_input_delta
            told.item_id, told.output_index, told.delta = self.id, self.index, text
            self.log.add(event)
        self.texts.append(text)

    def is_whole(self) -> bool:
        """As the base class."""
        return False

    def close(self, ending: Ending) -> None:
        """As the base class."""
        call = self.item.custom_tool_call
        call.input = "".join(self.texts)
        call.status = ending
        if not self.log.silent:
            event = events_pb.ResponseStreamEvent()
            told = event.custom_tool_call_input_done
            told.item_id, told.output_index, told.input = self.id, self.index, call.input
            self.log.add(event)
        self.done()


class LocalCall(OutputCall):
    """A call of a tool that the caller runs. It is announced with its action as soon as that is known, or
    with none when another item begins before: clients read an action as a whole, and items in order.
    """

    __slots__ = ("_kind",)

    def __init__(self, log: EventLog, index: int, item_id: str, start: ToolCallStart) -> None:
        super().__init__(log, index, item_id)
        self._kind = cast("LocalToolKind", start.kind)
        call = self._call()
        call.id, call.call_id, call.status = item_id, start.id, IN_PROGRESS
        self._put(_NO_ACTION[self._kind])

    def more(self, text: str) -> None:
        """As the base class."""
        self.texts.append(text)

    def announce(self) -> None:
        """As the base class."""
        action = "".join(self.texts)
        if is_object(action):
            self._put(action)
        super().announce()

    def close(self, ending: Ending) -> None:
        """As the base class."""
        action = "".join(self.texts)
        if ending == "completed" and not is_object(action):
            raise ValueError(f"a {self._kind} call without an action")
        self.announce()
        call = self._call()
        # An apply_patch_call knows no third state.
        call.status = ending if ending == "completed" or self._kind != "apply_patch" else IN_PROGRESS
        self.done()

    def _call(self) -> items_pb.LocalShellCall | items_pb.ShellCall | items_pb.ApplyPatchCall:
        if self._kind == "local_shell":
            return self.item.local_shell_call
        return self.item.shell_call if self._kind == "shell" else self.item.apply_patch_call

    def _put(self, action: str) -> None:
        if self._kind == "local_shell":
            self.item.local_shell_call.action = action
        elif self._kind == "shell":
            self.item.shell_call.action = action
        else:
            self.item.apply_patch_call.operation = action


def is_object(text: str) -> bool:
    """Whether `text` is one whole JSON object."""
    if not text.endswith(("}", " ", "\n", "\r", "\t")):
        return False
    try:
        return type(orjson.loads(text)) is dict
    except orjson.JSONDecodeError:
        return False
