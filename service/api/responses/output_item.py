"""What all items of output have in common while they are made."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_items_pb2 as pb

from service.api.responses.event_log import EventLog

Ending: TypeAlias = Literal["completed", "incomplete"]

IN_PROGRESS: Final = "in_progress"


class OutputItem:
    """One item: `announce` once it may be seen, `close` once, when nothing more comes of it.

    `index` is its place in the output, `item` what it is so far: texts are written into it when it closes.
    """

    __slots__ = ("announced", "closed", "id", "index", "item", "log")

    def __init__(self, log: EventLog, index: int, item_id: str) -> None:
        self.log = log
        self.index = index
        self.id = item_id
        self.item = pb.ResponseItem()
        self.announced = False
        self.closed = False

    def announce(self) -> None:
        """Tells that the item begins. Idempotent."""
        if not self.announced:
            self.announced = True
            if self.log.items:
                event = events_pb.ResponseStreamEvent()
                event.output_item_added.output_index = self.index
                event.output_item_added.item.CopyFrom(self.item)
                self.log.add(event)

    def close(self, ending: Ending) -> None:
        """Writes what was gathered into `item` and tells that it is over.

        Raises:
            ValueError: what was gathered is no such item.
        """
        raise NotImplementedError

    def done(self) -> None:
        """Tells that the item is over."""
        self.closed = True
        if self.log.items:
            event = events_pb.ResponseStreamEvent()
            event.output_item_done.output_index = self.index
            event.output_item_done.item.CopyFrom(self.item)
            self.hide(event.output_item_done.item)
            self.log.add(event)

    def hide(self, item: pb.ResponseItem) -> None:
        """Takes out of a copy of the item what its reader must not see."""
