"""The events of one response in the making: numbered, and gathered until they are given out."""

from __future__ import annotations

from typing import Literal, TypeAlias

from eurouter.v1 import response_events_pb2 as pb

Detail: TypeAlias = Literal["all", "items", "nothing"]
"""Which events are made: all of them, those of states and whole items, or none, where nobody reads any."""


class EventLog:
    """Numbers events from `first` on without gaps. What makes events asks it whether they are wanted.

    `silent`: nothing is told of what happens within an item; `items`: items are told to begin and end. An event
    is added once it is filled: one that could not be filled takes no number.
    """

    __slots__ = ("_events", "_number", "items", "silent")

    def __init__(self, detail: Detail = "all", *, first: int = 0) -> None:
        self.silent = detail != "all"
        self.items = detail != "nothing"
        self._events: list[pb.ResponseStreamEvent] = []
        self._number = first

    def number(self) -> int:
        """The next number, taken."""
        number = self._number
        self._number = number + 1
        return number

    def add(self, event: pb.ResponseStreamEvent) -> None:
        """One more event; its number is set here."""
        event.sequence_number = self.number()
        self._events.append(event)

    def take(self) -> list[pb.ResponseStreamEvent]:
        """What was added since the last take."""
        events = self._events
        self._events = []
        return events
