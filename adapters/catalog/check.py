"""What one part of a catalogue file says about another: names that must exist, names that must differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from adapters.catalog.auth_part import CLOUDS, region_in
from adapters.catalog.bedrock_places import contradiction
from adapters.catalog.price_part import PricePart
from adapters.catalog.schema import CatalogDocument, EndpointPart, ModelPart, ProviderPart
from adapters.documents.problems import suggestion

Found = tuple[tuple[int | str, ...], str]
"""Where (keys and list positions) and what is wrong."""


_WORDS_ONLY: Final = frozenset({"openai_chat", "openai_responses", "azure", "mistral"})
"""Dialects whose wire has a word for an effort and no budget."""


_LEAST_BUDGET: Final = 1024
"""Of models that think by a budget (Anthropic's docs: extended thinking)."""

_BUDGETS_OF_CLAUDE: Final = frozenset({"anthropic", "bedrock"})
"""Dialects whose budgets go to Anthropic's `budget_tokens`."""


def endpoint_id(model: ModelPart, endpoint: EndpointPart) -> str:
    """provider/model id, with @name when the endpoint has one."""
    return f"{endpoint.provider}/{model.id}" + (f"@{endpoint.name}" if endpoint.name else "")


def check_references(document: CatalogDocument) -> Iterator[Found]:
    """Everything that is wrong between the parts of a document whose parts are right."""
    yield from _providers(document)
    yield from _models(document)
    yield from _aliases(document)


def _providers(document: CatalogDocument) -> Iterator[Found]:
    seen: set[str] = set()
    for position, provider in enumerate(document.providers):
        at = ("providers", position)
        if provider.slug in seen:
            yield (*at, "slug"), f"'{provider.slug}' is used twice"
        seen.add(provider.slug)
        if provider.discover and provider.price is None and provider.auth is not None:
            yield (*at, "discover"), "needs a `price` beside it: models found at a paid provider are not free"
        yield from _currency(document, provider.price, (*at, "price"))
        yield from _identity(provider, at)
        if (
            provider.dialect == "azure"
            and provider.quirks.api_version
            and provider.base_url.endswith("/openai/v1")
        ):
            message = "must be the resource's address alone beside a dated api_version: leave /openai/v1 out"
            yield (*at, "base_url"), message


def _identity(provider: ProviderPart, at: tuple[int | str, ...]) -> Iterator[Found]:
    auth = provider.auth
    if auth is None or auth.kind not in CLOUDS:
        return
    if auth.kind == "aws_sigv4" and auth.region is None and region_in(provider.base_url) is None:
        yield (*at, "auth"), "needs a `region`: base_url names none"
    if provider.discover:
        yield (*at, "discover"), f"is not possible with auth kind {auth.kind}: list its models"


def _models(document: CatalogDocument) -> Iterator[Found]:
    providers = {provider.slug: provider for provider in document.providers}
    models: set[str] = set()
    endpoints: set[str] = set()
    for position, model in enumerate(document.models):
        if model.id.lower() in models:
            yield ("models", position, "id"), f"'{model.id}' is used twice: list its endpoints under one model"
        models.add(model.id.lower())
        for number, endpoint in enumerate(model.endpoints):
            at = ("models", position, "endpoints", number)
            name = endpoint_id(model, endpoint)
            if name in endpoints:
                yield at, f"'{name}' is there twice: give each a `name` of its own"
            endpoints.add(name)
            provider = providers.get(endpoint.provider)
            if provider is None:
                near = suggestion(endpoint.provider, providers)
                yield (*at, "provider"), f"no provider has the slug '{endpoint.provider}'{near}"
            else:
                yield from _price(endpoint, provider, at)
                yield from _efforts(model, position, endpoint, provider, at)
                yield from _places(model, endpoint, provider, at)
            yield from _currency(document, endpoint.price, (*at, "price"))


def _price(endpoint: EndpointPart, provider: ProviderPart, at: tuple[int | str, ...]) -> Iterator[Found]:
    if endpoint.price is None and provider.price is None and provider.auth is not None:
        yield (*at, "price"), "is required: without a price the endpoint would be taken for free"


def _efforts(
    model: ModelPart, position: int, endpoint: EndpointPart, provider: ProviderPart, at: tuple[int | str, ...]
) -> Iterator[Found]:
    """A budget that the wire can't take. Several endpoints may share the model's table: each is told."""
    own = endpoint.efforts is not None
    where = (*at, "efforts") if own else ("models", position, "efforts")
    for name, to in (endpoint.efforts if endpoint.efforts is not None else model.efforts).items():
        wrong = _budget(to, provider) if isinstance(to, int) else None
        if wrong:
            yield (*where, name), wrong if own else f"{wrong}; give its endpoint `efforts` of its own"


def _budget(tokens: int, provider: ProviderPart) -> str | None:
    dialect = provider.dialect
    if dialect in _WORDS_ONLY:
        return f"must be a word for {provider.slug}: its dialect {dialect} has no budgets"
    if dialect in _BUDGETS_OF_CLAUDE and 0 < tokens < _LEAST_BUDGET:
        return f"must be 0 or at least {_LEAST_BUDGET} for {provider.slug}: its dialect {dialect} has no less"
    return None


def _places(
    model: ModelPart, endpoint: EndpointPart, provider: ProviderPart, at: tuple[int | str, ...]
) -> Iterator[Found]:
    """Places that a Bedrock profile or region can't process in: a residency filter would trust them."""
    regions = endpoint.facts.regions or provider.facts.regions
    if provider.dialect != "bedrock" or regions is None:
        return
    auth = provider.auth
    region = region_in(provider.base_url) or (auth.region if auth is not None else None)
    problem = contradiction(endpoint.model or model.id.partition("/")[2], region, regions.value)
    if problem is not None:
        yield (*at, "facts", "regions"), problem


def _currency(document: CatalogDocument, price: PricePart | None, at: tuple[int | str, ...]) -> Iterator[Found]:
    if price is None or price.currency in (None, document.currency):
        return
    if price.currency not in document.exchange_rates:
        yield (*at, "currency"), f"no rate for {price.currency}: add it to exchange_rates"


def _aliases(document: CatalogDocument) -> Iterator[Found]:
    known = {name for model in document.models for name in (model.id.lower(), bare_name(model.id))}
    slugs = [provider.slug for provider in document.providers]
    discovering = any(provider.discover for provider in document.providers)
    seen: set[str] = set()
    for position, alias in enumerate(document.aliases):
        name = alias.name.lower()
        if name in seen:
            yield ("aliases", position, "name"), f"'{alias.name}' is used twice"
        elif name in known:
            yield ("aliases", position, "name"), f"'{alias.name}' is the name of a model already"
        seen.add(name)
        for key, slug in alias.provider.slugs():
            if slug not in slugs:
                near = suggestion(slug, slugs)
                yield ("aliases", position, "provider", key), f"no provider has the slug '{slug}'{near}"
        for number, model in enumerate(alias.models):
            # A discovered model is not known before its server was asked.
            if model.lower() not in known and not discovering:
                near = suggestion(model.lower(), known)
                yield ("aliases", position, "models", number), f"no model is called '{model}'{near}"


def bare_name(model_id: str) -> str:
    """What follows vendor/, in lower case."""
    return model_id.partition("/")[2].lower()
