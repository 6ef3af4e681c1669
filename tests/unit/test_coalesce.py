"""Merging of deltas: the fold stays, the order stays, the first output and the end never wait."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import pytest
from hypothesis import given

from service.coalesce import Coalescer, LoadWindow, merge
from service.domain.events import (
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    Start,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
)
from service.domain.fold import fold
from tests.support.chats import STREAMS


class Batches:
    """A source that plays batches and remembers what was asked of it, in order."""

    def __init__(self, *batches: Sequence[Event]) -> None:
        self.left = list(batches)
        self.journal: list[str] = []

    async def next(self) -> Sequence[Event]:
        self.journal.append("next")
        return self.left.pop(0) if self.left else ()

    async def settle(self, seconds: float) -> None:
        self.journal.append(f"settle {seconds}")

    async def aclose(self) -> None:
        self.journal.append("close")


@given(STREAMS)
def test_merging_changes_nothing_of_the_whole_answer(events: list[Event]) -> None:
    assert fold(merge(events)) == fold(events)


@given(STREAMS)
def test_merging_keeps_the_order_of_kinds_and_choices(events: list[Event]) -> None:
    def trail(all_of: list[Event]) -> list[tuple[str, object]]:
        places = [(type(event).__name__, getattr(event, "choice", None)) for event in all_of]
        return [place for place, _ in groupby(places)]

    assert trail(merge(events)) == trail(events)


@given(STREAMS)
def test_merging_twice_is_merging_once(events: list[Event]) -> None:
    once = merge(events)
    assert merge(once) == once


def test_texts_of_one_choice_become_one_and_log_probabilities_stay_in_order() -> None:
    one, two = TokenLogprob("a", -1.0), TokenLogprob("b", -2.0)
    assert merge([TextDelta("a"), TextDelta("b"), TextDelta("c")]) == [TextDelta("abc")]
    assert merge([TextDelta("a", 1, (one,)), TextDelta("b", 1, (two,))]) == [TextDelta("ab", 1, (one, two))]
    assert merge([TextDelta("a"), TextDelta("b", 0, (two,))]) == [TextDelta("ab", 0, (two,))]


def test_what_does_not_belong_together_stays_apart() -> None:
    events: list[Event] = [
        TextDelta("a", 0),
        TextDelta("b", 1),
        RefusalDelta("c", 1),
        ReasoningDelta("d"),
        ReasoningDelta("e", kind="summary"),
        ToolCallStart(0, "id", "f"),
        ToolCallDelta(0, "g"),
        ToolCallDelta(1, "h"),
        ToolCallDelta(1, "i", choice=1),
        TextDelta("j"),
    ]
    assert merge(events) == events


def test_fragments_of_one_call_become_one() -> None:
    assert merge([ToolCallDelta(1, '{"a'), ToolCallDelta(1, '":1}')]) == [ToolCallDelta(1, '{"a":1}')]


def test_nothing_merges_to_nothing() -> None:
    assert merge([]) == []


async def test_the_first_output_never_waits_and_later_reads_wait_for_the_window() -> None:
    source = Batches([Start("id", "m"), TextDelta("a")], [TextDelta("b"), TextDelta("c")])
    coalescer = Coalescer(source, lambda: 0.02)
    assert await coalescer.next() == [Start("id", "m"), TextDelta("a")]
    assert await coalescer.next() == [TextDelta("bc")]
    assert await coalescer.next() == ()
    assert source.journal == ["next", "settle 0.02", "next", "settle 0.02", "next"]


async def test_without_a_window_no_read_waits_and_a_single_event_is_passed_on_as_it_is() -> None:
    finish = Finish(FinishReason.STOP)
    source = Batches([TextDelta("a")], [finish])
    coalescer = Coalescer(source, lambda: 0.0)
    await coalescer.next()
    assert (await coalescer.next())[0] is finish
    await coalescer.aclose()
    assert source.journal == ["next", "next", "close"]


def test_a_small_lag_opens_no_window() -> None:
    window = LoadWindow(0.05)
    for _ in range(100):
        window.observe(0.0009)
    assert window() == 0.0


@pytest.mark.parametrize("loads", [[(0.002, 0), (0.004, 0), (5.0, 0)], [(0, 0.4), (0, 0.7), (0, 1.0), (0, 2.0)]])
def test_the_window_grows_with_lag_and_use_up_to_its_bound(loads: list[tuple[float, float]]) -> None:
    sizes = []
    for lag, busy in loads:
        window = LoadWindow(0.05)
        for _ in range(50):
            window.observe(lag, busy)
        sizes.append(window())
    assert sizes == sorted(sizes)
    assert 0 < sizes[0] < sizes[1] < 0.05
    assert sizes[-1] == 0.05


def test_a_process_that_is_mostly_idle_opens_no_window() -> None:
    window = LoadWindow(0.05)
    for _ in range(50):
        window.observe(0.0, 0.29)
    assert window() == 0.0


def test_the_window_closes_by_degrees_once_the_lag_is_gone() -> None:
    window = LoadWindow(0.05)
    for _ in range(20):
        window.observe(0.01)
    falling = [window()]
    while falling[-1] > 0:
        window.observe(0.0)
        falling.append(window())
    assert falling == sorted(falling, reverse=True)
    assert 5 < len(falling) < 40


@pytest.mark.parametrize("lag", [-1.0, -0.001])
def test_a_timer_that_fires_early_is_no_lag(lag: float) -> None:
    window = LoadWindow()
    window.observe(lag)
    assert window() == 0.0
