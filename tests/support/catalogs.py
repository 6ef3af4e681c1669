"""Builders for catalogue rows: short to write, with every fact that a test does not mention unstated."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TypeVar

from service.domain.catalog import (
    Alias,
    Catalog,
    Endpoint,
    Fact,
    Facts,
    Model,
    Price,
    Provider,
    ProviderStatus,
    Quirks,
    Rule,
    Timeouts,
)
from service.domain.fields import Field

T = TypeVar("T")

EVERY_FIELD = frozenset(Field)


def stated(value: T) -> Fact[T]:
    """A fact with a source."""
    return Fact(value, "https://provider.example/terms", "2026-11-01")


def facts(
    *,
    regions: tuple[str, ...] | None = None,
    retention_days: int | None = None,
    trains: bool | None = None,
    parent: str | None = None,
) -> Facts:
    """Facts; None = not stated."""
    return Facts(
        regions=None if regions is None else stated(regions),
        retention_days=None if retention_days is None else stated(retention_days),
        trains_on_data=None if trains is None else stated(trains),
        parent_country=None if parent is None else stated(parent),
    )


EUROPEAN = facts(regions=("fr",), retention_days=0, trains=False, parent="fr")
AMERICAN = facts(regions=("us",), retention_days=30, trains=True, parent="us")


def provider(
    slug: str = "alpha",
    *,
    dialect: str = "openai_chat",
    base_url: str = "http://127.0.0.1:9/v1",
    facts: Facts = EUROPEAN,
    status: ProviderStatus = ProviderStatus.ACTIVE,
    status_message: str = "",
    owner: str | None = None,
    passthrough: Iterable[str] = (),
    quirks: Quirks | None = None,
    timeouts: Timeouts | None = None,
) -> Provider:
    """A provider that is ready to be called, with European facts."""
    return Provider(
        slug=slug,
        name=slug.title(),
        dialect=dialect,
        base_url=base_url,
        id=f"id-{slug}",
        facts=facts,
        status=status,
        status_message=status_message,
        owner=owner,
        passthrough=frozenset(passthrough),
        quirks=quirks or Quirks(),
        timeouts=timeouts or Timeouts(),
    )


def endpoint(
    by: Provider | str = "alpha",
    *,
    model: str = "vendor/model",
    price: str = "1",
    completion: str | None = None,
    facts: Facts | None = None,
    expressible: Iterable[Field] = EVERY_FIELD,
    quantization: str | None = None,
) -> Endpoint:
    """An endpoint of `model` that can express everything; `price` per million tokens, both ways."""
    row = provider(by) if isinstance(by, str) else by
    return Endpoint(
        id=f"{row.slug}/{model}",
        provider=row,
        model=model,
        upstream_model=model.rpartition("/")[2],
        price=Price(Decimal(price) / 1_000_000, Decimal(completion or price) / 1_000_000),
        facts=row.facts if facts is None else facts.over(row.facts),
        expressible=frozenset(expressible),
        quantization=quantization,
    )


def model(name: str = "vendor/model", *endpoints: Endpoint) -> Model:
    """A model; without endpoints given it has one, at provider alpha."""
    return Model(id=name, endpoints=endpoints or (endpoint(model=name),), name=name)


def catalog(
    *models: Model, rules: Iterable[Rule] = (), aliases: Iterable[Alias] = (), providers: Iterable[Provider] = ()
) -> Catalog:
    """A catalogue of `models`; their providers and unambiguous bare names come with them."""
    rows = {row.slug: row for row in providers}
    names: dict[str, str] = {}
    bare: dict[str, list[str]] = {}
    for each in models:
        names[each.id.lower()] = each.id
        bare.setdefault(each.id.lower().rpartition("/")[2], []).append(each.id)
        rows.update((e.provider.slug, e.provider) for e in each.endpoints)
    for name, ids in bare.items():
        if len(ids) == 1:
            names.setdefault(name, ids[0])
    return Catalog(
        providers=rows,
        models={each.id: each for each in models},
        names=names,
        aliases={alias.name.lower(): alias for alias in aliases},
        rules=tuple(rules),
    )
