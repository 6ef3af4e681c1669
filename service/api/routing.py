"""Tells what a call would do now, without calling anyone: the same reading, selection and plan as the call's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from eurouter.v1 import chat_pb2
from eurouter.v1 import routing_pb2 as pb

from service.api.chat.call import ChatCall, ChatDraft
from service.api.chat.handler import ChatSettings, floor_for, select_for
from service.api.chat.readers import READERS
from service.api.chat.to_domain import to_domain
from service.api.preferences import from_policy, to_preferences
from service.api.problems import Problems
from service.domain.calls import CallContext, permitted
from service.domain.errors import ServiceError, Violation
from service.domain.generation import Generation
from service.domain.money import decimal_text
from service.domain.plan import no_endpoint_error
from service.domain.ports import CatalogSource
from service.domain.routing import Needs, Plan
from service.domain.selection import Selection
from service.router import Router

_OWN: Final = frozenset({"model", "models", "rule_id", "rule_name"})


class RoutingHandler:
    """Dry runs. `clock` is the router's."""

    def __init__(
        self,
        catalog: CatalogSource,
        router: Router,
        settings: Callable[[], ChatSettings] = ChatSettings,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._catalog = catalog
        self._router = router
        self._settings = settings
        self._clock = clock

    def dry_run(self, request: pb.DryRunRoutingRequest, context: CallContext) -> pb.DryRunRoutingResponse:
        """What the call would do. A call that finds no endpoint is an answer here, with its `failure_reason`.

        Raises:
            ServiceError: INVALID_REQUEST, MODEL_NOT_FOUND or RULE_NOT_FOUND, as the call would.
        """
        settings = self._settings()
        call = _call(request, settings)
        catalog = self._catalog.current()
        try:
            floor = floor_for(settings, context.principal)
            selection = select_for(call, catalog, floor, context.principal.owner)
        except ServiceError as error:
            raise _renamed(error, request) from None
        needs = permitted(call.needs, context)
        plan = self._router.plan(needs, selection, context.principal.owner)
        return self._answer(plan, needs, selection)

    def _answer(self, plan: Plan, needs: Needs, selection: Selection) -> pb.DryRunRoutingResponse:
        answer = pb.DryRunRoutingResponse(
            effective_preferences=from_policy(selection.policy),
            models=_models(plan, selection),
            strategy=plan.strategy,
        )
        if selection.rule is not None:
            answer.rule.id = selection.rule.id
            answer.rule.name = selection.rule.name
        if plan.attempts:
            first, *others = plan.attempts
            more = f", then {len(others)} more" if others else ""
            refused = f"; {len(plan.rejected)} rejected" if plan.rejected else ""
            answer.summary = f"{first.endpoint.id} would be tried first{more}{refused}{self._full(plan)}."
        else:
            error = no_endpoint_error(plan, needs, self._clock())
            answer.failure_reason = error.reason.value
            answer.summary = f"The call would fail: {error.message}."
        return answer

    def _full(self, plan: Plan) -> str:
        """Endpoints that have no room right now. They stay where they are: it is over in a moment."""
        capacity = self._router.capacity
        endpoints = (attempt.endpoint for attempt in plan.attempts)
        notes = ((e.id, capacity.busy(e)) for e in endpoints if e.concurrency is not None)
        full = [f"{name} is {note}" for name, note in notes if note is not None]
        return f"; passed over at this moment: {', '.join(full)}" if full else ""


def _call(request: pb.DryRunRoutingRequest, settings: ChatSettings) -> ChatCall:
    """The call to decide on: the request's own fields over those of the chat request in it."""
    problems = Problems()
    problems.unknown_fields(request, "")
    overrides = to_preferences(request.preference_overrides, "preference_overrides", problems)
    draft = ChatDraft(problems, settings.hint_fields)
    for field, value in request.ListFields():
        if field.name in _OWN:
            READERS[field.name](draft, value)
    problems.raise_if_any()
    if not request.HasField("request"):
        return ChatCall(generation=Generation(()), needs=Needs(), preferences=overrides, **draft.routing)
    merged = _merged(request)
    # A stream's options alone say that the request is meant for the streaming method.
    streaming = merged.stream if merged.HasField("stream") else merged.HasField("stream_options")
    return to_domain(merged, hint_fields=settings.hint_fields, streaming=streaming, prefix="request.")


def _merged(request: pb.DryRunRoutingRequest) -> chat_pb2.CreateChatCompletionRequest:
    merged = chat_pb2.CreateChatCompletionRequest()
    merged.CopyFrom(request.request)
    for field, value in request.ListFields():
        if field.name == "models":
            del merged.models[:]
            merged.models.extend(value)
        elif field.name in _OWN:
            setattr(merged, field.name, value)
    if request.HasField("preference_overrides"):
        for field, _ in request.preference_overrides.ListFields():
            merged.provider.ClearField(cast("Any", field.name))
        merged.provider.MergeFrom(request.preference_overrides)
    return merged


def _renamed(error: ServiceError, request: pb.DryRunRoutingRequest) -> ServiceError:
    """The selection's error with the paths of this request in place of a chat request's."""
    own = {field.name for field, _ in request.ListFields()}
    overridden = {field.name for field, _ in request.preference_overrides.ListFields()}
    inner = "request." if "request" in own else ""

    def path(old: str) -> str:
        head, *rest = old.split(".", 1)
        if head == "provider" and rest and rest[0].partition("[")[0] in overridden:
            return f"preference_overrides.{rest[0]}"
        return old if head.partition("[")[0] in own else inner + old

    violations = tuple(Violation(path(v.path), v.message) for v in error.violations)
    return ServiceError(error.reason, error.message, violations=violations)


def _models(plan: Plan, selection: Selection) -> list[pb.DryRunModel]:
    """One entry for each wanted model; an endpoint is rejected once, at the first mention of its model."""
    models = [pb.DryRunModel(model=item.model.id, variant=item.variant) for item in selection.wanted]
    for place, attempt in enumerate(plan.attempts, start=1):
        models[attempt.model_position].endpoints.append(
            pb.DryRunEndpoint(
                id=attempt.endpoint.id,
                provider=attempt.endpoint.provider.slug,
                position=place,
                price=decimal_text(attempt.price),
                health=attempt.health,
                ignored_parameters=attempt.ignored,
                structured_output_emulated=attempt.emulated,
            )
        )
    for rejection in plan.rejected:
        entry = next(model for model in models if model.model == rejection.model)
        entry.rejected.append(
            pb.RejectedEndpoint(
                id=rejection.endpoint.id,
                provider=rejection.endpoint.provider.slug,
                filter=rejection.filter.value,
                message=rejection.message,
            )
        )
    return models
