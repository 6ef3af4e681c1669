"""The settings and the catalogue as `eurouter config check` prints them: for people, and never a secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

import yaml

from adapters.database.url import default_url, without_password
from adapters.documents.problems import suggestion
from adapters.keys import LOCAL
from service.domain.catalog import Catalog, Provider, ProviderStatus
from service.domain.fields import Field
from service.settings.kafka import KafkaSettings
from service.settings.model import Settings
from service.settings.needs import missing

_EVERYBODY: Final = LOCAL.owner
_HINT: Final = re.compile(r"[^\s.\[\]]+(\.[^\s.\[\]]+)*")
_VARIANTS: Final = (":floor", ":nitro", ":free")


def effective_yaml(settings: Settings, env: Mapping[str, str]) -> str:
    """All settings as YAML, defaults included. `env` is the environment, for the state folder.

    Secrets stand in it as references, the database's URL without its password. A key's hash is left out: who
    has it and the pepper can test guesses.
    """
    data = settings.model_dump(mode="json")
    data["database"]["url"] = without_password(settings.database.url or default_url(env))
    for key in data["keys"]:
        key["hash"] = "(not shown)"
    return yaml.safe_dump(_tidy(data), sort_keys=False, allow_unicode=True, width=100)


def catalog_lines(catalog: Catalog) -> Iterator[str]:
    """One line per provider: slug, whether it is used, how many models, and what to do if it is not used."""
    counts = dict.fromkeys(catalog.providers, 0)
    for model in catalog.models.values():
        for slug in {endpoint.provider.slug for endpoint in model.endpoints}:
            counts[slug] += 1
    width = max((len(slug) for slug in counts), default=0)
    for slug, provider in catalog.providers.items():
        models = f"{counts[slug]} model" + ("" if counts[slug] == 1 else "s")
        state = provider.status.value.replace("_", " ")
        yield f"{slug:<{width}}  {state:<15}  {models:>9}  {provider.status_message}".rstrip()


def usable_models(catalog: Catalog) -> int:
    """How many models have an endpoint that may be chosen."""
    return sum(any(_usable(e.provider) for e in model.endpoints) for model in catalog.models.values())


def warnings(
    settings: Settings, catalog: Catalog, *, dialects: Collection[str], discovering: bool
) -> Iterator[str]:
    """What works and yet is probably not meant.

    `dialects` are those that are built. `discovering`: servers may add models that the file lacks.
    """
    for slug, provider in catalog.providers.items():
        if provider.dialect not in dialects and (near := suggestion(provider.dialect, dialects)):
            yield f"provider '{slug}': there is no dialect '{provider.dialect}'{near}"
    if not settings.keys and settings.loopback_only:
        yield "no keys: everybody on this machine is the owner `local`, and nobody else is let in"
    elif not settings.keys and not any(owner.client_certificates for owner in settings.owners):
        yield "no keys, and no owner has client_certificates: nobody can call"
    if not usable_models(catalog) and not discovering:
        yield "no provider can be used: every chat request will be refused"
    yield from _hint_problems(settings.hint_fields)
    yield from _kafka_warnings(settings.kafka)
    yield from _unknown_owners(settings)
    for rule in settings.rules:
        for name in (*((rule.model,) if rule.model else ()), *rule.models):
            if not _is_known(name, catalog) and not discovering:
                yield f"rule '{rule.name}': no model is called '{name}'"
        for key, slug in rule.provider.slugs():
            if slug not in catalog.providers:
                near = suggestion(slug, catalog.providers)
                yield f"rule '{rule.name}': provider.{key}: no provider has the slug '{slug}'{near}"


def problems(settings: Settings, resolve: Callable[[str], str], *, has_doors: bool = True) -> Iterator[str]:
    """The sentences of what `needs.missing` finds. `resolve` gives the secret of a reference, or raises."""
    return (found.text for found in missing(settings, _Resolving(resolve), has_doors=has_doors))


class _Resolving:
    """Secrets for those who wait for none."""

    def __init__(self, resolve: Callable[[str], str]) -> None:
        self.resolve = resolve

    def may_come(self, _reference: str) -> bool:
        return False


def _kafka_warnings(kafka: KafkaSettings) -> Iterator[str]:
    security = kafka.security
    if security.protocol == "SASL_PLAINTEXT" and security.mechanism in ("PLAIN", "OAUTHBEARER"):
        yield f"kafka.security: {security.mechanism} sends the secret unencrypted: use SASL_SSL"
    if kafka.trusted_owner_header is not None:
        header, topic = kafka.trusted_owner_header, kafka.names.submit
        yield f"kafka.trusted_owner_header: by '{header}' whoever may write to '{topic}' may claim to be anybody"


def _unknown_owners(settings: Settings) -> Iterator[str]:
    """Owners of topics whom nothing else names. They may be so: whoever needs no other door has no key."""
    known = {*(key.owner for key in settings.keys), *(owner.name for owner in settings.owners)}
    if not settings.keys and settings.loopback_only:
        known.add(_EVERYBODY)
    for position, binding in enumerate(settings.kafka.intake):
        if binding.owner not in known:
            near = suggestion(binding.owner, known) or ": is it spelt right?"
            yield (
                f"kafka.intake[{position}].owner: no key is of '{binding.owner}' and owners does not list it{near}"
            )


def _hint_problems(names: Collection[str]) -> Iterator[str]:
    for name in names:
        if name in {field.value for field in Field}:
            yield f"hint_fields: '{name}' has a name of ours: only fields without one can be made hints here"
        elif not _HINT.fullmatch(name):
            yield f"hint_fields: '{name}' fits no field: give a name, or a path as messages.content.cache_control"


def _tidy(value: Any) -> Any:
    """Without what is not set: a line saying null tells nobody anything."""
    if isinstance(value, dict):
        return {key: _tidy(inner) for key, inner in value.items() if inner is not None and inner != {}}
    return [_tidy(inner) for inner in value] if isinstance(value, list) else value


def _usable(provider: Provider) -> bool:
    return provider.status is ProviderStatus.ACTIVE


def _is_known(name: str, catalog: Catalog) -> bool:
    name = name.lower()
    bare = next((name.removesuffix(v) for v in _VARIANTS if name.endswith(v)), name)
    own = (names.keys() for names in catalog.own_names.values())
    return bool({name, bare} & {*catalog.names, *catalog.aliases}.union(*own))
