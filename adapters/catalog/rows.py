"""Single parts of the catalogue file as single rows of the domain. No lookups across the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from adapters.catalog.auth_part import auth_of
from adapters.catalog.price_part import PricePart
from adapters.catalog.schema import (
    AliasPart,
    EndpointPart,
    FactsPart,
    ModelPart,
    ProviderPart,
    TimeoutsPart,
)
from service.domain.catalog import (
    Alias,
    AnyAuth,
    Effort,
    Endpoint,
    Fact,
    Facts,
    Model,
    Price,
    Provider,
    ProviderStatus,
    Quirks,
    Timeouts,
)
from service.domain.fields import Field

_TOKENS_PER_PRICE: Final = 6
"""Decimal places between a price per million tokens and one per token."""

_NEEDS_INPUT: Final[Mapping[Field, str]] = {
    Field.IMAGE_INPUT: "image",
    Field.IMAGE_URL: "image",
    Field.IMAGE_DETAIL: "image",
    Field.AUDIO_INPUT: "audio",
    Field.FILE_INPUT: "file",
    Field.FILE_URL: "file",
}
_NEEDS_OUTPUT: Final[Mapping[Field, str]] = {Field.AUDIO_OUTPUT: "audio", Field.AUDIO_HISTORY: "audio"}


def provider_row(
    part: ProviderPart, *, dialect_built: bool, is_configured: Callable[[str], bool], timeouts: Timeouts
) -> Provider:
    """A provider with its status: whether it may be chosen, and if not one sentence on what to do."""
    auth = auth_of(part.auth, part.base_url)
    status, message = _status(part, auth, dialect_built, is_configured)
    quirks = part.quirks
    return Provider(
        slug=part.slug,
        name=part.name or part.slug,
        dialect=part.dialect,
        base_url=part.base_url,
        id=part.id or part.slug,
        auth=auth,
        facts=facts_of(part.facts),
        status=status,
        status_message=message,
        owner=part.owner,
        ours=part.ours,
        refuses=part.refuses,
        emulates=frozenset(map(Field, part.emulates)),
        passthrough=part.passthrough,
        quirks=Quirks(
            max_tokens_field=quirks.max_tokens_field,
            reasoning_style=quirks.reasoning_style,
            system_role=quirks.system_role,
            stream_usage=quirks.stream_usage,
            max_stop=quirks.max_stop,
            api_version=quirks.api_version,
            path=quirks.path,
            headers=tuple((name.lower(), value) for name, value in quirks.headers.items()),
        ),
        timeouts=timeouts_of(part.timeouts, timeouts),
        simulator=part.simulator,
    )


def _status(
    part: ProviderPart, auth: AnyAuth, dialect_built: bool, is_configured: Callable[[str], bool]
) -> tuple[ProviderStatus, str]:
    if part.disabled:
        return ProviderStatus.DISABLED, "Switched off in the catalogue (disabled: true)."
    if not dialect_built:
        return ProviderStatus.DIALECT_MISSING, f"Its wire format {part.dialect} is not built yet."
    missing = [_how_to_configure(each) for each in auth.references if not is_configured(each)]
    if missing:
        return ProviderStatus.NOT_CONFIGURED, f"Its key is missing: {' and '.join(missing)}."
    return ProviderStatus.ACTIVE, ""


def _how_to_configure(reference: str) -> str:
    kind, _, name = reference.partition(":")
    return f"set the environment variable {name}" if kind == "env" else f"put it into the file {name}"


def timeouts_of(part: TimeoutsPart, defaults: Timeouts) -> Timeouts:
    """A provider's own limits over the defaults."""
    return Timeouts(
        connect=part.connect or defaults.connect,
        first_byte=part.first_byte or defaults.first_byte,
        idle=part.idle or defaults.idle,
        total=part.total or defaults.total,
    )


def facts_of(part: FactsPart) -> Facts:
    """Facts with their source and day."""
    stated: dict[str, Any] = {}
    for name in type(part).model_fields:
        fact = getattr(part, name)
        if fact is not None:
            stated[name] = Fact(fact.value, fact.source, fact.verified_on.isoformat())
    return Facts(**stated)


def price_of(part: PricePart | None, currency: str, rates: Mapping[str, Decimal]) -> Price:
    """Prices per token in the catalogue's currency; no part is free. The currency must be one of `rates`."""
    if part is None:
        return Price(currency=currency)
    rate = Decimal(1) if part.currency in (None, currency) else rates[part.currency or currency]

    def per_token(listed: Decimal) -> Decimal:
        return (listed * rate).scaleb(-_TOKENS_PER_PRICE).normalize()

    def special(listed: Decimal | None) -> Decimal | None:
        return None if listed is None else per_token(listed)

    return Price(
        prompt=per_token(part.prompt),
        completion=per_token(part.completion),
        request=(part.request * rate).normalize(),
        image=(part.image * rate).normalize(),
        cache_read=special(part.cache_read),
        cache_write=special(part.cache_write),
        reasoning=special(part.reasoning),
        audio_input=special(part.audio_input),
        audio_output=special(part.audio_output),
        currency=currency,
    )


def expressible_of(
    dialect: frozenset[Field],
    provider: Provider,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    *refuses: frozenset[Field],
) -> frozenset[Field]:
    """The dialect's fields less what the provider, the model and the endpoint rule out."""
    ruled_out = {f for f, modality in _NEEDS_INPUT.items() if modality not in inputs}
    ruled_out |= {f for f, modality in _NEEDS_OUTPUT.items() if modality not in outputs}
    return dialect.difference(provider.refuses, ruled_out, *refuses)


def efforts_of(model: ModelPart | None, endpoint: EndpointPart | None = None) -> Mapping[str, Effort]:
    """What an endpoint takes for each reasoning effort: its own table in place of the model's."""
    own = endpoint.efforts if endpoint is not None else None
    table = own if own is not None else model.efforts if model is not None else {}
    return MappingProxyType(
        {name: Effort(level=to) if isinstance(to, str) else Effort(budget=to) for name, to in table.items()}
    )


def model_row(part: ModelPart, endpoints: tuple[Endpoint, ...]) -> Model:
    """A model with its endpoints."""
    created = datetime.combine(part.created, time(), UTC) if part.created else None
    return Model(
        id=part.id,
        endpoints=endpoints,
        name=part.name or part.id,
        description=part.description,
        created=int(created.timestamp()) if created else 0,
        owned_by=part.owned_by or part.id.partition("/")[0],
        categories=part.categories,
        input_modalities=part.input_modalities,
        output_modalities=part.output_modalities,
        tokenizer=part.tokenizer,
    )


def alias_of(part: AliasPart) -> Alias:
    """An alias as written; that its models exist was checked before."""
    return Alias(name=part.name, models=part.models, preferences=part.provider.to_domain())
