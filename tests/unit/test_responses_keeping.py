"""Whether a response is kept, and for how long: the request, the rule's layer and the floor together."""

from __future__ import annotations

from typing import Any

import pytest

from service.api.responses.keeping import Keeping, keeping_for
from service.domain.errors import ServiceError
from service.domain.preferences import Floor, Policy, Preferences
from tests.support.response_requests import read

DAY = 86400.0
MONTH = 30 * DAY


def kept(asked: int | None = None, floor: int | None = None, **fields: Any) -> Keeping:
    policy = Policy(Preferences(max_retention_days=asked), Floor(max_retention_days=floor))
    return keeping_for(read(**fields), policy, MONTH, 0.0)


@pytest.mark.parametrize(
    ("asked", "floor", "days"), [(None, None, 30), (1, None, 1), (None, 2, 2), (3, 2, 2), (2, 3, 2), (90, 60, 30)]
)
def test_a_response_is_kept_as_long_as_the_strictest_of_settings_request_and_floor_says(
    asked: int | None, floor: int | None, days: int
) -> None:
    made = kept(asked, floor)
    assert (made.store, made.retention, made.until) == (True, days * DAY, days * DAY)


def test_what_the_request_says_of_storing_counts() -> None:
    assert kept(store=True).store
    assert not kept(store=False).store
    assert not kept(1, store=False).store


@pytest.mark.parametrize(("asked", "floor"), [(0, None), (None, 0), (0, 5), (5, 0)])
def test_zero_days_keep_nothing_and_refuse_what_needs_storage(asked: int | None, floor: int | None) -> None:
    assert kept(asked, floor) == Keeping(store=False, retention=0.0)
    assert not kept(asked, floor, store=False).store
    with pytest.raises(ServiceError) as caught:
        kept(asked, floor, store=True, previous_response_id="resp_" + "0" * 36)
    named = [violation.path for violation in caught.value.violations]
    assert named[:2] == ["store", "previous_response_id"]
    assert ("provider.max_retention_days" in named) is (asked == 0)
