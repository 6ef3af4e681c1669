"""Shapes that several documents share: the strict base, references to secrets, routing preferences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.domain.preferences import Preferences
from service.domain.regions import residency_problem

INT32_MAX: Final = 2**31 - 1
"""The largest number that the API's messages hold (int32): a larger one would fail every answer that shows it."""

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]*")
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+")


class Part(BaseModel):
    """A mapping in a document: unknown keys are errors, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _reference(value: str) -> str:
    # Never repeats the value: it may be the secret itself, pasted here.
    if not _REFERENCE.fullmatch(value):
        raise ValueError(
            "must say where the secret is, as env:NAME (an environment variable) or file:PATH; "
            "the secret itself does not belong here"
        )
    return value


def _region(value: str) -> str:
    if problem := residency_problem(value):
        raise ValueError(problem)
    return value.lower()


def _slug(value: str) -> str:
    if not _SLUG.fullmatch(value):
        raise ValueError("must be small letters, digits, dots, underscores and dashes, a letter or digit first")
    return value


SecretReference = Annotated[str, AfterValidator(_reference)]
"""env:NAME or file:PATH."""

Region = Annotated[str, AfterValidator(_region)]
"""eu, eea or a country as ISO 3166-1 alpha-2."""

Slug = Annotated[str, AfterValidator(_slug)]
"""A provider's slug."""

Quantization = Literal["int4", "int8", "fp4", "fp6", "fp8", "fp16", "bf16", "fp32"]


class PreferencesPart(Part):
    """Routing preferences, with the names and meanings that they have in a request."""

    order: tuple[Slug, ...] | None = Field(default=None, description="Provider slugs to try first, in this order.")
    only: tuple[Slug, ...] | None = Field(default=None, description="Only these providers.")
    ignore: tuple[Slug, ...] | None = Field(default=None, description="Never these providers.")
    allow_fallbacks: bool | None = Field(default=None, description="Whether another endpoint may be tried.")
    sort: Literal["price", "latency", "throughput"] | None = Field(
        default=None, description="price, latency (lowest first) or throughput (highest first)."
    )
    require_parameters: bool | None = Field(
        default=None, description="Only endpoints that support every parameter that the request sets."
    )
    quantizations: tuple[Quantization, ...] | None = Field(
        default=None, description="Only endpoints that serve one of these weights."
    )
    data_collection: Literal["allow", "deny"] | None = Field(
        default=None, description="deny: only endpoints that state that they don't train on the data."
    )
    data_residency: Region | None = Field(default=None, description="Only endpoints that process in this region.")
    max_retention_days: int | None = Field(
        default=None,
        ge=0,
        le=INT32_MAX,
        description="Only endpoints that keep the data at most this many days; 0 is none at all.",
    )
    eu_owned: bool | None = Field(default=None, description="Only providers whose ultimate parent sits in the EU.")

    def slugs(self) -> Iterator[tuple[str, str]]:
        """Every provider that is named, as the key that it stands under and its slug."""
        for key in ("order", "only", "ignore"):
            for slug in getattr(self, key) or ():
                yield key, slug

    def to_domain(self) -> Preferences:
        """The same as one layer of preferences."""
        values: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        return Preferences(**values)
