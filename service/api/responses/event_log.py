"""The events of one response in the making: numbered, and gathered until they are given out."""

from __future__ import annotations

from eurouter.v1 import response_events_pb2 as pb


class EventLog:
    """Numbers events from 0 without gaps. A `silent` one is for whole answers, where nobody makes events.

    An event is added once it is filled: one that could not be filled takes no number.
    """

    __slots__ = ("_events", "_number", "silent")

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self._events: list[pb.ResponseStreamEvent] = []
        self._number = 0

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
