"""Providers, models and endpoints as frozen rows, and the facts that filters go by. No files, no secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, Literal, TypeVar

from service.domain.cloud_auth import CloudAuth
from service.domain.fields import Field
from service.domain.preferences import Preferences

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Fact(Generic[T_co]):
    """A statement with its source (an address or a document's name) and the day it was read (YYYY-MM-DD)."""

    value: T_co
    source: str
    verified_on: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is stated about where and by whom data is processed. None = not stated: fails the filter that asks.

    `regions` are the places where processing may happen, all of them: country codes in lower case, or `eu`,
    `eea` for "somewhere inside", or `global`. `parent_country` is the ultimate parent's.
    """

    regions: Fact[tuple[str, ...]] | None = None
    retention_days: Fact[int] | None = None
    trains_on_data: Fact[bool] | None = None
    legal_entity: Fact[str] | None = None
    headquarters: Fact[str] | None = None
    parent_country: Fact[str] | None = None

    def over(self, base: Facts) -> Facts:
        """These facts, with `base`'s where these state nothing: an endpoint's over its provider's."""
        return Facts(
            regions=self.regions or base.regions,
            retention_days=self.retention_days or base.retention_days,
            trains_on_data=self.trains_on_data or base.trains_on_data,
            legal_entity=self.legal_entity or base.legal_entity,
            headquarters=self.headquarters or base.headquarters,
            parent_country=self.parent_country or base.parent_country,
        )


@dataclass(frozen=True, slots=True)
class Price:
    """Prices in `currency`, the catalogue's: per token read and generated, per request, per image.

    Tokens of some kinds have prices of their own; None is that of other tokens: `prompt` for what is read from
    (`cache_read`) or written to (`cache_write`) the provider's cache and for audio heard, `completion` for
    reasoning and for audio spoken. `blended`, (3 x prompt + completion) / 4 per token, is what sorting and the
    default order go by; `rate` is the same as a float. `free`: nothing of it costs anything.
    """

    prompt: Decimal = Decimal(0)
    completion: Decimal = Decimal(0)
    request: Decimal = Decimal(0)
    image: Decimal = Decimal(0)
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    currency: str = "EUR"
    # Derived once per catalogue: every plan sorts by them.
    blended: Decimal = field(init=False, repr=False, compare=False)
    rate: float = field(init=False, repr=False, compare=False)
    free: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        blended = (3 * self.prompt + self.completion) / 4
        object.__setattr__(self, "blended", blended)
        object.__setattr__(self, "rate", float(blended))
        special = (self.cache_read, self.cache_write, self.reasoning, self.audio_input, self.audio_output)
        costs = any((self.prompt, self.completion, self.request, self.image, *special))
        object.__setattr__(self, "free", not costs)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of one upstream call, seconds. `first_byte` counts from the request's end, `idle` between reads."""

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 60.0
    total: float = 600.0


class ProviderStatus(StrEnum):
    """Whether a provider may be chosen."""

    ACTIVE = "active"
    NOT_CONFIGURED = "not_configured"
    DIALECT_MISSING = "dialect_missing"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Auth:
    """How a provider wants to be told who we are. `secret` is a reference (env:NAME, file:PATH), never a value.

    bearer: `authorization: Bearer SECRET`; header: `name: SECRET`; query: `?name=SECRET`.
    """

    kind: Literal["none", "bearer", "header", "query"] = "none"
    name: str = ""
    secret: str = ""

    @property
    def references(self) -> tuple[str, ...]:
        """The references that must resolve."""
        return (self.secret,) if self.secret else ()


AnyAuth = Auth | CloudAuth
"""By what a provider knows us: something that is sent as it is, or an identity at a cloud."""


@dataclass(frozen=True, slots=True)
class Quirks:
    """How a provider's wire differs from its dialect's, as data.

    `max_tokens_field`: its name of the output limit. `reasoning_style`: where it wants the effort.
    `system_role`: the role that system and developer turns are sent as; None keeps the caller's.
    `stream_usage`: whether it understands stream_options.include_usage. `max_stop`: how many stop sequences.
    `api_version`: Azure's, such as 2024-10-21; None is its API without versions (v1).
    `path`: replaces the dialect's path below the base URL. `headers`: sent with every call (no secrets).
    """

    max_tokens_field: str = "max_completion_tokens"
    reasoning_style: Literal["reasoning_effort", "reasoning_object", "none"] = "reasoning_effort"
    system_role: Literal["system", "developer"] | None = None
    stream_usage: bool = True
    max_stop: int = 4
    api_version: str | None = None
    path: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Effort:
    """A reasoning effort in a model's own terms, one of the two.

    `level` is the provider's word; `budget` is the most tokens of reasoning, 0 for none.
    """

    level: str | None = None
    budget: int | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """Someone who serves models.

    `refuses` are fields that it rejects although its dialect could say them; `emulates` those that it lacks and
    that may be bridged there whoever calls (fields.BRIDGES); `passthrough` are top-level
    fields without a name of ours that may be sent to it. `owner` is set when the account there belongs to
    one owner of ours: nobody else's calls go there. `ours`: we run it, so it gets request ids and trace
    context. `id` is what x-provider-id shows.
    """

    slug: str
    name: str
    dialect: str
    base_url: str
    id: str = ""
    auth: AnyAuth = Auth()
    facts: Facts = Facts()
    status: ProviderStatus = ProviderStatus.ACTIVE
    status_message: str = ""
    owner: str | None = None
    ours: bool = False
    refuses: frozenset[Field] = frozenset()
    emulates: frozenset[Field] = frozenset()
    passthrough: frozenset[str] = frozenset()
    quirks: Quirks = Quirks()
    timeouts: Timeouts = Timeouts()
    simulator: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model at one provider: what a plan chooses between.

    `id` is "provider/model id". `upstream_model` is the provider's name of the model. `facts` are the
    endpoint's over the provider's. `expressible` is the dialect's table less what the row refuses and what
    the model's modalities rule out. Lengths in tokens, None when not stated. `concurrency` is how many calls
    it bears at a time from one process of ours, None when nobody counts. `efforts` tells what the model takes for
    each reasoning effort of ours; empty where its dialect's own table holds.
    """

    id: str
    provider: Provider
    model: str
    upstream_model: str
    price: Price
    facts: Facts
    expressible: frozenset[Field]
    quantization: str | None = None
    context_length: int | None = None
    max_output_tokens: int | None = None
    concurrency: int | None = None
    efforts: Mapping[str, Effort] = field(default_factory=lambda: MappingProxyType({}), hash=False)


@dataclass(frozen=True, slots=True)
class Model:
    """A model under the name that requests use (vendor/name), with its endpoints.

    `discovered`: its name is a server's word, which never stands above what the catalogue's file says.
    """

    id: str
    endpoints: tuple[Endpoint, ...]
    name: str = ""
    description: str = ""
    created: int = 0
    owned_by: str = ""
    categories: tuple[str, ...] = ()
    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    tokenizer: str = ""
    discovered: bool = False


def visible_to(model: Model, owner: str | None) -> bool:
    """Whether the model exists for a caller: `owner`'s, or nobody known (None).

    Not if all that serves it are accounts of other owners: what they have and how they call it is theirs.
    """
    return not model.endpoints or any(e.provider.owner in (None, owner) for e in model.endpoints)


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that stands for models in an order of fallback, plus preferences under the request's own."""

    name: str
    models: tuple[str, ...]
    preferences: Preferences = Preferences()


@dataclass(frozen=True, slots=True)
class Rule:
    """A routing rule. `id` is a UUID in lower case. A disabled rule is not found."""

    id: str
    name: str
    enabled: bool = True
    model: str | None = None
    models: tuple[str, ...] = ()
    preferences: Preferences = Preferences()


@dataclass(frozen=True, slots=True)
class Catalog:
    """A whole catalogue, replaced as one. Lookups are dictionaries made once.

    `names` maps every spelling that resolves (id, bare name when unambiguous) in lower case to a model id;
    `own_names` has bare names that one owner alone may use, by owner, and there they come first.
    """

    providers: Mapping[str, Provider] = field(default_factory=lambda: MappingProxyType({}))
    models: Mapping[str, Model] = field(default_factory=lambda: MappingProxyType({}))
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    own_names: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    aliases: Mapping[str, Alias] = field(default_factory=lambda: MappingProxyType({}))
    rules: tuple[Rule, ...] = ()
    currency: str = "EUR"
    version: int = 0
