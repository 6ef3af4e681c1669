"""The shapes of a routing decision: what is needed, what was decided, what was rejected and why.

`plan` itself (service/domain/plan.py) is pure and works on these; the router runs its result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol
from urllib.parse import quote

from service.domain.asked_schema import AskedSchema
from service.domain.catalog import Endpoint, Model
from service.domain.fields import BRIDGED, Field

STRUCTURED_OUTPUT: Final = "x-structured-output"
"""By which callers allow the emulation of an answer's form (`emulate`), and are told of it (`emulated`)."""

_PLAIN: Final = "!#$&'()*+,/:;=?@[] \"<>\\^`{|}"
_MAX_LIST: Final = 2000
"""Bytes of one list in a header: gRPC clients refuse more than 8 to 16 KiB of metadata, proxies less."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a request asks of an endpoint.

    `fields` maps each field that the request sets to its JSON path as the caller wrote it. `extra` are
    top-level fields that nobody named, `extra_hints` those of them that settings call hints. `dialects` are
    the dialects whose opaque parts the request holds: an endpoint must speak each. `server_tools` maps the
    path of each tool that providers run by themselves, and of each trace of one in history, to its dialect:
    an endpoint of another dialect leaves them out, comes after those that need not, and they are named as
    ignored. `max_output_tokens` is the caller's limit, None without one. `bridges` are the fields that may be
    bridged for this call where an endpoint lacks them. `addresses` maps each address of
    media that stands elsewhere, as what it was given (IMAGE_URL, FILE_URL), to its path. `reasoning_effort` is
    the caller's, None for the model's.
    `schema` is the one that the answer must match, None without one.
    """

    fields: Mapping[Field, str] = field(default_factory=lambda: MappingProxyType({}))
    extra: frozenset[str] = frozenset()
    extra_hints: frozenset[str] = frozenset()
    dialects: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    max_output_tokens: int | None = None
    server_tools: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    bridges: frozenset[Field] = BRIDGED
    addresses: Mapping[tuple[Field, str], str] = field(default_factory=lambda: MappingProxyType({}))
    reasoning_effort: str | None = None
    schema: AskedSchema | None = None


@dataclass(frozen=True, slots=True)
class WantedModel:
    """A model in the order of fallback, with the variant that was asked for ("" for none)."""

    model: Model
    variant: str = ""


class Filter(StrEnum):
    """Why an endpoint is not in a plan. The first group is policy, the second expression, the third state."""

    ONLY = "only"
    IGNORE = "ignore"
    QUANTIZATIONS = "quantizations"
    DATA_COLLECTION = "data_collection"
    DATA_RESIDENCY = "data_residency"
    MAX_RETENTION_DAYS = "max_retention_days"
    EU_OWNED = "eu_owned"
    FREE = "free"
    ALLOW_FALLBACKS = "allow_fallbacks"
    OWNER = "owner"

    FIELD = "field"
    REQUIRE_PARAMETERS = "require_parameters"
    EXTRA = "extra"
    DIALECT = "dialect"

    COOLING_DOWN = "cooling_down"
    NOT_CONFIGURED = "not_configured"
    DIALECT_MISSING = "dialect_missing"
    DISABLED = "disabled"
    ATTEMPT_CAP = "attempt_cap"


@dataclass(frozen=True, slots=True)
class Rejection:
    """An endpoint that is not tried: by which filter, a sentence, and the JSON paths that it can't express.

    `until`: for cooling_down, the time (same clock as `now`) at which it may be tried again.
    """

    endpoint: Endpoint
    model: str
    filter: Filter
    message: str
    paths: tuple[str, ...] = ()
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An endpoint to try. `model_position` counts the wanted models from 0.

    `ignored` names what is not sent: hints, and tools that a provider would have to run. `emulated`: the answer's
    form is one that the endpoint does not know.
    """

    endpoint: Endpoint
    model: str
    variant: str
    model_position: int
    price: Decimal
    health: float
    ignored: tuple[str, ...] = ()
    emulated: bool = False

    def decision(self, strategy: str, fallback_count: int, truncated: tuple[str, ...] = ()) -> Decision:
        """The decision for this attempt, after so many that failed."""
        provider = self.endpoint.provider
        return Decision(
            provider_slug=provider.slug,
            provider_id=provider.id,
            model_used=self.model,
            model_variant=self.variant,
            strategy=strategy,
            fallback_count=fallback_count,
            model_fallback_count=self.model_position,
            ignored=self.ignored,
            truncated=truncated,
            emulated=self.emulated,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Attempts in their order, everything rejected, and the name of the order (default, price, order, …).

    `beyond_cap` are attempts that only the cap on their number rejected, in order: they count where one of
    `attempts` turns out to be of no use before it is made.
    """

    attempts: tuple[Attempt, ...]
    rejected: tuple[Rejection, ...]
    strategy: str
    beyond_cap: tuple[Attempt, ...] = ()


class HealthView(Protocol):
    """What a plan may know of outcomes so far. Endpoints never seen are healthy."""

    def score(self, endpoint_id: str) -> float:
        """Share of successes, 0 to 1, recent ones weighing more."""
        ...

    def cooling_until(self, endpoint_id: str, now: float) -> float | None:
        """When the endpoint's cool-down ends, or None when it is not cooling at `now`."""
        ...

    def latency(self, endpoint_id: str) -> float | None:
        """Typical seconds to the first token, None when not known."""
        ...

    def throughput(self, endpoint_id: str) -> float | None:
        """Typical tokens per second, None when not known."""
        ...


@dataclass(frozen=True, slots=True)
class Decision:
    """Which endpoint answers and how it was chosen; both edges show it as headers.

    `ignored` names hints, and tools that providers run, that were not sent; `truncated` the items that were
    left out to fit the context. `emulated`: the answer's form was, and held to its schema here.
    """

    provider_slug: str
    provider_id: str
    model_used: str
    model_variant: str
    strategy: str
    fallback_count: int
    model_fallback_count: int
    ignored: tuple[str, ...] = ()
    truncated: tuple[str, ...] = ()
    emulated: bool = False

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Lower-case header names with ASCII values, the same for gRPC metadata and HTTP.

        A list that is too long for a header ends with a plus sign and how many more there are.
        """
        fixed = (
            ("x-provider-slug", self.provider_slug),
            ("x-provider-id", _header_value(self.provider_id)),
            ("x-model-used", _header_value(self.model_used)),
            ("x-model-variant", self.model_variant),
            ("x-routing-strategy", self.strategy),
            ("x-fallback-count", str(self.fallback_count)),
            ("x-model-fallback-count", str(self.model_fallback_count)),
        )
        if not self.ignored and not self.truncated and not self.emulated:
            return fixed
        emulated = ((STRUCTURED_OUTPUT, "emulated"),) if self.emulated else ()
        lists = (("x-ignored-parameters", self.ignored), ("x-truncated-items", self.truncated))
        return (*fixed, *emulated, *((name, _header_list(values)) for name, values in lists if values))


def _header_list(values: Sequence[str]) -> str:
    told: list[str] = []
    room = _MAX_LIST
    for value in map(_header_value, values):
        room -= len(value) + 1
        if room < 0:
            told.append(f"+{len(values) - len(told)}")
            break
        told.append(value)
    return ",".join(told)


def _header_value(text: str) -> str:
    """`text` as it is where a header can carry it, else percent-encoded: servers name models as they like."""
    return text if text.isascii() and text.isprintable() else quote(text, safe=_PLAIN)
