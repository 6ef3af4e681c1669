"""Lists models and providers for every door. Reads the catalogue only: no health, no transport."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from eurouter.v1 import catalog_pb2 as pb
from eurouter.v1 import chat_pb2

from service.api.problems import Problems, field_names
from service.domain.catalog import (
    Catalog,
    Endpoint,
    Fact,
    Facts,
    Model,
    Price,
    Provider,
    ProviderStatus,
    visible_to,
)
from service.domain.errors import Reason, ServiceError, Violation, invalid
from service.domain.fields import Field
from service.domain.money import decimal_text
from service.domain.ports import CatalogSource
from service.domain.preferences import OPEN, Preferences
from service.domain.selection import select

_DEFAULT_PAGE: Final = 100
_MAX_PAGE: Final = 1000
_API_PATHS: Final = ("/api/v1/chat/completions",)
_SPECIAL: Final = ("cache_read", "cache_write", "reasoning", "audio_input", "audio_output")
_FACTS: Final = ("regions", "retention_days", "trains_on_data", "legal_entity", "headquarters", "parent_country")
_STATUS: Final[dict[ProviderStatus, pb.ProviderStatus.ValueType]] = {
    ProviderStatus.ACTIVE: pb.PROVIDER_STATUS_ACTIVE,
    ProviderStatus.NOT_CONFIGURED: pb.PROVIDER_STATUS_NOT_CONFIGURED,
    ProviderStatus.DIALECT_MISSING: pb.PROVIDER_STATUS_DIALECT_MISSING,
    ProviderStatus.DISABLED: pb.PROVIDER_STATUS_DISABLED,
}
_REQUEST_FIELDS: Final = field_names(chat_pb2.CreateChatCompletionRequest.DESCRIPTOR)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A model as it is shown, and the parameters of each of its usable endpoints."""

    model: pb.Model
    parameters: tuple[set[str], ...]


class CatalogHandler:
    """What this service offers to everybody. Needs no key, so what is one owner's own does not exist here."""

    def __init__(self, catalog: CatalogSource) -> None:
        self._source = catalog
        self._listed: tuple[Catalog, tuple[_Listed, ...]] | None = None

    def list_models(self, request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        """A page of the models that pass the filters, by id.

        Raises:
            ServiceError: INVALID_REQUEST for a page that can't be.
        """
        problems = Problems()
        problems.unknown_fields(request, "")
        problems.raise_if_any()
        if request.page_size < 0:
            raise invalid("page_size", f"must be 0 or more; got {request.page_size}")
        size = min(request.page_size or _DEFAULT_PAGE, _MAX_PAGE)
        after = _read_token(request)
        fitting = [each.model for each in self._models() if each.model.id > after and _fits(each, request)]
        page = fitting[:size]
        token = _make_token(request, page[-1].id) if len(fitting) > size else ""
        return pb.ListModelsResponse(models=page, next_page_token=token)

    def get_model(self, request: pb.GetModelRequest) -> pb.Model:
        """The model of that id, name or alias; of an alias its first one.

        Raises:
            ServiceError: MODEL_NOT_FOUND, or INVALID_REQUEST without an id.
        """
        if not request.id:
            raise invalid("id", "is needed: a model's id, name or alias")
        catalog = self._source.current()
        try:
            found = select(
                catalog,
                model=request.id,
                models=(),
                rule_id=None,
                rule_name=None,
                preferences=Preferences(),
                floor=OPEN,
            )
        except ServiceError as error:
            if error.reason is not Reason.MODEL_NOT_FOUND:
                raise
            violations = (Violation("id", error.message),)
            raise ServiceError(error.reason, error.message, violations=violations) from None
        return _model(catalog, found.wanted[0].model)

    def list_providers(self, _request: pb.ListProvidersRequest) -> pb.ListProvidersResponse:
        """All providers that are nobody's own, by slug."""
        catalog = self._source.current()
        endpoints: dict[str, list[Endpoint]] = {}
        for model in catalog.models.values():
            for endpoint in model.endpoints:
                endpoints.setdefault(endpoint.provider.slug, []).append(endpoint)
        return pb.ListProvidersResponse(
            providers=[
                _provider(provider, endpoints.get(slug, ()))
                for slug, provider in sorted(catalog.providers.items())
                if provider.owner is None
            ]
        )

    def _models(self) -> tuple[_Listed, ...]:
        catalog = self._source.current()
        if self._listed is None or self._listed[0] is not catalog:
            listed = tuple(
                _Listed(_model(catalog, model), tuple(_parameters(e.expressible) for e in _usable(model)))
                for _, model in sorted(catalog.models.items())
                if visible_to(model, None)
            )
            self._listed = (catalog, listed)
        return self._listed[1]


def _fits(listed: _Listed, request: pb.ListModelsRequest) -> bool:
    model = listed.model
    if request.category and request.category not in model.categories:
        return False
    if request.provider and all(provider.slug != request.provider.lower() for provider in model.providers):
        return False
    wanted = set(request.supported_parameters)
    return not wanted or any(wanted <= supported for supported in listed.parameters)


def _filter_digest(request: pb.ListModelsRequest) -> str:
    filters = [request.category, list(request.supported_parameters), request.provider]
    return hashlib.sha256(orjson.dumps(filters)).hexdigest()[:16]


def _make_token(request: pb.ListModelsRequest, last: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([_filter_digest(request), last])).decode()


def _read_token(request: pb.ListModelsRequest) -> str:
    """The id after which the page begins; "" for the first page."""
    if not request.page_token:
        return ""
    try:
        value = orjson.loads(base64.b64decode(request.page_token.encode(), altchars=b"-_", validate=True))
    except ValueError:
        value = None
    match value:
        case [str(digest), str(last)] if digest == _filter_digest(request):
            return last
        case [str(), str()]:
            raise invalid("page_token", "belongs to other filters: send those of the page before")
        case _:
            raise invalid("page_token", "must be the next_page_token of the page before, or empty")


def _usable(model: Model) -> list[Endpoint]:
    """The endpoints that can be chosen, in the default order while all are healthy."""
    usable = [
        endpoint
        for endpoint in model.endpoints
        if endpoint.provider.status is ProviderStatus.ACTIVE and endpoint.provider.owner is None
    ]
    return sorted(usable, key=lambda e: (not e.price.free, e.price.blended, e.provider.slug, e.id))


def _model(catalog: Catalog, model: Model) -> pb.Model:
    usable = _usable(model)
    lengths = [endpoint.context_length for endpoint in usable if endpoint.context_length is not None]
    message = pb.Model(
        id=model.id,
        object="model",
        created=model.created,
        owned_by=model.owned_by,
        name=model.name,
        description=model.description,
        context_length=max(lengths) if lengths else None,
        architecture=pb.Architecture(
            modality=f"{'+'.join(model.input_modalities)}->{'+'.join(model.output_modalities)}",
            input_modalities=model.input_modalities,
            output_modalities=model.output_modalities,
            tokenizer=model.tokenizer,
        ),
        supported_parameters=sorted(set().union(*(_parameters(endpoint.expressible) for endpoint in usable))),
        supported_api_endpoints=_API_PATHS,
        providers=[pb.ModelProvider(name=p.name, slug=p.slug) for p in _distinct(usable)],
        categories=model.categories,
    )
    if usable:
        first = usable[0]
        message.pricing.CopyFrom(_pricing(first.price, catalog.currency))
        message.top_provider.CopyFrom(
            pb.TopProvider(context_length=first.context_length, max_completion_tokens=first.max_output_tokens)
        )
    return message


def _distinct(endpoints: Iterable[Endpoint]) -> Iterable[Provider]:
    return {endpoint.provider.slug: endpoint.provider for endpoint in endpoints}.values()


def _parameters(expressible: Iterable[Field]) -> set[str]:
    """Request fields by name: `response_format.json_schema` and `response_format` too; no parts of messages."""
    names: set[str] = set()
    for field in expressible:
        head, _, tail = field.value.partition(".")
        if head in _REQUEST_FIELDS and head != "messages" and tail != "opaque":
            names.update((field.value, head))
    if Field.MAX_OUTPUT_TOKENS in expressible:
        names.add("max_tokens")
    if Field.REASONING_EFFORT in expressible:
        names.add("reasoning_effort")
    return names


def _pricing(price: Price, currency: str) -> pb.Pricing:
    return pb.Pricing(
        prompt=decimal_text(price.prompt),
        completion=decimal_text(price.completion),
        request=decimal_text(price.request),
        image=decimal_text(price.image),
        currency=currency,
        **{name: decimal_text(stated) for name in _SPECIAL if (stated := getattr(price, name)) is not None},
    )


def _provider(provider: Provider, endpoints: Sequence[Endpoint]) -> pb.Provider:
    facts = _facts(provider.facts, Facts(), "")
    for endpoint in sorted(endpoints, key=lambda e: e.id):
        facts += _facts(endpoint.facts, provider.facts, endpoint.id)
    return pb.Provider(
        slug=provider.slug,
        name=provider.name,
        status=_STATUS[provider.status],
        status_message=provider.status_message,
        dialect=provider.dialect,
        model_count=len({endpoint.model for endpoint in endpoints}),
        facts=facts,
        simulator=provider.simulator,
    )


def _facts(facts: Facts, base: Facts, endpoint: str) -> list[pb.ProviderFact]:
    """What `facts` state otherwise than `base` does."""
    stated: list[pb.ProviderFact] = []
    for name in _FACTS:
        fact: Fact[object] | None = getattr(facts, name)
        if fact is not None and fact != getattr(base, name):
            stated.append(
                pb.ProviderFact(
                    name=name,
                    value=orjson.dumps(fact.value).decode(),
                    source=fact.source,
                    verified_on=fact.verified_on,
                    endpoint=endpoint,
                )
            )
    return stated
