"""The catalogue's API: filters, pages, prices, facts and names."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from eurouter.v1 import catalog_pb2 as pb

from adapters.documents.shapes import INT32_MAX
from service.api.catalog import CatalogHandler
from service.domain.catalog import Alias, Catalog, Price, ProviderStatus
from service.domain.errors import Reason, ServiceError
from service.domain.fields import Field
from service.domain.money import decimal_text
from tests.support.catalogs import AMERICAN, catalog, endpoint, facts, model, provider

PLAIN = frozenset({Field.TEMPERATURE, Field.MAX_OUTPUT_TOKENS, Field.IMAGE_INPUT, Field.AUTHOR_NAME})
RICH = PLAIN | {Field.TOOLS, Field.JSON_SCHEMA, Field.REASONING_EFFORT, Field.OPAQUE_TOOLS}
UNKEYED = provider("gamma", status=ProviderStatus.NOT_CONFIGURED, status_message="set GAMMA_KEY")

SMALL = replace(
    model(
        "vendor/small",
        replace(endpoint("alpha", model="vendor/small", price="3", expressible=PLAIN), context_length=1000),
        replace(
            endpoint(provider("beta", facts=AMERICAN), model="vendor/small", price="0.15", expressible=RICH),
            context_length=8000,
            max_output_tokens=500,
        ),
    ),
    categories=("programming",),
    input_modalities=("text", "image"),
)
LARGE = model("vendor/large", endpoint("alpha", model="vendor/large", expressible=PLAIN))
IDLE = model("other/idle", endpoint(UNKEYED, model="other/idle"))


class Rows:
    """A catalogue source whose catalogue a test may replace."""

    def __init__(self, rows: Catalog) -> None:
        self.rows = rows

    def current(self) -> Catalog:
        return self.rows


ROWS = catalog(SMALL, LARGE, IDLE, aliases=[Alias("fast", ("vendor/small", "vendor/large"))])
HANDLER = CatalogHandler(Rows(ROWS))


def ids(**filters: object) -> list[str]:
    return [each.id for each in HANDLER.list_models(pb.ListModelsRequest(**filters)).models]  # type: ignore[arg-type]


def test_models_are_listed_by_id_and_filtered() -> None:
    assert ids() == ["other/idle", "vendor/large", "vendor/small"]
    assert ids(category="programming") == ["vendor/small"]
    assert ids(provider="beta") == ["vendor/small"]
    assert ids(provider="Alpha") == ["vendor/large", "vendor/small"]
    assert ids(provider="gamma") == []
    assert ids(supported_parameters=["tools", "response_format"]) == ["vendor/small"]
    assert ids(supported_parameters=["temperature"], category="none") == []


def test_the_largest_numbers_that_a_catalogue_may_state_are_listed() -> None:
    row = replace(endpoint("alpha", model="v/m"), context_length=INT32_MAX, max_output_tokens=INT32_MAX)
    (listed,) = CatalogHandler(Rows(catalog(model("v/m", row)))).list_models(pb.ListModelsRequest()).models
    assert (listed.context_length, listed.top_provider.max_completion_tokens) == (INT32_MAX, INT32_MAX)


def test_parameters_must_be_supported_by_one_endpoint_together() -> None:
    one = endpoint("alpha", model="v/m", expressible={Field.TOOLS})
    two = endpoint("beta", model="v/m", expressible={Field.SEED})
    handler = CatalogHandler(Rows(catalog(model("v/m", one, two))))

    def found(*names: str) -> int:
        return len(handler.list_models(pb.ListModelsRequest(supported_parameters=names)).models)

    assert (found("tools"), found("seed"), found("tools", "seed")) == (1, 1, 0)


def test_a_model_tells_what_its_usable_endpoints_offer() -> None:
    small = HANDLER.get_model(pb.GetModelRequest(id="vendor/small"))
    assert small.object == "model"
    assert small.context_length == 8000
    assert (small.top_provider.context_length, small.top_provider.max_completion_tokens) == (8000, 500)
    assert (small.pricing.prompt, small.pricing.completion, small.pricing.request) == (
        "0.00000015",
        "0.00000015",
        "0",
    )
    assert small.pricing.currency == "EUR"
    assert small.architecture.modality == "text+image->text"
    assert [p.slug for p in small.providers] == ["beta", "alpha"]
    assert list(small.supported_api_endpoints) == ["/api/v1/chat/completions"]
    assert list(small.supported_parameters) == [
        "max_completion_tokens",
        "max_tokens",
        "reasoning",
        "reasoning.effort",
        "reasoning_effort",
        "response_format",
        "response_format.json_schema",
        "temperature",
        "tools",
    ]


def test_prices_of_special_kinds_are_told_where_they_are_stated() -> None:
    price = Price(Decimal("0.000003"), cache_read=Decimal("3E-7"), cache_write=Decimal(0), currency="EUR")
    handler = CatalogHandler(Rows(catalog(model("v/m", replace(endpoint("alpha", model="v/m"), price=price)))))
    told = handler.get_model(pb.GetModelRequest(id="v/m")).pricing
    assert (told.prompt, told.cache_read, told.cache_write) == ("0.000003", "0.0000003", "0")
    assert not told.HasField("reasoning")
    assert not told.HasField("audio_input")


def test_a_model_that_nobody_can_serve_now_has_no_price_and_no_provider() -> None:
    idle = HANDLER.get_model(pb.GetModelRequest(id="other/idle"))
    assert not idle.HasField("pricing")
    assert not idle.HasField("top_provider")
    assert not idle.HasField("context_length")
    assert not idle.providers
    assert not idle.supported_parameters


@pytest.mark.parametrize("name", ["vendor/small", "small", "SMALL", "fast", "small:nitro"])
def test_a_model_is_found_by_id_name_or_alias(name: str) -> None:
    assert HANDLER.get_model(pb.GetModelRequest(id=name)).id == "vendor/small"


def test_an_unknown_model_is_not_found_and_none_at_all_is_invalid() -> None:
    for name, reason in (("vendor/smal", Reason.MODEL_NOT_FOUND), ("", Reason.INVALID_REQUEST)):
        with pytest.raises(ServiceError) as caught:
            HANDLER.get_model(pb.GetModelRequest(id=name))
        assert caught.value.reason is reason
        assert [violation.path for violation in caught.value.violations] == ["id"]


def test_pages_cover_everything_once_even_when_models_come_and_go() -> None:
    names = [f"v/m{place:04}" for place in range(1205)]
    source = Rows(catalog(*(model(name) for name in names)))
    handler = CatalogHandler(source)

    def pages(size: int) -> list[list[str]]:
        read, token = [], ""
        while True:
            page = handler.list_models(pb.ListModelsRequest(page_size=size, page_token=token))
            read.append([each.id for each in page.models])
            token = page.next_page_token
            if not token:
                return read

    assert [len(page) for page in pages(0)][:2] == [100, 100]
    assert [len(page) for page in pages(5000)] == [1000, 205]
    assert [len(page) for page in pages(241)] == [241] * 5
    assert [name for page in pages(300) for name in page] == names
    first = handler.list_models(pb.ListModelsRequest(page_size=2))
    source.rows = catalog(*(model(name) for name in names[2:]))
    second = handler.list_models(pb.ListModelsRequest(page_size=2, page_token=first.next_page_token))
    assert [each.id for each in second.models] == names[2:4]


def test_a_wrong_page_is_refused() -> None:
    token = HANDLER.list_models(pb.ListModelsRequest(page_size=1)).next_page_token
    for wrong in (
        pb.ListModelsRequest(page_token="x"),
        pb.ListModelsRequest(page_token="ä"),
        pb.ListModelsRequest(page_token="W10="),
        pb.ListModelsRequest(page_token=token, category="programming"),
        pb.ListModelsRequest(page_size=-1),
    ):
        with pytest.raises(ServiceError) as caught:
            HANDLER.list_models(wrong)
        assert caught.value.reason is Reason.INVALID_REQUEST
        assert caught.value.violations[0].path in ("page_token", "page_size")


def test_the_list_follows_a_new_catalogue() -> None:
    source = Rows(ROWS)
    handler = CatalogHandler(source)
    assert len(handler.list_models(pb.ListModelsRequest()).models) == 3
    source.rows = catalog(LARGE)
    assert [each.id for each in handler.list_models(pb.ListModelsRequest()).models] == ["vendor/large"]


def test_providers_are_listed_with_their_state_and_every_fact_with_its_source() -> None:
    listed = {each.slug: each for each in HANDLER.list_providers(pb.ListProvidersRequest()).providers}
    assert list(listed) == ["alpha", "beta", "gamma"]
    assert listed["gamma"].status == pb.PROVIDER_STATUS_NOT_CONFIGURED
    assert listed["gamma"].status_message == "set GAMMA_KEY"
    assert (listed["alpha"].model_count, listed["beta"].model_count) == (2, 1)
    told = {fact.name: fact for fact in listed["beta"].facts}
    assert {name: fact.value for name, fact in told.items()} == {
        "regions": '["us"]',
        "retention_days": "30",
        "trains_on_data": "true",
        "parent_country": '"us"',
    }
    assert told["regions"].source == "https://provider.example/terms"
    assert told["regions"].verified_on == "2026-11-01"


def test_what_one_owner_has_for_itself_is_shown_to_nobody_without_a_key() -> None:
    own = provider("secret-gpu", owner="team-a")
    both = model("v/both", endpoint("alpha", model="v/both"), endpoint(own, model="v/both"))
    rows = catalog(
        model("team-a/plan", endpoint(own, model="team-a/plan")), both, aliases=[Alias("x", ("team-a/plan",))]
    )
    handler = CatalogHandler(Rows(replace(rows, own_names={"team-a": {"plan": "team-a/plan"}})))
    assert [each.id for each in handler.list_models(pb.ListModelsRequest()).models] == ["v/both"]
    assert [each.slug for each in handler.list_providers(pb.ListProvidersRequest()).providers] == ["alpha"]
    assert [each.slug for each in handler.get_model(pb.GetModelRequest(id="both")).providers] == ["alpha"]
    for name in ("team-a/plan", "plan", "x", "team-a/pla"):
        with pytest.raises(ServiceError) as caught:
            handler.get_model(pb.GetModelRequest(id=name))
        assert caught.value.reason is Reason.MODEL_NOT_FOUND
        assert "team-a/plan" not in caught.value.message.replace(f'"{name}"', "")


def test_a_fact_of_an_endpoint_is_told_where_it_differs_from_the_providers() -> None:
    special = endpoint("alpha", model="v/m", facts=facts(regions=("de",)))
    (alpha,) = (
        CatalogHandler(Rows(catalog(model("v/m", special)))).list_providers(pb.ListProvidersRequest()).providers
    )
    assert [(fact.name, fact.value) for fact in alpha.facts if fact.endpoint == "alpha/v/m"] == [
        ("regions", '["de"]')
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0", "0"),
        ("1E-7", "0.0000001"),
        ("0.10", "0.1"),
        ("100", "100"),
        ("1E+2", "100"),
        ("0E-9", "0"),
        ("2.5", "2.5"),
    ],
)
def test_prices_are_written_without_exponents(number: str, text: str) -> None:
    assert decimal_text(Decimal(number)) == text


def test_a_free_endpoint_comes_first() -> None:
    free = replace(endpoint("beta", model="v/m"), price=Price())
    handler = CatalogHandler(Rows(catalog(model("v/m", endpoint("alpha", model="v/m"), free))))
    assert handler.get_model(pb.GetModelRequest(id="v/m")).pricing.prompt == "0"
