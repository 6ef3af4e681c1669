"""What callers may ask providers to keep under `max_retention_days`, at both doors."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

import pytest
from eurouter.v1 import routing_pb2

from adapters.health import OutcomeHealth
from service.api.chat.handler import ChatHandler, ChatSettings
from service.api.responses.prepare import Preparer, ResponsesSettings
from service.api.retention import check_retention
from service.api.routing import RoutingHandler
from service.domain.calls import CallContext, Principal
from service.domain.errors import Reason, ServiceError, Violation
from service.domain.fields import Field
from service.domain.generation import Generation, Json
from service.domain.preferences import OPEN, Floor, Policy, Preferences
from service.domain.stored import ResponseStore
from service.router import Router
from tests.support import response_requests
from tests.support.chats import request
from tests.support.upstreams import FakeClock, FakeUpstream, RecordingTelemetry, says
from tests.support.working import ALPHA, CalmHealth, one_endpoint

ZERO = Floor(max_retention_days=0)
TOO_LONG: Sequence[tuple[dict[str, Any], str]] = [
    ({"prompt_cache_retention": "24h"}, "prompt_cache_retention"),
    ({"prompt_cache_options": {"ttl": "12h"}}, "prompt_cache_options.ttl"),
]


def context(floor: Floor = OPEN) -> CallContext:
    return CallContext(Principal("ann", floor=floor), "r", time.monotonic() + 60)


def violations(options: dict[Field, Json], policy: Policy) -> Sequence[Violation]:
    try:
        check_retention(Generation((), options=options), policy)
    except ServiceError as error:
        assert error.reason is Reason.INVALID_REQUEST
        return error.violations
    return ()


def paths(options: dict[Field, Json], days: int | None) -> list[str]:
    return [each.path for each in violations(options, Policy(floor=Floor(max_retention_days=days)))]


@pytest.mark.parametrize("days", [0, 1, 400])
def test_no_number_of_days_lets_a_provider_store_a_completion_and_none_forbids_it(days: int) -> None:
    assert paths({Field.STORE: True}, days) == ["store"]
    assert paths({Field.STORE: True}, None) == []
    assert paths({Field.STORE: False}, days) == []


@pytest.mark.parametrize(
    ("lifetime", "least_days"),
    [
        ("in_memory", 0),
        ("in-memory", 0),
        ("30m", 0),
        ("1h", 0),
        ("3601s", 1),
        ("12h", 1),
        ("24h", 1),
        ("25h", 2),
        ("7d", 7),
    ],
)
def test_a_cache_may_live_as_long_as_the_filter_allows_and_in_memory_always(
    lifetime: str, least_days: int
) -> None:
    for days in (0, 1, 2, 6, 7, 30):
        wishes: list[tuple[Field, Json, str]] = [
            (Field.PROMPT_CACHE_RETENTION, lifetime, "prompt_cache_retention"),
            (Field.PROMPT_CACHE_OPTIONS, {"mode": "explicit", "ttl": lifetime}, "prompt_cache_options.ttl"),
        ]
        for field, value, path in wishes:
            assert paths({field: value}, days) == ([] if days >= least_days else [path]), days


def test_a_lifetime_that_nobody_knows_is_too_long_under_any_filter_and_harmless_without_one() -> None:
    assert paths({Field.PROMPT_CACHE_RETENTION: "forever"}, 400) == ["prompt_cache_retention"]
    assert paths({Field.PROMPT_CACHE_RETENTION: "forever"}, None) == []
    assert paths({Field.PROMPT_CACHE_OPTIONS: {"mode": "implicit"}}, 0) == []


@pytest.mark.parametrize(
    ("policy", "whose"),
    [
        (Policy(Preferences(max_retention_days=0), Floor(max_retention_days=5)), "provider.max_retention_days"),
        (Policy(Preferences(max_retention_days=5), ZERO), "the operator's max_retention_days"),
        (Policy(floor=Floor(max_retention_days=5), conversation=ZERO), "the conversation's max_retention_days"),
    ],
)
def test_the_error_names_the_limit_that_holds_and_its_field_where_the_caller_set_it(
    policy: Policy, whose: str
) -> None:
    first, *others = violations({Field.STORE: True, Field.PROMPT_CACHE_RETENTION: "24h"}, policy)
    assert first == Violation(
        "store", f"true needs storage, and {whose} is 0: nothing is kept; leave one of them out"
    )
    assert others[0].path == "prompt_cache_retention"
    assert whose in others[0].message
    by_caller = whose.startswith("provider.")
    assert [each.path for each in others[1:]] == (["provider.max_retention_days"] if by_caller else [])


def chat_door(operator: Floor = OPEN) -> tuple[ChatHandler, FakeUpstream]:
    """The chat API and its only provider, which keeps nothing unasked."""
    clock = FakeClock()
    upstream = FakeUpstream(clock, {ALPHA: says("hi")})
    router = Router(upstream, OutcomeHealth(clock=clock), RecordingTelemetry(), clock=clock, sleep=clock.sleep)
    settings = ChatSettings(floor=operator)
    handler = ChatHandler(one_endpoint(), router, lambda: settings, wall_clock=lambda: 0.0, new_id=lambda: "1")
    return handler, upstream


@pytest.mark.parametrize("whose", ["operator", "key", "request"])
@pytest.mark.parametrize(("fields", "path"), [({"store": True}, "store"), *TOO_LONG])
async def test_a_chat_request_that_would_have_its_data_kept_reaches_no_provider(
    fields: dict[str, Any], path: str, whose: str
) -> None:
    handler, upstream = chat_door(ZERO if whose == "operator" else OPEN)
    caller = context(ZERO if whose == "key" else OPEN)
    own = {"provider": {"max_retention_days": 0}} if whose == "request" else {}
    with pytest.raises(ServiceError) as caught:
        await handler.create(request(**own, **fields), caller)
    with pytest.raises(ServiceError) as streamed:
        handler.stream(request(**own, **fields), caller)
    for error in (caught.value, streamed.value):
        assert (error.reason, error.violations[0].path) == (Reason.INVALID_REQUEST, path)
    assert upstream.asked() == []
    await handler.create(request(**own), caller)
    assert len(upstream.asked()) == 1, "the wish alone stood in the way"


@pytest.mark.parametrize("fields", [{"store": True}, *(fields for fields, _ in TOO_LONG)])
async def test_without_a_filter_on_retention_what_is_kept_is_between_caller_and_provider(
    fields: dict[str, Any],
) -> None:
    handler, upstream = chat_door(Floor(data_collection_deny=True))
    await handler.create(request(**fields), context())
    assert len(upstream.asked()) == 1


def test_a_dry_run_refuses_it_at_the_place_where_it_stands_there() -> None:
    router = Router(FakeUpstream(FakeClock(), {}), CalmHealth(), RecordingTelemetry())
    settings = ChatSettings(floor=ZERO)
    handler = RoutingHandler(one_endpoint(), router, lambda: settings, clock=lambda: 0.0)
    with pytest.raises(ServiceError) as caught:
        handler.dry_run(routing_pb2.DryRunRoutingRequest(request=request(store=True)), context())
    assert [each.path for each in caught.value.violations] == ["request.store"]


@pytest.mark.parametrize(("fields", "path"), TOO_LONG)
async def test_a_responses_request_that_would_have_its_prompt_kept_is_refused(
    fields: dict[str, Any], path: str
) -> None:
    settings = ResponsesSettings(ChatSettings(floor=ZERO))
    preparer = Preparer(
        one_endpoint(),
        cast("ResponseStore", None),
        lambda: settings,
        wall_clock=lambda: 0.0,
        new_id=lambda: "f" * 36,
    )
    with pytest.raises(ServiceError) as caught:
        await preparer.prepare(response_requests.request(**fields), context(), streaming=False)
    assert [each.path for each in caught.value.violations] == [path]
