"""Merges neighbouring deltas of a stream: what already waits, and under load what comes in a short window.

A stream costs per message, not per token. One place for gRPC, SSE and logs of events; stdlib only. How busy
the event loop is gets measured elsewhere, only the window that follows from it is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from service.domain.events import Event, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta
from service.domain.ports import EventSource

_MERGEABLE: Final = frozenset({TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta})


class Coalescer:
    """An event source over another one, with fewer and larger events. Same order, same fold.

    `window` gives the seconds for which the next read may be held, 0 for none. The first output never waits
    and the end ends a wait. Not safe for concurrent use.
    """

    __slots__ = ("_source", "_started", "_window")

    def __init__(self, source: EventSource, window: Callable[[], float]) -> None:
        self._source = source
        self._window = window
        self._started = False

    async def next(self) -> Sequence[Event]:
        """The next events, merged; empty only at the clean end. Raises what the source raises."""
        if self._started:
            seconds = self._window()
            if seconds > 0:
                await self._source.settle(seconds)
        events = await self._source.next()
        self._started = True
        return merge(events) if len(events) > 1 else events

    async def settle(self, seconds: float) -> None:
        """As the source's."""
        await self._source.settle(seconds)

    async def aclose(self) -> None:
        """Ends the source. Idempotent."""
        await self._source.aclose()


def merge(events: Sequence[Event]) -> list[Event]:
    """`events` with each run of deltas of one kind and place made one; all else stays where it is."""
    text = _only_text(events)
    if text is not None:
        return [text]
    merged: list[Event] = []
    end = len(events)
    at = 0
    while at < end:
        event = events[at]
        after = at + 1
        if type(event) in _MERGEABLE:
            while after < end and _continues(event, events[after]):
                after += 1
        merged.append(event if after == at + 1 else _join(events[at:after]))
        at = after
    return merged


def _only_text(events: Sequence[Event]) -> TextDelta | None:
    """Nearly every batch is the text of one choice: this spares it the general way."""
    texts: list[str] = []
    choice = -1
    for event in events:
        if type(event) is not TextDelta or event.logprobs or (texts and event.choice != choice):
            return None
        choice = event.choice
        texts.append(event.text)
    return TextDelta("".join(texts), choice) if texts else None


def _continues(first: Event, other: Event) -> bool:
    if isinstance(first, TextDelta | RefusalDelta):
        return type(other) is type(first) and other.choice == first.choice
    if isinstance(first, ReasoningDelta):
        return (
            isinstance(other, ReasoningDelta)
            and other.choice == first.choice
            and other.kind == first.kind
            and other.part == first.part
        )
    return (
        isinstance(first, ToolCallDelta)
        and isinstance(other, ToolCallDelta)
        and other.choice == first.choice
        and other.index == first.index
    )


def _join(run: Sequence[Event]) -> Event:
    """One delta for a run that `_continues`."""
    first = run[0]
    match first:
        case TextDelta() | RefusalDelta():
            texts = [delta for delta in run if isinstance(delta, TextDelta | RefusalDelta)]
            logprobs = tuple([token for delta in texts for token in delta.logprobs])
            return type(first)("".join([delta.text for delta in texts]), first.choice, logprobs)
        case ReasoningDelta():
            text = "".join([delta.text for delta in run if isinstance(delta, ReasoningDelta)])
            return ReasoningDelta(text, first.choice, first.kind, first.part)
        case ToolCallDelta():
            fragments = "".join([delta.arguments for delta in run if isinstance(delta, ToolCallDelta)])
            return ToolCallDelta(first.index, fragments, first.choice)
        case _:
            raise TypeError(f"{type(first).__name__} can't be merged")


class LoadWindow:
    """How long reads may be held, from how late the event loop runs its timers and how busy the process is.

    Zero while the lag stays under `tolerated` seconds and the process uses less than `idle_share` of a core;
    above that it grows with either, at most to `max_window` seconds. The lag notices a crowded machine, the
    share a loop that keeps up but only just: a window from lag alone swings, because it removes what it is
    measured by. Rises at once and falls back by degrees. Reading it costs a call.
    """

    __slots__ = ("_busy", "_gain", "_idle_share", "_lag", "_tolerated", "_window", "max_window")

    def __init__(
        self,
        max_window: float = 0.05,
        *,
        tolerated: float = 0.001,
        gain: float = 10.0,
        idle_share: float = 0.3,
    ) -> None:
        self.max_window = max_window
        self._tolerated = tolerated
        self._gain = gain
        self._idle_share = idle_share
        self._lag = 0.0
        self._busy = 0.0
        self._window = 0.0

    def observe(self, lag: float, busy: float = 0.0) -> None:
        """A timer ran `lag` seconds late, and the process used `busy` of a core; call it at a steady interval."""
        self._lag = _followed(self._lag, max(0.0, lag))
        self._busy = _followed(self._busy, max(0.0, busy))
        from_lag = (self._lag - self._tolerated) * self._gain
        from_busy = (self._busy - self._idle_share) / (1 - self._idle_share) * self.max_window
        self._window = min(self.max_window, max(0.0, from_lag, from_busy))

    def __call__(self) -> float:
        """Seconds for which the next read may be held."""
        return self._window


def _followed(before: float, now: float) -> float:
    share = 0.5 if now > before else 0.2
    return before + (now - before) * share
