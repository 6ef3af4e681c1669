"""Which names requests may use for which models. What the file says comes before what servers say they have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType

from adapters.catalog.check import bare_name
from adapters.catalog.discover import Discovered
from adapters.catalog.schema import CatalogDocument
from service.domain.catalog import Model, visible_to
from service.domain.selection import VARIANTS

Bare = Mapping[str, str]
"""Bare names in lower case, each with the one id that it stands for."""


def names_of_file(document: CatalogDocument, bare: Iterable[str] | None = None) -> Mapping[str, str]:
    """Names that the file gives, in lower case, each with the id or alias that it is of.

    Ids, aliases, and the bare names of the models `bare`; None: of all.
    """
    bare = (model.id for model in document.models) if bare is None else bare
    names = {bare_name(name): name for name in bare}
    names |= {model.id.lower(): model.id for model in document.models}
    return names | {alias.name.lower(): alias.name for alias in document.aliases}


def taken(name: str, names: Mapping[str, str]) -> str | None:
    """What `name` means by `names`, by itself or as one of them with a variant; None: it is free."""
    low = name.lower()
    base, _, variant = low.rpartition(":")
    return names.get(low) or (names.get(base) if variant in VARIANTS else None)


def clashes(document: CatalogDocument, slug: str, found: Iterable[Discovered]) -> Iterator[tuple[str, str]]:
    """Ids of discovered models that mean something else by the file, each with the id or alias that they mean."""
    names = names_of_file(document)
    listed = {model.id.lower() for model in document.models}
    for model in found:
        name = model.model_id(slug)
        by = taken(name, names)
        if by is not None and name.lower() not in listed:
            yield name, by


def bare_names(
    models: Mapping[str, Model], document: CatalogDocument, owners: Mapping[str, str | None]
) -> tuple[Bare, Mapping[str, Bare]]:
    """Bare names for everybody, and those that an owner has before them. `owners` are providers', by slug.

    A name that several models could mean stands for none of them. Whether a model of the file is everybody's
    goes by its own endpoints: no server has a say in what the file names.
    """
    listed = {part.id: frozenset(owners[end.provider] for end in part.endpoints) for part in document.models}
    ours = [name for name, of in listed.items() if None in of]
    given = names_of_file(document, ours)
    found = {name: model for name, model in models.items() if name not in listed}
    public = [n for n, model in found.items() if visible_to(model, None) and not taken(bare_name(n), given)]
    settled = {bare_name(name) for name in ours}
    spoken = settled | {bare_name(name) for name in public}
    own: dict[str, Bare] = {}
    for owner in {owner for owner in owners.values() if owner is not None}:
        theirs = [name for name, of in listed.items() if owner in of and None not in of]
        before = names_of_file(document, (*ours, *theirs))
        private = [
            name
            for name, model in found.items()
            if visible_to(model, owner) and not visible_to(model, None) and not taken(bare_name(name), before)
        ]
        names = _unambiguous(private, spoken) | _unambiguous(theirs, settled)
        own[owner] = MappingProxyType(names)
    return _unambiguous(ours) | _unambiguous(public), own


def _unambiguous(models: Iterable[str], used: Collection[str] = ()) -> dict[str, str]:
    bare: dict[str, list[str]] = {}
    for name in models:
        bare.setdefault(bare_name(name), []).append(name)
    return {short: full[0] for short, full in bare.items() if len(full) == 1 and short not in used}
