"""Items of the output that the provider made by itself, such as a web search, with their news."""

from __future__ import annotations

from typing import Final

import orjson
from eurouter.v1 import content_pb2
from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_items_pb2 as pb

from service import wire
from service.api.responses.event_log import EventLog
from service.api.responses.output_item import Ending, OutputItem
from service.domain.events import OpaqueItem, OpaqueProgress

# How the names of the events begin that tell the progress of such an item.
_NEWS: Final = (
    "web_search_call_",
    "file_search_call_",
    "code_interpreter_call_",
    "image_generation_call_",
    "mcp_",
    "shell_call_",
)
_ARMS: Final = {
    field.name: frozenset(field.message_type.fields_by_name) - {"item_id", "output_index"}
    for field in events_pb.ResponseStreamEvent.DESCRIPTOR.oneofs_by_name["event"].fields
    if field.message_type is not None and field.name.startswith(_NEWS)
}

# What a kind says of itself when it is cut off; of other kinds the provider's last word stands.
_CUT: Final = {
    "web_search_call": "failed",
    "file_search_call": "incomplete",
    "code_interpreter_call": "incomplete",
    "image_generation_call": "failed",
    "computer_call": "incomplete",
    "mcp_call": "incomplete",
}


class OutputProvided(OutputItem):
    """An item that is known as JSON of this API; it keeps its own words, but for its id."""

    __slots__ = ("finished",)

    def __init__(self, log: EventLog, index: int, item_id: str, event: OpaqueItem) -> None:
        super().__init__(log, index, item_id)
        self.item = _parsed(event, item_id)
        self.finished = event.done

    def update(self, event: OpaqueItem) -> None:
        """The item as it is now.

        Raises:
            ValueError: it is no JSON object, or the item is over.
        """
        if self.closed:
            raise ValueError(f"a {event.type} item goes on after its end")
        self.item = _parsed(event, self.id)
        self.finished = event.done

    def progress(self, event: OpaqueProgress) -> None:
        """News of the item; those of a kind that the contract has no name for are left out."""
        arm = event.type.removeprefix("response.").replace(".", "_")
        known = _ARMS.get(arm)
        if known is None or self.log.silent:
            return
        value = orjson.loads(event.json)
        if type(value) is not dict:
            raise ValueError(f"a {event.type} event that is no object")
        told = events_pb.ResponseStreamEvent()
        target = getattr(told, arm)
        try:
            target.CopyFrom(wire.parse(type(target), {name: value[name] for name in known if name in value}))
        except wire.WireError:
            return  # news in a form that nobody knows; the item itself tells all at its end
        target.output_index = self.index
        if "item_id" in target.DESCRIPTOR.fields_by_name:
            target.item_id = self.id
        self.log.add(told)

    def close(self, ending: Ending) -> None:
        """As the base class."""
        kind = self.item.WhichOneof("item")
        if not self.finished and ending == "incomplete" and kind in _CUT:
            getattr(self.item, kind).status = _CUT[kind]
        self.done()


def _parsed(event: OpaqueItem, item_id: str) -> pb.ResponseItem:
    value = orjson.loads(event.json)
    if type(value) is not dict:
        raise ValueError(f"a {event.type} item that is no object")
    value["id"] = item_id
    try:
        return wire.parse(pb.ResponseItem, value)
    except wire.WireError:
        pass
    try:
        text = orjson.dumps(value).decode()
    except TypeError as error:
        raise ValueError(f"a {event.type} item that is nested too deeply") from error
    return pb.ResponseItem(opaque=content_pb2.Opaque(type=event.type, json=text))
