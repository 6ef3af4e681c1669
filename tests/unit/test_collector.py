"""How a serving process has Python's garbage collector set."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from service.until_signal import freeze_what_stays


class Ring:
    """An object that only a collection can end: it holds itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def _serving() -> Iterator[None]:
    before = gc.get_threshold()
    freeze_what_stays()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("_serving")
def test_what_was_there_at_the_start_is_looked_at_no_more() -> None:
    assert gc.get_freeze_count() > 1000


@pytest.mark.usefixtures("_serving")
def test_a_few_calls_start_no_collection_and_what_nobody_holds_goes_in_the_end() -> None:
    rings: weakref.WeakSet[Ring] = weakref.WeakSet()
    for _ in range(1000):
        rings.add(Ring())
    assert len(rings) == 1000
    for _ in range(20_000):
        rings.add(Ring())
    assert len(rings) < 20_000
