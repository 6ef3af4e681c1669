"""What one part of a catalogue file says about another: names that must exist, names that must differ."""

from __future__ import annotations

from collections.abc import Iterator

from adapters.catalog.schema import CatalogDocument, EndpointPart, ModelPart, PricePart, ProviderPart
from adapters.documents.problems import suggestion

Found = tuple[tuple[int | str, ...], str]
"""Where (keys and list positions) and what is wrong."""


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
            yield from _currency(document, endpoint.price, (*at, "price"))


def _price(endpoint: EndpointPart, provider: ProviderPart, at: tuple[int | str, ...]) -> Iterator[Found]:
    if endpoint.price is None and provider.price is None and provider.auth is not None:
        yield (*at, "price"), "is required: without a price the endpoint would be taken for free"


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
