"""The catalogue file as pydantic models: what a person may write. What it means is in `load`."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from adapters.catalog.address import address
from adapters.catalog.auth_part import AuthPart
from adapters.catalog.efforts_part import Efforts
from adapters.catalog.price_part import PricePart
from adapters.documents.problems import suggestion
from adapters.documents.shapes import INT32_MAX, Part, PreferencesPart, Quantization, Slug
from service.domain import fields
from service.domain.regions import residency_problem

T = TypeVar("T")

_MODEL_ID = re.compile(r"[^\s/]+/[^\s]+")
_VARIANTS = (":floor", ":nitro", ":free")


def _model_id(value: str) -> str:
    if not _MODEL_ID.fullmatch(value):
        raise ValueError("must be vendor/name, such as mistralai/mistral-large")
    return _no_variant(value)


def _no_variant(value: str) -> str:
    if value.lower().endswith(_VARIANTS):
        raise ValueError("must not end in :floor, :nitro or :free: requests use these for variants")
    return value


def _country(value: str) -> str:
    if len(value) != 2 or residency_problem(value) is not None or value.lower() == "eu":
        raise ValueError("must be a country as two letters (ISO 3166-1), such as de")
    return value.lower()


def _places(value: tuple[str, ...]) -> tuple[str, ...]:
    for place in value:
        problem = None if place.lower() == "global" else residency_problem(place)
        if problem is not None:
            raise ValueError(problem.replace('"eu", "eea" or', '"eu", "eea", "global" or'))
    return tuple(place.lower() for place in value)


def _known_field(value: Any) -> Any:
    if isinstance(value, str) and value not in {f.value for f in fields.Field}:
        near = suggestion(value, [f.value for f in fields.Field])
        raise ValueError(f"'{value}' is not a request field{near}")
    return value


def _version(value: Any) -> Any:
    # YAML reads 2024-10-21 as a day.
    return value.isoformat() if isinstance(value, date) else value


RequestField = Annotated[fields.Field, BeforeValidator(_known_field)]
Modality = Literal["text", "image", "audio", "file", "video"]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class FactPart(Part, Generic[T]):
    """A statement, where it is written and when that was read."""

    value: T = Field(description="What is stated.")
    source: str = Field(min_length=1, description="Where: an address or a document's name.")
    verified_on: date = Field(description="The day on which somebody read it there.")


class FactsPart(Part):
    """Facts that filters go by. One that is left out fails the filter that asks for it."""

    regions: FactPart[Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_places)]] | None = Field(
        default=None,
        description="Every place where processing may happen: countries as two letters, eu or eea for "
        "somewhere inside, global for anywhere. eu satisfies no single country, global satisfies nothing.",
    )
    # Strict: YAML's `no` is false, and false read as a number would be zero retention.
    retention_days: FactPart[Annotated[int, Field(ge=0, strict=True)]] | None = Field(
        default=None, description="For how many days prompts and answers are kept; 0 is not at all."
    )
    trains_on_data: FactPart[Annotated[bool, Field(strict=True)]] | None = Field(
        default=None, description="Whether models may be trained on prompts and answers."
    )
    legal_entity: FactPart[str] | None = Field(default=None, description="The company that the contract is with.")
    headquarters: FactPart[Annotated[str, AfterValidator(_country)]] | None = Field(
        default=None, description="That company's country, as two letters."
    )
    parent_country: FactPart[Annotated[str, AfterValidator(_country)]] | None = Field(
        default=None, description="The ultimate parent's country, as two letters: what eu_owned goes by."
    )


class QuirksPart(Part):
    """How a provider's wire differs from its dialect's."""

    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = Field(
        default="max_completion_tokens", description="The provider's name of the output limit."
    )
    reasoning_style: Literal["reasoning_effort", "reasoning_object", "none"] = Field(
        default="reasoning_effort",
        description="Where the effort goes: the field reasoning_effort, inside a `reasoning` object, or "
        "nowhere (requests that set it then go elsewhere).",
    )
    system_role: Literal["system", "developer"] | None = Field(
        default=None, description="The role that system and developer turns are sent as; left out, the caller's."
    )
    stream_usage: bool = Field(default=True, description="Whether it understands stream_options.include_usage.")
    max_stop: int = Field(default=4, ge=0, le=64, description="How many stop sequences it takes.")
    api_version: Annotated[str | None, BeforeValidator(_version)] = Field(
        default=None,
        pattern=r"^\d{4}-\d{2}-\d{2}(-preview)?$",
        description="Azure: a dated version such as 2024-10-21, with the resource's address as base_url; left "
        "out, the API without versions, whose base_url ends in /openai/v1.",
    )
    path: str | None = Field(
        default=None, pattern=r"^/", description="Replaces the dialect's path below base_url, such as /chat."
    )
    headers: dict[str, str] = Field(default_factory=dict, description="Sent with every call; no secrets here.")


class TimeoutsPart(Part):
    """Limits of one call to the provider, in seconds; what is left out is taken from the settings."""

    connect: Seconds | None = Field(default=None, description="Until connected.")
    first_byte: Seconds | None = Field(
        default=None, description="From the request's end to the answer's first byte."
    )
    idle: Seconds | None = Field(default=None, description="Between two reads of the answer.")
    total: Seconds | None = Field(default=None, description="The whole call.")


class ProviderPart(Part):
    """Someone who serves models. Slug, dialect and base_url are enough for a server of your own."""

    slug: Slug = Field(description="The name that requests use.")
    dialect: str = Field(min_length=1, description="Its wire format, such as openai_chat or anthropic.")
    base_url: Annotated[str, AfterValidator(address)] = Field(
        description="The address that the dialect's paths are appended to, such as https://api.example.com/v1."
    )
    name: str | None = Field(default=None, description="A name for people; left out, the slug.")
    id: str | None = Field(default=None, description="What the header x-provider-id shows; left out, the slug.")
    disabled: bool = Field(default=False, description="Listed, never chosen.")
    auth: AuthPart | None = Field(default=None, description="How to authenticate; left out, not at all.")
    facts: FactsPart = Field(default_factory=FactsPart, description="What is known about it.")
    discover: bool = Field(
        default=False,
        description="Ask its /models which models it serves, at the start and every few minutes, and offer "
        "those beside the ones listed below.",
    )
    price: PricePart | None = Field(
        default=None,
        description="The price of endpoints that state none, discovered ones too. Left out, they are free "
        "without `auth`; with `auth` each needs its own.",
    )
    # Strict: YAML's `yes` is true, and true read as a number would be one call at a time.
    concurrency: int | None = Field(
        default=None,
        ge=1,
        strict=True,
        description="How many calls each of its endpoints bears at a time, discovered ones too, where the "
        "endpoint says nothing else.",
    )
    owner: str | None = Field(
        default=None,
        description="Set when the account belongs to one owner: only this owner's calls go there, and nobody else "
        "is told of models that only it serves.",
    )
    ours: bool = Field(
        default=False,
        description="Whether you run it yourself: only then it gets the request id and the trace context of calls "
        "(x-request-id, traceparent, tracestate), which callers choose and others have no use for.",
    )
    refuses: frozenset[RequestField] = Field(
        default=frozenset(), description="Request fields that it rejects although its dialect could say them."
    )
    emulates: frozenset[Literal["response_format.json_schema"]] = Field(
        default=frozenset(),
        description="Request fields that may be [emulated](structured-output.md) there for every caller.",
    )
    passthrough: frozenset[str] = Field(
        default=frozenset(),
        description="Top-level fields without a name of ours that are sent on to it as they are.",
    )
    quirks: QuirksPart = Field(default_factory=QuirksPart, description="How its wire differs.")
    timeouts: TimeoutsPart = Field(default_factory=TimeoutsPart, description="Its own time limits.")
    simulator: bool = Field(default=False, description="Whether it is the simulator that runs no model.")


class EndpointPart(Part):
    """The model at one provider."""

    provider: Slug = Field(description="The provider's slug.")
    model: str | None = Field(
        default=None, min_length=1, description="The provider's name of the model; left out, what follows vendor/."
    )
    name: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        description="Tells endpoints apart when one provider has several for the model.",
    )
    price: PricePart | None = Field(
        default=None, description="Its price; may be left out where the provider states one or needs no `auth`."
    )
    quantization: Quantization | None = Field(default=None, description="The weights that it serves.")
    context_length: int | None = Field(default=None, ge=1, le=INT32_MAX, description="Its context in tokens.")
    max_output_tokens: int | None = Field(
        default=None,
        ge=1,
        le=INT32_MAX,
        description="Its longest answer in tokens; requests that allow a longer one go elsewhere.",
    )
    # Strict: YAML's `yes` is true, and true read as a number would be one call at a time.
    concurrency: int | None = Field(
        default=None,
        ge=1,
        strict=True,
        description="How many calls it bears at a time; left out, what the provider says, else nobody counts. "
        "See [above](#how-many-calls-at-a-time).",
    )
    facts: FactsPart = Field(default_factory=FactsPart, description="Facts that differ from the provider's.")
    efforts: Efforts | None = Field(
        default=None, description="In place of the model's `efforts`; {} for what the wire format does by itself."
    )
    refuses: frozenset[RequestField] = Field(
        default=frozenset(), description="Request fields that this endpoint rejects."
    )


class ModelPart(Part):
    """A model under the name that requests use."""

    id: Annotated[str, AfterValidator(_model_id)] = Field(
        description="vendor/name. The part after vendor/ works in requests too, as long as it is unambiguous."
    )
    endpoints: tuple[EndpointPart, ...] = Field(min_length=1, description="Who serves it.")
    name: str | None = Field(default=None, description="A name for people; left out, the id.")
    description: str = Field(default="", description="What it is, in a sentence.")
    created: date | None = Field(default=None, description="When it came out.")
    owned_by: str | None = Field(default=None, description="Its vendor; left out, the id's first part.")
    categories: tuple[str, ...] = Field(default=(), description="Labels to filter by, such as programming.")
    input_modalities: tuple[Modality, ...] = Field(default=("text",), min_length=1, description="What it reads.")
    output_modalities: tuple[Modality, ...] = Field(default=("text",), min_length=1, description="What it writes.")
    tokenizer: str = Field(default="", description="The tokenizer's family.")
    refuses: frozenset[RequestField] = Field(
        default=frozenset(), description="Request fields that the model can't take, whoever serves it."
    )
    efforts: Efforts = Field(
        default_factory=dict,
        description="What it takes for each reasoning effort of a request: the provider's word, or the most "
        "tokens of reasoning as a number, 0 for none. See [above](#reasoning-efforts).",
    )


class AliasPart(Part):
    """A name that stands for models and preferences."""

    name: Annotated[str, AfterValidator(_no_variant)] = Field(
        min_length=1, pattern=r"^\S+$", description="The name that requests use."
    )
    models: tuple[str, ...] = Field(min_length=1, description="Models in their order of fallback.")
    provider: PreferencesPart = Field(
        default_factory=PreferencesPart, description="Preferences that apply where the request sets none."
    )


class CatalogDocument(Part):
    """The catalogue."""

    currency: str = Field(
        default="EUR", pattern=r"^[A-Z]{3}$", description="ISO 4217 code that prices are compared in."
    )
    exchange_rates: dict[str, Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description="What one unit of another currency is worth in `currency`, such as USD: 0.86.",
    )
    providers: tuple[ProviderPart, ...] = Field(default=(), description="Who serves models.")
    models: tuple[ModelPart, ...] = Field(default=(), description="The models.")
    aliases: tuple[AliasPart, ...] = Field(default=(), description="Further names.")
