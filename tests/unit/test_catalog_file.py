"""The catalogue file: what may stand in it, what is said of mistakes, and which rows come of it."""

import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.catalog import DEFAULT_CATALOG, Discovered, build_catalog, old_facts, read_catalog
from adapters.catalog import document as catalog_page
from adapters.catalog.discover import models_in
from adapters.catalog.load import check_document
from adapters.documents.read import DocumentError, parse_document
from adapters.providers.registry import DIALECTS
from service.domain.catalog import Catalog, Endpoint, Price, ProviderStatus, Rule
from service.domain.fields import Field

ALL = DIALECTS["openai_chat"].expressible | {Field.REASONING_SUMMARY}
EVERY_DIALECT = {name: dialect.expressible_with for name, dialect in DIALECTS.items()}

TWO_PROVIDERS = """
exchange_rates: {USD: 0.5}
providers:
  - slug: paid
    dialect: openai_chat
    base_url: https://paid.example/v1/
    auth: {secret: env:PAID_KEY}
    facts:
      regions: {value: [DE], source: a page, verified_on: 2026-01-31}
      retention_days: {value: 30, source: a page, verified_on: 2026-01-31}
  - {slug: own, dialect: openai_chat, base_url: "http://127.0.0.1:8000/v1"}
models:
  - id: acme/One
    input_modalities: [text, image]
    endpoints:
      - provider: paid
        model: one-2026
        price: {prompt: 3, completion: 15.5, currency: USD}
        quantization: fp8
        context_length: 1000
        max_output_tokens: 100
        facts: {regions: {value: [eu], source: b, verified_on: 2026-02-01}}
      - provider: own
aliases:
  - {name: Best, models: [acme/one], provider: {sort: price}}
"""


def built(text: str, *configured: str, **options: object) -> Catalog:
    document = check_document(parse_document(text, "catalogue.yaml"))
    return build_catalog(document, EVERY_DIALECT, lambda reference: reference in configured, **options)  # type: ignore[arg-type]


def mistakes(text: str) -> str:
    with pytest.raises(DocumentError) as caught:
        built(text)
    return str(caught.value)


def only_endpoint(catalog: Catalog, model: str) -> Endpoint:
    (endpoint,) = catalog.models[model].endpoints
    return endpoint


def test_rows_carry_what_the_file_says() -> None:
    catalog = built(TWO_PROVIDERS, "env:PAID_KEY")
    paid, own = catalog.models["acme/One"].endpoints
    assert (paid.id, paid.upstream_model, own.upstream_model) == ("paid/acme/One", "one-2026", "One")
    assert (paid.quantization, paid.context_length, paid.max_output_tokens) == ("fp8", 1000, 100)
    assert paid.provider.base_url == "https://paid.example/v1"
    assert paid.provider.auth.secret == "env:PAID_KEY"
    assert own.provider.auth.kind == "none"
    assert catalog.currency == "EUR"


def test_prices_per_million_become_prices_per_token_in_the_catalogues_currency() -> None:
    paid, own = built(TWO_PROVIDERS).models["acme/One"].endpoints
    assert paid.price.prompt == Decimal("0.0000015")
    assert paid.price.completion == Decimal("0.00000775")
    assert own.price.free


def test_kinds_of_tokens_may_have_prices_of_their_own_and_what_is_left_out_stays_unset() -> None:
    special = "cache_read: 0.3, cache_write: 3.75, audio_input: 6, audio_output: 30, currency: USD"
    listed = TWO_PROVIDERS.replace("currency: USD}", special + "}")
    paid, own = built(listed).models["acme/One"].endpoints
    assert paid.price == Price(
        prompt=Decimal("0.0000015"),
        completion=Decimal("0.00000775"),
        cache_read=Decimal("0.00000015"),
        cache_write=Decimal("0.000001875"),
        audio_input=Decimal("0.000003"),
        audio_output=Decimal("0.000015"),
        currency="EUR",
    )
    assert paid.price.blended == built(TWO_PROVIDERS).models["acme/One"].endpoints[0].price.blended
    assert own.price == Price()
    assert "models[0].endpoints[0].price.cache_read: must be" in mistakes(listed.replace("0.3,", "-1,"))


def test_an_endpoints_facts_stand_over_its_providers() -> None:
    paid, own = built(TWO_PROVIDERS).models["acme/One"].endpoints
    assert paid.facts.regions is not None
    assert paid.facts.regions.value == ("eu",)
    assert paid.facts.retention_days is not None
    assert paid.facts.retention_days.verified_on == "2026-01-31"
    assert paid.provider.facts.regions is not None
    assert paid.provider.facts.regions.value == ("de",)
    assert own.facts.regions is None


def test_ids_bare_names_and_aliases_resolve_whatever_their_case() -> None:
    catalog = built(TWO_PROVIDERS)
    assert catalog.names == {"acme/one": "acme/One", "one": "acme/One"}
    assert catalog.aliases["best"].models == ("acme/one",)
    assert catalog.aliases["best"].preferences.sort == "price"


def test_a_bare_name_of_two_models_resolves_to_neither() -> None:
    text = TWO_PROVIDERS + "  - {name: x, models: [acme/one]}\n"
    text = text.replace("aliases:", "  - {id: other/one, endpoints: [{provider: own}]}\naliases:")
    assert set(built(text).names) == {"acme/one", "other/one"}


def test_a_provider_without_its_secret_or_with_a_dialect_to_come_is_listed_and_says_why() -> None:
    text = TWO_PROVIDERS.replace(
        "models:", '  - {slug: later, dialect: yet_to_come, base_url: "https://x"}\nmodels:', 1
    )
    text = text.replace("slug: own,", "slug: own, disabled: true,")
    providers = built(text).providers
    assert {slug: row.status for slug, row in providers.items()} == {
        "paid": ProviderStatus.NOT_CONFIGURED,
        "own": ProviderStatus.DISABLED,
        "later": ProviderStatus.DIALECT_MISSING,
    }
    assert providers["paid"].status_message == "Its key is missing: set the environment variable PAID_KEY."
    assert "yet_to_come" in providers["later"].status_message
    assert built(TWO_PROVIDERS, "env:PAID_KEY").providers["paid"].status is ProviderStatus.ACTIVE


def test_expressible_is_the_dialects_table_less_what_provider_model_endpoint_and_modalities_rule_out() -> None:
    text = """
providers:
  - slug: p
    dialect: openai_chat
    base_url: http://h/v1
    refuses: [seed]
    quirks: {reasoning_style: none}
models:
  - id: v/m
    refuses: [temperature]
    input_modalities: [text, audio]
    endpoints: [{provider: p, refuses: [top_p]}]
"""
    endpoint = only_endpoint(built(text), "v/m")
    gone = ALL - endpoint.expressible
    assert gone == {
        Field.SEED,
        Field.REASONING_EFFORT,
        Field.REASONING_SUMMARY,
        Field.TEMPERATURE,
        Field.TOP_P,
        Field.IMAGE_INPUT,
        Field.IMAGE_URL,
        Field.IMAGE_DETAIL,
        Field.FILE_INPUT,
        Field.AUDIO_OUTPUT,
        Field.AUDIO_HISTORY,
    }


def test_a_provider_is_ours_only_when_its_row_says_so() -> None:
    text = TWO_PROVIDERS.replace('/v1"}', '/v1", ours: true}')
    providers = built(text).providers
    assert (providers["paid"].ours, providers["own"].ours) == (False, True)


def test_a_row_that_takes_a_reasoning_object_can_say_a_summary_too() -> None:
    text = TWO_PROVIDERS.replace('/v1"}', '/v1", quirks: {reasoning_style: reasoning_object}}')
    paid, own = built(text, "env:PAID_KEY").models["acme/One"].endpoints
    assert Field.REASONING_SUMMARY not in paid.expressible
    assert Field.REASONING_SUMMARY in own.expressible


def test_endpoints_of_a_dialect_to_come_express_nothing() -> None:
    text = TWO_PROVIDERS.replace("dialect: openai_chat", "dialect: yet_to_come")
    assert all(not e.expressible for e in built(text).models["acme/One"].endpoints)


def test_rules_and_timeouts_are_taken_from_outside_the_file() -> None:
    rule = Rule("7b0c4f0e-6a55-4f5e-9f0e-0c1f2d3e4a5b", "a")
    text = TWO_PROVIDERS.replace("auth: {secret", "timeouts: {idle: 7}\n    auth: {secret")
    catalog = built(text, rules=(rule,))
    assert catalog.rules == (rule,)
    assert (catalog.providers["paid"].timeouts.idle, catalog.providers["paid"].timeouts.connect) == (7.0, 5.0)


def test_how_many_calls_an_endpoint_bears_is_its_own_word_else_its_providers_else_nobody_counts() -> None:
    text = TWO_PROVIDERS.replace("quantization: fp8", "quantization: fp8\n        concurrency: 3")
    assert [e.concurrency for e in built(text).models["acme/One"].endpoints] == [3, None]
    text = text.replace('/v1"}', '/v1", concurrency: 8}')
    found = (Discovered("acme/Two"),)
    catalog = built(text, discovered={"own": found})
    assert [e.concurrency for e in catalog.models["acme/One"].endpoints] == [3, 8]
    assert only_endpoint(catalog, "acme/Two").concurrency == 8


def test_a_mistake_names_the_keys_path_and_the_line() -> None:
    text = TWO_PROVIDERS.replace("prompt: 3,", "prompt: cheap,")
    assert mistakes(text) == ("catalogue.yaml: models[0].endpoints[0].price.prompt: must be a number (line 18)")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "provider: own",
            "provider: onw",
            "models[0].endpoints[1].provider: no provider has the slug 'onw'; did you",
        ),
        ("slug: own", "slug: paid", "providers[1].slug: 'paid' is used twice"),
        ("slug: own", "concurrency: 0, slug: own", "providers[1].concurrency: must be 1 or more"),
        ("quantization: fp8", "concurrency: yes", "endpoints[0].concurrency: must be a whole number"),
        ("quantization: fp8", "concurrency: 1.5", "endpoints[0].concurrency: must be a whole number"),
        ("id: acme/One", "id: acme", "models[0].id: must be vendor/name"),
        ("id: acme/One", "id: acme/one:free", "must not end in :floor, :nitro or :free"),
        ("currency: USD", "currency: CHF", "price.currency: no rate for CHF: add it to exchange_rates"),
        ("      - provider: own", "      - provider: paid", "'paid/acme/One' is there twice: give each a `name`"),
        ("env:PAID_KEY", "sk-123456", "providers[0].auth.secret: must say where the secret is"),
        ("{secret: env:PAID_KEY}", "{kind: header, secret: env:K}", "kind header needs a `name`"),
        ("{secret: env:PAID_KEY}", "{}", "needs a `secret`"),
        ("https://paid.example/v1/", "paid.example", "base_url: must be an address such as"),
        ("value: [DE]", "value: [Germany]", "regions.value:"),
        ("value: [DE]", "value: [no]", "regions.value[0]: must be text: put it in quotes (YAML reads yes, no"),
        ("value: [DE]", "value: []", "regions.value: must not be empty"),
        ("2026-01-31", "2026-13-31", "is not valid YAML"),
        ("2026-01-31", "last year", "verified_on: must be a date"),
        ("models: [acme/one]", "models: [acme/two]", "no model is called 'acme/two'; did you mean 'acme/one'?"),
        ("name: Best", "name: one", "aliases[0].name: 'one' is the name of a model already"),
        ("name: Best", "name: 'best:floor'", "aliases[0].name: must not end in :floor, :nitro or :free"),
        ("{sort: price}", "{only: [pay]}", "aliases[0].provider.only: no provider has the slug 'pay'"),
        ("slug: own", "slug: My GPU", "providers[1].slug: must be small letters, digits"),
        ("{value: 30,", "{value: no,", "retention_days.value: must be a whole number"),
        ("{value: 30,", "{value: '0',", "retention_days.value: must be a whole number"),
        (
            "retention_days: {value: 30,",
            "trains_on_data: {value: 0,",
            "trains_on_data.value: must be true or false",
        ),
        ("quantization: fp8", "quantization: q4", "must be 'int4'"),
        ("quantization: fp8", "refuses: [temprature]", "'temprature' is not a request field; did you mean 'temp"),
        ("exchange_rates", "exchange_rate", "did you mean 'exchange_rates'?"),
        ("max_output_tokens: 100", "max_output_tokens: 0", "must be 1..2147483647, got 0"),
        ("max_output_tokens: 100", "max_output_tokens: 2147483648", "must be 1..2147483647, got 2147483648"),
        ("context_length: 1000", "context_length: 2147483648", "context_length: must be 1..2147483647, got"),
        (
            "{sort: price}",
            "{max_retention_days: 2147483648}",
            "aliases[0].provider.max_retention_days: must be 0..2147483647, got",
        ),
    ],
)
def test_each_mistake_says_what_is_wrong(old: str, new: str, said: str) -> None:
    assert old in TWO_PROVIDERS
    assert said in mistakes(TWO_PROVIDERS.replace(old, new, 1))


@pytest.mark.parametrize(
    "text",
    [
        "\x00",
        "\ta: 1",
        "a: " + "[" * 5000,
        "a: &a [*a]",
        "a: !!python/name:os.system x",
        "? [1]\n: 2",
        "on: 1",
        "models: [{~: 1}]",
        "2026-01-01: 1",
        "a: 'x",
        "--- 1\n--- 2",
    ],
)
def test_no_text_at_all_gets_past_the_reader_with_another_error(text: str) -> None:
    with pytest.raises(DocumentError, match=r"c\.yaml: "):
        check_document(parse_document(text, "c.yaml"))


def test_an_endpoint_at_a_paid_provider_needs_a_price_because_free_ones_come_first() -> None:
    text = TWO_PROVIDERS.replace("price: {prompt: 3, completion: 15.5, currency: USD}", "")
    assert "models[0].endpoints[0].price: is required" in mistakes(text)
    default = text.replace("auth: {secret", "price: {prompt: 1, completion: 2}\n    auth: {secret")
    assert built(default).models["acme/One"].endpoints[0].price.prompt == Decimal("0.000001")


def test_a_pasted_secret_is_not_repeated_in_the_error() -> None:
    assert "sk-123456" not in mistakes(TWO_PROVIDERS.replace("env:PAID_KEY", "sk-123456"))


def test_one_provider_may_have_two_endpoints_for_a_model_under_names() -> None:
    text = TWO_PROVIDERS.replace(
        "- provider: own", "- {provider: paid, name: eu, price: {prompt: 1, completion: 1}}"
    )
    assert [e.id for e in built(text).models["acme/One"].endpoints] == ["paid/acme/One", "paid/acme/One@eu"]


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:808O/v1",
        "http://h:99999/v1",
        "http://:8000/v1",
        "http://[::1/v1",
        "http://[zz]/v1",
        "http://llm..svc/v1",
        "http://.llm/v1",
        f"http://{'a' * 64}/v1",
        "http://999.1.1.1/v1",
    ],
)
def test_an_address_that_cannot_be_dialled_is_refused_where_it_is_written(address: str) -> None:
    said = mistakes(TWO_PROVIDERS.replace("https://paid.example/v1/", f'"{address}"'))
    assert "providers[0].base_url: must be an address such as https://api.example.com/v1: its host or its" in said
    assert "(line 6)" in said


@pytest.mark.parametrize(
    "address",
    [
        "http://[::1]:8000",
        "http://10.0.0.1/v1",
        "http://my_gpu.svc.cluster.local.:8000/v1",
        "https://münchen.de/v1",
    ],
)
def test_addresses_as_people_have_them_are_taken_as_they_are(address: str) -> None:
    text = TWO_PROVIDERS.replace("https://paid.example/v1/", f'"{address}"')
    assert built(text).providers["paid"].base_url == address


def test_three_lines_are_a_provider() -> None:
    catalog = built(
        "providers:\n  - slug: gpu\n    dialect: openai_chat\n    base_url: http://127.0.0.1:8000/v1\n"
    )
    assert catalog.providers["gpu"].status is ProviderStatus.ACTIVE


def test_discovered_models_join_those_of_the_file() -> None:
    found = (Discovered("acme/ONE", 4096), Discovered("llama3.2:3b"), Discovered("/models/tiny.gguf"))
    text = TWO_PROVIDERS.replace(
        'base_url: "http://127.0.0.1:8000/v1"}', 'base_url: "http://h/v1", discover: true}'
    )
    catalog = built(text.replace("      - provider: own\n", ""), discovered={"own": found, "gone": found})
    assert set(catalog.models) == {"acme/One", "own/llama3.2:3b", "own/tiny.gguf"}
    assert [e.id for e in catalog.models["acme/One"].endpoints] == ["paid/acme/One", "own/acme/One"]
    assert catalog.models["acme/One"].endpoints[1].context_length == 4096
    tiny = only_endpoint(catalog, "own/tiny.gguf")
    assert (tiny.upstream_model, tiny.price.free) == ("/models/tiny.gguf", True)
    assert catalog.names["llama3.2:3b"] == "own/llama3.2:3b"


def test_a_discovered_endpoint_of_a_listed_model_refuses_what_the_model_refuses() -> None:
    text = TWO_PROVIDERS.replace("      - provider: own\n", "").replace(
        "    endpoints:", "    refuses: [seed]\n    endpoints:"
    )
    catalog = built(text, discovered={"own": (Discovered("acme/One"),)})
    assert all(Field.SEED not in e.expressible for e in catalog.models["acme/One"].endpoints)
    assert len(catalog.models["acme/One"].endpoints) == 2


def test_a_model_listed_in_the_file_is_not_doubled_by_discovery() -> None:
    catalog = built(TWO_PROVIDERS, discovered={"own": (Discovered("acme/one"),)})
    assert len(catalog.models["acme/One"].endpoints) == 2


def test_discovery_at_a_paid_provider_needs_a_price() -> None:
    text = TWO_PROVIDERS.replace("    auth: {secret", "    discover: true\n    auth: {secret", 1)
    assert "providers[0].discover: needs a `price`" in mistakes(text)


def test_an_answer_of_models_is_read_as_far_as_it_is_understood() -> None:
    answer = {
        "data": [
            {"id": "a/b", "max_model_len": 100},
            {"id": "c", "meta": {"n_ctx_train": 7}, "capabilities": ["completion", "multimodal"]},
            {"id": "c"},
            {"id": ""},
            {"id": "two words"},
            {"name": "no id"},
            "text",
        ]
    }
    assert models_in(answer) == (Discovered("a/b", 100), Discovered("c", 7, ("text", "image")))
    nonsense: tuple[object, ...] = ({}, [], None, {"data": {}})
    for wrong in nonsense:
        with pytest.raises(ValueError, match="models"):
            models_in(wrong)


def test_a_context_that_no_message_can_hold_or_that_is_no_number_is_left_out() -> None:
    said: tuple[object, ...] = (2**31, 10**30, True, "4096", 4096.0, 0, -1)
    data = [{"id": f"m{i}", "max_model_len": size} for i, size in enumerate(said)]
    assert [found.context_length for found in models_in({"data": data})] == [None] * len(said)
    (second,) = models_in({"data": [{"id": "m", "max_model_len": 2**40, "context_length": 2**31 - 1}]})
    assert second.context_length == 2**31 - 1


def test_old_facts_and_facts_of_the_future_are_told() -> None:
    document = check_document(parse_document(TWO_PROVIDERS, "c"))
    assert old_facts(document, date(2026, 7, 30)) == []
    told = old_facts(document, date(2026, 7, 31))
    assert told == [
        "paid: regions was verified 181 days ago: read a page again and update verified_on",
        "paid: retention_days was verified 181 days ago: read a page again and update verified_on",
    ]
    assert "yet to come" in old_facts(document, date(2026, 1, 31))[0]


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    dialects = {name: dialect.expressible_with for name, dialect in DIALECTS.items()}
    return build_catalog(read_catalog(DEFAULT_CATALOG), dialects, lambda _: True)


def test_the_shipped_catalogue_has_the_twelve_providers(shipped: Catalog) -> None:
    assert not [slug for slug, p in shipped.providers.items() if p.status is ProviderStatus.DIALECT_MISSING]
    assert set(shipped.providers) == {
        "microsoft-foundry",
        "aws-bedrock",
        "openai",
        "anthropic",
        "mistral",
        "scaleway",
        "greenpt",
        "nebius",
        "ionos",
        "ovhcloud",
        "google",
        "google-vertex",
    }
    assert all(p.auth.secret.startswith("env:") for p in shipped.providers.values())


def test_no_endpoint_of_the_shipped_catalogue_is_free(shipped: Catalog) -> None:
    assert shipped.models
    assert not [e.id for m in shipped.models.values() for e in m.endpoints if e.price.free]


def test_cached_input_of_the_shipped_catalogue_costs_less_than_other_input(shipped: Catalog) -> None:
    stated = [e.price for m in shipped.models.values() for e in m.endpoints if e.price.cache_read is not None]
    assert stated
    assert all(price.cache_read is not None and 0 < price.cache_read < price.prompt for price in stated)


def test_shipped_region_claims_are_no_wider_than_what_is_stated(shipped: Catalog) -> None:
    regions = {
        e.id: e.facts.regions.value
        for m in shipped.models.values()
        for e in m.endpoints
        if e.facts.regions is not None
    }
    assert regions["microsoft-foundry/openai/gpt-5-mini@global"] == ("global",)
    assert regions["microsoft-foundry/openai/gpt-5-mini@data-zone-eu"] == ("eu",)
    assert regions["aws-bedrock/amazon/nova-lite@eu"] == ("eu",)
    assert regions["scaleway/openai/gpt-oss-120b"] == ("fr",)
    assert not [name for name in regions if name.startswith(("openai/", "anthropic/", "mistral/", "nebius/"))]


def test_the_shipped_catalogue_is_part_of_the_wheel() -> None:
    from hatchling.builders.wheel import WheelBuilder

    root = Path(__file__).parents[2]
    included = {file.distribution_path for file in WheelBuilder(str(root)).recurse_included_files()}
    assert DEFAULT_CATALOG.relative_to(root).as_posix() in included


def test_the_page_on_the_catalogue_is_current(update_golden: bool) -> None:
    page = Path(__file__).parents[2] / catalog_page.PAGE
    if update_golden:
        page.write_text(catalog_page.page(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == catalog_page.page(), "run `python -m adapters.catalog.document`"


def test_the_pages_examples_are_catalogues() -> None:
    text = (Path(__file__).parents[2] / catalog_page.PAGE).read_text(encoding="utf-8")
    examples = [part.partition("```")[0] for part in text.split("```yaml\n")[1:]]
    assert len(examples) == 4
    for example in examples:
        assert built(example).providers


def test_a_row_of_azure_names_its_version_and_loses_what_came_later() -> None:
    row = (
        "providers:\n  - slug: foundry\n    dialect: azure\n    base_url: https://acme.openai.azure.com\n"
        "    quirks: {api_version: 2024-10-21}\n"
        "models:\n  - id: openai/gpt-4o\n    endpoints:\n"
        "      - {provider: foundry, model: my-deployment, price: {prompt: 1, completion: 2}}\n"
    )
    endpoint = only_endpoint(built(row), "openai/gpt-4o")
    assert endpoint.provider.quirks.api_version == "2024-10-21"
    assert Field.JSON_SCHEMA in endpoint.expressible
    assert Field.REASONING_EFFORT not in endpoint.expressible


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("auth: {kind: none, secret: env:KEY}", "kind none has no `secret`"),
        ("auth: {kind: bearer, name: x-key, secret: env:KEY}", "kind bearer has no `name`"),
        ('auth: {kind: header, name: "x-a\\nb", secret: env:KEY}', r"auth\.name"),
        ("auth: {kind: header, name: Host, secret: env:KEY}", "HTTP itself needs that header"),
    ],
)
def test_an_auth_that_can_not_work_is_told_when_the_file_is_read(row: str, says: str) -> None:
    text = f'providers: [{{slug: a, dialect: openai_chat, base_url: "http://127.0.0.1:1/v1", {row}}}]\n'
    assert re.search(says, mistakes(text))


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    said = mistakes('providers: [{slug: a, dialect: openai_chat, base_url: "https://me:hidden@example.com/v1"}]\n')
    assert "no user and no password" in said
    assert "hidden" not in said


def test_a_dated_version_of_azure_goes_with_the_resources_address() -> None:
    at = 'dialect: azure, base_url: "https://r.openai.azure.com/openai/v1"'
    said = mistakes(f"providers: [{{slug: a, {at}, quirks: {{api_version: 2024-10-21}}}}]\n")
    assert "leave /openai/v1 out" in said


def test_a_wrong_price_is_one_mistake() -> None:
    said = mistakes(TWO_PROVIDERS.replace("prompt: 3,", "prompt: -1,"))
    assert "prompt: must be 0 or more, got" in said
    assert "empty" not in said
