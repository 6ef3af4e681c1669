"""Reasoning efforts as data: the catalogue's table, who is chosen by it, what each dialect makes of it."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal
from typing import Any

import pytest

from adapters.catalog import DEFAULT_CATALOG, Discovered, build_catalog, read_catalog
from adapters.catalog.load import check_document
from adapters.documents.read import DocumentError, parse_document
from adapters.providers import anthropic, openai_chat, openai_responses
from adapters.providers.dialect import Dialect
from adapters.providers.registry import DIALECTS
from service.api.chat.to_domain import to_domain
from service.api.responses.read_request import read_request
from service.domain.catalog import Catalog, Effort
from service.domain.errors import Reason, ServiceError
from service.domain.fields import Field
from service.domain.generation import Generation, Role
from service.domain.plan import no_endpoint_error, plan
from service.domain.preferences import Floor, Policy, Preferences
from service.domain.routing import Filter, Needs, Plan, WantedModel
from tests.contract.sample import endpoint_for
from tests.golden.requests import said
from tests.support.catalogs import endpoint, model
from tests.support.running import ask, ask_response
from tests.support.upstreams import FixedHealth

FILE = """
providers:
  - {slug: claude, dialect: anthropic, base_url: "http://127.0.0.1:8000/v1"}
  - {slug: open, dialect: openai_chat, base_url: "http://127.0.0.1:8001/v1"}
models:
  - id: acme/one
    efforts: {none: 0, low: 2048, high: deep}
    endpoints:
      - {provider: claude}
      - {provider: open, efforts: {none: none, low: "1", high: deep}}
      - {provider: open, name: plain, efforts: {}}
"""
HELLO = said(Role.USER, "Hello")


def built(text: str, **options: Any) -> Catalog:
    document = check_document(parse_document(text, "catalogue.yaml"))
    known = {name: dialect.expressible_with for name, dialect in DIALECTS.items()}
    return build_catalog(document, known, lambda _: True, **options)


def mistakes(old: str, new: str) -> str:
    assert old in FILE
    with pytest.raises(DocumentError) as caught:
        built(FILE.replace(old, new))
    return str(caught.value)


def test_an_endpoints_table_stands_in_place_of_its_models() -> None:
    own, other, plain = built(FILE).models["acme/one"].endpoints
    assert own.efforts == {"none": Effort(budget=0), "low": Effort(budget=2048), "high": Effort("deep")}
    assert other.efforts == {"none": Effort("none"), "low": Effort("1"), "high": Effort("deep")}
    assert plain.efforts == {}


def test_a_discovered_endpoint_of_a_listed_model_has_the_models_table() -> None:
    text = FILE.replace("      - {provider: claude}\n", "")
    found = (Discovered("acme/one"), Discovered("acme/two"))
    catalog = built(text, discovered={"claude": found})
    (joined,) = (e for e in catalog.models["acme/one"].endpoints if e.provider.slug == "claude")
    assert joined.efforts["low"] == Effort(budget=2048)
    assert catalog.models["acme/two"].endpoints[0].efforts == {}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("high: deep}\n    endpoints", "huge: deep}\n    endpoints", "models[0].efforts.huge"),
        ("low: 2048", "low: -1", "must be the provider's word for it"),
        ("low: 2048", "low: off", "must be the provider's word for it"),
        ("low: 2048", "low: [a]", "must be the provider's word for it"),
        ("low: 2048", 'low: ""', "must be the provider's word for it"),
        (
            'low: "1"',
            "low: 1",
            "models[0].endpoints[1].efforts.low: must be a word for open: its dialect openai_chat has no budgets",
        ),
        (", efforts: {}", "", "models[0].efforts.low: must be a word for open"),
        (
            "low: 2048",
            "low: 1023",
            "models[0].efforts.low: must be 0 or at least 1024 for claude: its dialect anthropic has no less",
        ),
    ],
)
def test_a_mistake_in_the_table_is_told_at_its_key(old: str, new: str, told: str) -> None:
    assert told in mistakes(old, new)


def planned(needs: Needs, *tables: dict[str, Effort]) -> Plan:
    rows = [
        dataclasses.replace(endpoint(f"p{at}", price=str(Decimal(at + 1))), efforts=table)
        for at, table in enumerate(tables)
    ]
    wanted = (WantedModel(model("vendor/model", *rows), ""),)
    policy = Policy(Preferences(), Floor())
    return plan(needs, policy, wanted, FixedHealth(), 0.0, max_attempts=9, owner="local")


FEW = {"low": Effort("low"), "high": Effort("high")}
ASKS = Needs(fields={Field.REASONING_EFFORT: "reasoning.effort"}, reasoning_effort="xhigh")


def test_an_effort_that_a_model_lacks_is_left_to_another_endpoint() -> None:
    result = planned(ASKS, FEW, {**FEW, "xhigh": Effort("max")}, {})
    assert [attempt.endpoint.provider.slug for attempt in result.attempts] == ["p1", "p2"]
    (rejection,) = result.rejected
    assert (rejection.filter, rejection.paths) == (Filter.FIELD, ("reasoning.effort",))
    assert rejection.message == "takes the efforts low, high; reasoning.effort asks for xhigh"


def test_an_effort_that_no_endpoint_takes_is_refused_with_those_that_one_could_ask_for() -> None:
    error = no_endpoint_error(planned(ASKS, FEW), ASKS, 0.0)
    assert error.reason is Reason.UNSUPPORTED_FIELD
    (violation,) = error.violations
    assert violation.path == "reasoning.effort"
    assert "xhigh" in violation.message
    assert "ask for one of low, high" in violation.message


def test_no_effort_asked_for_goes_anywhere() -> None:
    assert len(planned(Needs(), FEW, {}).attempts) == 2


def test_both_apis_tell_the_plan_which_effort_is_asked_for() -> None:
    chat = ask(reasoning_effort="max")
    call = to_domain(chat, hint_fields=frozenset(), streaming=False)
    assert call.needs.reasoning_effort == "max"
    assert call.needs.fields[Field.REASONING_EFFORT] == "reasoning_effort"
    request = ask_response(reasoning={"effort": "xhigh"})
    read = read_request(request, hint_fields=frozenset(), streaming=False)
    assert read.needs.reasoning_effort == "xhigh"
    assert read.needs.fields[Field.REASONING_EFFORT] == "reasoning.effort"


def body(dialect: Dialect, effort: str, table: dict[str, Effort], **more: Any) -> dict[str, Any]:
    row = dataclasses.replace(endpoint_for(dialect), efforts=table, max_output_tokens=64000)
    request = dialect.build(Generation((HELLO,), reasoning_effort=effort, **more), row, stream=False)
    written: dict[str, Any] = json.loads(request.body)
    return written


@pytest.mark.parametrize("dialect", [openai_chat.DIALECT, openai_responses.DIALECT], ids=lambda d: d.name)
def test_openais_shapes_write_the_tables_word(dialect: Dialect) -> None:
    def told(written: dict[str, Any]) -> Any:
        return written.get("reasoning_effort") or written["reasoning"]["effort"]

    table = {"minimal": Effort("lowest"), "high": Effort("high")}
    assert told(body(dialect, "minimal", table)) == "lowest"
    assert told(body(dialect, "medium", {})) == "medium"
    with pytest.raises(ServiceError) as caught:
        body(dialect, "medium", table)
    (violation,) = caught.value.violations
    assert (violation.path, violation.message) == ("reasoning.effort", "this endpoint takes minimal, high")


TABLE = {"none": Effort(budget=0), "low": Effort(budget=4096), "high": Effort("high")}


def test_anthropic_writes_a_tables_budget_its_level_or_that_thinking_is_off() -> None:
    assert body(anthropic.DIALECT, "low", TABLE)["thinking"] == {"type": "enabled", "budget_tokens": 4096}
    adaptive = body(anthropic.DIALECT, "high", TABLE)
    assert adaptive["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert adaptive["output_config"] == {"effort": "high"}
    assert body(anthropic.DIALECT, "none", TABLE)["thinking"] == {"type": "disabled"}
    with pytest.raises(ServiceError) as caught:
        body(anthropic.DIALECT, "medium", TABLE)
    assert caught.value.violations[0].message == "this endpoint takes none, low, high"


def test_a_tables_budget_leaves_room_for_the_answer_and_is_never_below_the_least() -> None:
    def budget(most: int, limit: int) -> int:
        written = body(anthropic.DIALECT, "low", {"low": Effort(budget=most)}, max_output_tokens=limit)
        spent: int = written["thinking"]["budget_tokens"]
        return spent

    assert budget(4096, 64000) == 4096
    assert budget(4096, 10000) == 2000
    assert budget(4096, 1025) == 1024
    assert budget(100, 64000) == 1024


def test_the_shipped_claude_models_say_what_they_take() -> None:
    document = read_catalog(DEFAULT_CATALOG)
    known = {name: dialect.expressible_with for name, dialect in DIALECTS.items()}
    models = build_catalog(document, known, lambda _: True).models
    claude = {name: row for name, row in models.items() if name.startswith("anthropic/")}
    assert len(claude) >= 3
    for name, row in claude.items():
        for each in row.endpoints:
            assert "none" in each.efforts, name
            assert {"minimal", "low", "medium", "high"} <= each.efforts.keys(), name
    levels = models["anthropic/claude-opus-4-6"].endpoints[0].efforts
    assert (levels["max"], "xhigh" in levels) == (Effort("max"), False)
    assert models["anthropic/claude-haiku-4-5"].endpoints[0].efforts["high"] == Effort(budget=32768)
