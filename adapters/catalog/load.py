"""A catalogue file as domain rows, joined with the dialects that are built and the keys that are set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import ValidationError

from adapters.catalog.check import check_references, endpoint_id
from adapters.catalog.discover import Discovered
from adapters.catalog.names import bare_names, names_of_file, taken
from adapters.catalog.rows import alias_of, efforts_of, expressible_of, facts_of, model_row, price_of, provider_row
from adapters.catalog.schema import CatalogDocument, FactsPart, ModelPart
from adapters.documents.problems import problems_in
from adapters.documents.read import Document, DocumentError, Problem, format_path, read_document
from service.domain.catalog import Catalog, Endpoint, Model, Provider, Quirks, Rule, Timeouts
from service.domain.fields import Field

DEFAULT_CATALOG: Final = Path(__file__).with_name("default.yaml")
"""The catalogue that ships."""

OLD_AFTER_DAYS: Final = 180
DEFAULT_TIMEOUTS: Final = Timeouts()

Dialects = Mapping[str, Callable[[Quirks], frozenset[Field]]]
"""The dialects that are built, by name, each with the fields that it can express for a row with such quirks."""


def read_catalog(path: Path) -> CatalogDocument:
    """The catalogue file at `path`, checked.

    Raises:
        DocumentError: it can't be used; every problem with its key's path and line.
    """
    return check_document(read_document(path))


def check_document(document: Document) -> CatalogDocument:
    """The same for a document that is read already.

    Raises:
        DocumentError: every problem with its key's path and line.
    """
    try:
        catalog = CatalogDocument.model_validate(document.data)
    except ValidationError as error:
        raise DocumentError(document.name, problems_in(error, CatalogDocument, document)) from None
    found = [
        Problem(format_path(where), message, document.line(where)) for where, message in check_references(catalog)
    ]
    if found:
        raise DocumentError(document.name, found)
    return catalog


def build_catalog(
    document: CatalogDocument,
    dialects: Dialects,
    is_configured: Callable[[str], bool],
    *,
    rules: tuple[Rule, ...] = (),
    discovered: Mapping[str, tuple[Discovered, ...]] = MappingProxyType({}),
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    version: int = 0,
) -> Catalog:
    """The domain's catalogue.

    `is_configured` says of a secret's reference whether there is a value. `discovered` are the models that
    servers said they serve, by provider; a model of the file gets another endpoint, others become models.
    `timeouts` are the limits that providers without their own have.
    """
    providers = {
        part.slug: provider_row(
            part, dialect_built=part.dialect in dialects, is_configured=is_configured, timeouts=timeouts
        )
        for part in document.providers
    }
    models = {part.id: model_row(part, endpoints) for part, endpoints in _listed(document, providers, dialects)}
    # What is everybody's first: how one owner's server spells a model says nothing to others.
    for provider in sorted(providers.values(), key=lambda provider: provider.owner is not None):
        if provider.slug in discovered:
            _add_discovered(models, document, provider, discovered[provider.slug], dialects)
    aliases = {alias.name.lower(): alias for alias in map(alias_of, document.aliases)}
    bare, own = bare_names(models, document, {slug: provider.owner for slug, provider in providers.items()})
    return Catalog(
        providers=MappingProxyType(dict(sorted(providers.items()))),
        models=MappingProxyType(dict(sorted(models.items()))),
        # After the bare names: a full id always means itself.
        names=MappingProxyType({**bare, **{name.lower(): name for name in models}}),
        own_names=MappingProxyType(own),
        aliases=MappingProxyType(aliases),
        rules=rules,
        currency=document.currency,
        version=version,
    )


def _listed(
    document: CatalogDocument, providers: Mapping[str, Provider], dialects: Dialects
) -> Iterator[tuple[ModelPart, tuple[Endpoint, ...]]]:
    defaults = {part.slug: part for part in document.providers}
    for model in document.models:
        rows = []
        for part in model.endpoints:
            provider = providers[part.provider]
            price = part.price or defaults[part.provider].price
            rows.append(
                Endpoint(
                    id=endpoint_id(model, part),
                    provider=provider,
                    model=model.id,
                    upstream_model=part.model or model.id.partition("/")[2],
                    price=price_of(price, document.currency, document.exchange_rates),
                    facts=facts_of(part.facts).over(provider.facts),
                    expressible=expressible_of(
                        _table(dialects, provider),
                        provider,
                        model.input_modalities,
                        model.output_modalities,
                        model.refuses,
                        part.refuses,
                    ),
                    quantization=part.quantization,
                    context_length=part.context_length,
                    max_output_tokens=part.max_output_tokens,
                    concurrency=part.concurrency or defaults[part.provider].concurrency,
                    efforts=efforts_of(model, part),
                )
            )
        yield model, tuple(rows)


def _table(dialects: Dialects, provider: Provider) -> frozenset[Field]:
    table = dialects.get(provider.dialect)
    return table(provider.quirks) if table is not None else frozenset()


def _add_discovered(
    models: dict[str, Model],
    document: CatalogDocument,
    provider: Provider,
    found: tuple[Discovered, ...],
    dialects: Dialects,
) -> None:
    part = next(part for part in document.providers if part.slug == provider.slug)
    listed = {part.id: part for part in document.models}
    spellings = {name.lower(): name for name in models}
    names = names_of_file(document)
    for model in found:
        name = model.model_id(provider.slug)
        name = spellings.get(name.lower(), name)
        if name not in listed and taken(name, names) is not None:
            continue
        known = models.get(name) or Model(
            id=name,
            endpoints=(),
            name=name,
            owned_by=name.partition("/")[0],
            input_modalities=model.input_modalities,
            discovered=True,
        )
        if any(endpoint.provider.slug == provider.slug for endpoint in known.endpoints):
            continue
        endpoint = Endpoint(
            id=f"{provider.slug}/{name}",
            provider=provider,
            model=name,
            upstream_model=model.upstream_model,
            price=price_of(part.price, document.currency, document.exchange_rates),
            facts=provider.facts,
            expressible=expressible_of(
                _table(dialects, provider),
                provider,
                known.input_modalities,
                known.output_modalities,
                listed[name].refuses if name in listed else frozenset(),
            ),
            context_length=model.context_length,
            concurrency=part.concurrency,
            efforts=efforts_of(listed.get(name)),
        )
        models[name] = replace(known, endpoints=(*known.endpoints, endpoint))


def old_facts(document: CatalogDocument, today: date, after_days: int = OLD_AFTER_DAYS) -> list[str]:
    """A sentence for every fact that was verified more than `after_days` before `today`, or after it."""
    places = [(part.slug, part.facts) for part in document.providers]
    places += [(endpoint_id(m, e), e.facts) for m in document.models for e in m.endpoints]
    return [sentence for place, facts in places for sentence in _old_in(place, facts, today, after_days)]


def _old_in(place: str, facts: FactsPart, today: date, after_days: int) -> Iterator[str]:
    for name in type(facts).model_fields:
        fact = getattr(facts, name)
        age = (today - fact.verified_on).days if fact is not None else 0
        if age > after_days:
            yield f"{place}: {name} was verified {age} days ago: read {fact.source} again and update verified_on"
        elif age < 0:
            yield f"{place}: {name} was verified on {fact.verified_on}, which is yet to come"
