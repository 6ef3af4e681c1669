"""The settings and the catalogue as `eurouter config check` prints them: for people, and never a secret."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from adapters.database.url import DatabaseUrlError, default_url, is_reference, parse_url, without_password
from adapters.documents.problems import suggestion
from adapters.keys import LOCAL
from service.domain.catalog import Catalog, Provider, ProviderStatus
from service.domain.fields import Field
from service.settings.kafka import KafkaSecuritySettings, KafkaSettings
from service.settings.model import Settings

MIN_PEPPER: Final = 16
"""Characters that a pepper has at least."""

HOW_TO_PEPPER: Final = "make one with `openssl rand -base64 32`"
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
    """What stops the service and can't be seen in the file: secrets and files that are not there.

    `resolve` gives the secret of a reference and raises when there is none. A process without `has_doors` needs
    nothing of what concerns callers.
    """
    yield from _database_problem(settings.database.url, resolve)
    yield from _missing_files({"upstream.ca_file": settings.upstream.ca_file})
    if settings.kafka.enabled:
        yield from _kafka_problems(settings.kafka.security, resolve)
    if has_doors:
        yield from _problems_of_doors(settings, resolve)


def _problems_of_doors(settings: Settings, resolve: Callable[[str], str]) -> Iterator[str]:
    if settings.key_pepper is not None:
        try:
            pepper = resolve(settings.key_pepper)
        except Exception as error:  # noqa: BLE001 - whatever a resolver raises is a reason to report
            yield f"key_pepper: {error}"
        else:
            if len(pepper) < MIN_PEPPER:
                yield f"key_pepper: {settings.key_pepper} is shorter than {MIN_PEPPER} characters: {HOW_TO_PEPPER}"
    files: dict[str, Path | None] = {}
    for door, tls in (("grpc", settings.grpc.tls), ("http", settings.http.tls)):
        files |= {f"{door}.tls.{name}": getattr(tls, name) for name in ("cert", "key", "client_ca")}
    yield from _missing_files(files)
    for door, tls in (("grpc", settings.grpc.tls), ("http", settings.http.tls)):
        if tls.cert is not None and tls.key is not None and tls.cert.is_file() and tls.key.is_file():
            yield from _certificate_problem(f"{door}.tls", tls.cert, tls.key)


def _missing_files(files: Mapping[str, Path | None]) -> Iterator[str]:
    for name, path in files.items():
        if path is not None and not path.is_file():
            yield f"{name}: there is no file {path}"


def _database_problem(url: str | None, resolve: Callable[[str], str]) -> Iterator[str]:
    if url is None or not is_reference(url):
        return
    try:
        parse_url(resolve(url))
    except DatabaseUrlError as error:
        yield f"database.url: {url}: {error}"
    except Exception as error:  # noqa: BLE001 - whatever a resolver raises is a reason to report
        yield f"database.url: {error}"


def _kafka_problems(security: KafkaSecuritySettings, resolve: Callable[[str], str]) -> Iterator[str]:
    for name, reference in (("password", security.password), ("token", security.token)):
        if reference is not None:
            try:
                resolve(reference)
            except Exception as error:  # noqa: BLE001 - whatever a resolver raises is a reason to report
                yield f"kafka.security.{name}: {error}"
    yield from _missing_files(
        {f"kafka.security.{name}": getattr(security, name) for name in ("ca_file", "cert", "key")}
    )
    if security.ca_file is not None and security.ca_file.is_file():
        try:
            ssl.create_default_context(cafile=security.ca_file)
        except OSError as error:
            reason = getattr(error, "reason", None) or error.strerror
            yield f"kafka.security.ca_file: {security.ca_file} holds no certificate that can be used ({reason})"
    cert, key = security.cert, security.key
    if cert is not None and key is not None and cert.is_file() and key.is_file():
        yield from _certificate_problem("kafka.security", cert, key)


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


def _certificate_problem(where: str, cert: Path, key: Path) -> Iterator[str]:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or error
        yield f"{where}: {cert} and {key} can't be used ({reason}): both must be PEM and belong together"


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
    return bool({name, bare} & (catalog.names.keys() | catalog.aliases.keys()))
