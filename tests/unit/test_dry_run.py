"""Dry runs: what they tell is what the call then does, and their errors name the dry run's own fields."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from eurouter.v1 import preferences_pb2
from eurouter.v1 import routing_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from adapters.health import OutcomeHealth
from service.api.chat.handler import ChatHandler, ChatSettings
from service.api.preferences import from_policy
from service.api.routing import RoutingHandler
from service.domain.catalog import Alias, Catalog, Rule
from service.domain.errors import Reason, ServiceError
from service.domain.failure import FailureKind
from service.domain.fields import Field
from service.domain.preferences import Floor, Policy, Preferences
from service.router import Router
from tests.support.catalogs import AMERICAN, EVERY_FIELD, catalog, endpoint, model, provider
from tests.support.chats import request
from tests.support.upstreams import FakeClock, FakeUpstream, RecordingTelemetry, Script, context, fails, says

RULE = Rule(
    "11111111-1111-4111-8111-111111111111", "cheap", model="vendor/small", preferences=Preferences(sort="price")
)
AMERICA = provider("beta", facts=AMERICAN)
SMALL = model(
    "vendor/small",
    endpoint("alpha", model="vendor/small", price="2", expressible=EVERY_FIELD - {Field.USER, Field.SEED}),
    endpoint(AMERICA, model="vendor/small", price="1"),
)
LARGE = model("vendor/large", endpoint("gamma", model="vendor/large", price="9"))
ROWS = catalog(SMALL, LARGE, rules=[RULE], aliases=[Alias("best", ("vendor/large", "vendor/small"))])


class Rows:
    """A catalogue source with one catalogue."""

    def current(self) -> Catalog:
        return ROWS


class World:
    """Dry runs and calls over one router, one clock and one health."""

    def __init__(self, scripts: Mapping[str, Script] | None = None, floor: Floor | None = None) -> None:
        self.clock = FakeClock()
        told = scripts or {}
        answers = {e.id: told.get(e.id, says("a")) for m in ROWS.models.values() for e in m.endpoints}
        self.upstream = FakeUpstream(self.clock, answers)
        self.health = OutcomeHealth(clock=self.clock)
        router = Router(self.upstream, self.health, RecordingTelemetry(), clock=self.clock, sleep=self.clock.sleep)
        settings = ChatSettings(floor=floor or Floor())
        self.chat = ChatHandler(Rows(), router, lambda: settings, wall_clock=self.clock, new_id=lambda: "1")
        self.routing = RoutingHandler(Rows(), router, lambda: settings, clock=self.clock)

    def run(self, **fields: object) -> pb.DryRunRoutingResponse:
        return self.routing.dry_run(pb.DryRunRoutingRequest(**fields), context())  # type: ignore[arg-type]


def order(answer: pb.DryRunRoutingResponse) -> list[str]:
    """The endpoints in the order in which they would be tried."""
    endpoints = [each for entry in answer.models for each in entry.endpoints]
    return [each.id for each in sorted(endpoints, key=lambda each: each.position)]


_PREFERENCES = st.fixed_dictionaries(
    {},
    optional={
        "sort": st.sampled_from(["price", "latency", "throughput"]),
        "only": st.lists(st.sampled_from(["alpha", "beta", "gamma"]), min_size=1, max_size=2, unique=True),
        "ignore": st.lists(st.sampled_from(["alpha", "beta"]), min_size=1, max_size=1),
        "order": st.lists(st.sampled_from(["gamma", "alpha"]), min_size=1, max_size=2, unique=True),
        "allow_fallbacks": st.booleans(),
        "require_parameters": st.booleans(),
        "data_residency": st.sampled_from(["eu", "us", "de"]),
        "max_retention_days": st.sampled_from([0, 30]),
        "eu_owned": st.booleans(),
    },
)
_ROUTES = st.sampled_from(
    [
        {"model": "vendor/small"},
        {"model": "small:nitro"},
        {"model": "best"},
        {"model": "vendor/large", "models": ["vendor/small"]},
        {"model": None, "rule_name": "cheap"},
    ]
)
_OPTIONS = st.fixed_dictionaries({}, optional={"user": st.just("u"), "seed": st.just(1), "top_k": st.just(3)})


@given(
    _ROUTES, _PREFERENCES, _OPTIONS, st.lists(st.sampled_from(["alpha", "beta", "gamma"]), unique=True, max_size=2)
)
async def test_a_dry_run_tells_what_the_call_then_does(
    route: dict[str, object], preferences: dict[str, object], options: dict[str, object], down: list[str]
) -> None:
    every = [e for m in ROWS.models.values() for e in m.endpoints]
    world = World({e.id: fails(FailureKind.SERVER_ERROR) for e in every if e.provider.slug in down})
    body = request(**route, **options, provider=preferences)
    told = world.run(request=body)
    try:
        answer = await world.chat.create(body, context())
    except ServiceError as error:
        if told.HasField("failure_reason"):
            assert error.reason.value == told.failure_reason
            assert world.upstream.asked() == []
        else:
            assert error.reason is Reason.PROVIDER_UNAVAILABLE
            assert world.upstream.asked() == order(told)
        return
    tried = order(told)
    assert world.upstream.asked() == tried[: answer.decision.fallback_count + 1]
    assert answer.decision.strategy == told.strategy
    chosen = next(e for m in told.models for e in m.endpoints if e.id == world.upstream.asked()[-1])
    assert tuple(chosen.ignored_parameters) == answer.decision.ignored


async def test_a_failure_of_a_real_call_shows_in_the_next_dry_run() -> None:
    world = World({"beta/vendor/small": fails(FailureKind.OVERLOADED)})
    assert order(world.run(model="vendor/small")) == ["beta/vendor/small", "alpha/vendor/small"]
    await world.chat.create(request(model="vendor/small"), context())
    (entry,) = world.run(model="vendor/small").models
    assert [each.id for each in entry.endpoints] == ["alpha/vendor/small"]
    assert [(each.id, each.filter) for each in entry.rejected] == [("beta/vendor/small", "cooling_down")]


def test_a_dry_run_says_why_endpoints_are_out_and_what_applies() -> None:
    floor = Floor(data_residency=("eu",), max_retention_days=10)
    answer = World(floor=floor).run(
        rule_name="cheap", preference_overrides=preferences_pb2.ProviderPreferences(max_retention_days=40)
    )
    assert (answer.rule.id, answer.rule.name, answer.strategy) == (RULE.id, "cheap", "price")
    assert answer.effective_preferences == preferences_pb2.ProviderPreferences(
        sort="price", data_residency="eu", max_retention_days=10
    )
    (entry,) = answer.models
    assert [(each.provider, each.position, each.price) for each in entry.endpoints] == [("alpha", 1, "0.000002")]
    assert [(each.provider, each.filter) for each in entry.rejected] == [("beta", "data_residency")]
    assert answer.summary == "alpha/vendor/small would be tried first; 1 rejected."
    assert not answer.HasField("failure_reason")


def test_a_call_that_would_find_nobody_is_an_answer_with_its_reason() -> None:
    only = preferences_pb2.ProviderPreferences(data_residency="de")
    answer = World().run(model="vendor/small", preference_overrides=only)
    assert answer.failure_reason == Reason.NO_ENDPOINT_ALLOWED
    assert not answer.models[0].endpoints
    assert len(answer.models[0].rejected) == 2
    assert "would fail" in answer.summary


def test_own_fields_replace_those_of_the_request_one_by_one() -> None:
    body = request(model="vendor/large", provider={"sort": "latency", "only": ["alpha"]}, user="u")
    overrides = preferences_pb2.ProviderPreferences(only=["alpha", "beta"])
    answer = World().run(model="vendor/small", preference_overrides=overrides, request=body)
    assert [entry.model for entry in answer.models] == ["vendor/small"]
    assert answer.effective_preferences.sort == "latency"
    assert list(answer.effective_preferences.only) == ["alpha", "beta"]
    ignored = {e.provider: list(e.ignored_parameters) for e in answer.models[0].endpoints}
    assert ignored == {"alpha": ["user"], "beta": []}
    assert list(body.provider.only) == ["alpha"]


@pytest.mark.parametrize(
    ("fields", "reason", "paths"),
    [
        ({}, Reason.INVALID_REQUEST, ["model"]),
        ({"model": "vendor/none"}, Reason.MODEL_NOT_FOUND, ["model"]),
        ({"rule_name": "none"}, Reason.RULE_NOT_FOUND, ["rule_name"]),
        ({"rule_id": "x"}, Reason.INVALID_REQUEST, ["rule_id"]),
        (
            {"request": request(temperature=9, messages=[])},
            Reason.INVALID_REQUEST,
            ["request.temperature", "request.messages"],
        ),
        ({"request": request(model="vendor/none")}, Reason.MODEL_NOT_FOUND, ["request.model"]),
        ({"request": request(provider={"sort": "x"})}, Reason.INVALID_REQUEST, ["request.provider.sort"]),
        (
            {"model": "vendor/small", "preference_overrides": preferences_pb2.ProviderPreferences(ignore=["x"])},
            Reason.INVALID_REQUEST,
            ["preference_overrides.ignore[0]"],
        ),
    ],
)
def test_wrong_dry_runs_fail_as_the_call_would_and_name_the_fields_of_the_dry_run(
    fields: dict[str, object], reason: Reason, paths: list[str]
) -> None:
    with pytest.raises(ServiceError) as caught:
        World().run(**fields)
    assert caught.value.reason is reason
    assert [violation.path for violation in caught.value.violations] == paths


def test_a_request_for_a_stream_can_be_decided_on_too() -> None:
    for body in (request(stream=True), request(stream_options={"include_usage": True})):
        assert order(World().run(model="vendor/large", request=body)) == ["gamma/vendor/large"]


@pytest.mark.parametrize(
    ("floor", "wanted", "shown"),
    [
        (("eu",), "de", "de"),
        (("de",), "eu", "de"),
        (("eea",), "eu", "eu"),
        (("de",), "fr", "de,fr"),
        ((), "eu", "eu"),
        (("eu",), None, "eu"),
    ],
)
def test_the_effective_region_is_the_narrowest_of_floor_and_request(
    floor: tuple[str, ...], wanted: str | None, shown: str
) -> None:
    policy = Policy(Preferences(data_residency=wanted), Floor(data_residency=floor))
    assert from_policy(policy).data_residency == shown
