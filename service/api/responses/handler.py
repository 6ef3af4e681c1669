"""Serves Responses requests for every door: reads the request, has the router run it, stores and gives the answer.

No transport and no format of a door stands here; nor does what concerns stored responses only (`stored`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eurouter.v1 import response_items_pb2 as items_pb
from eurouter.v1 import response_object_pb2, responses_pb2

from service.api.chat.handler import ChatSettings
from service.api.opened import Opened, unwritable
from service.api.responses.call import ResponsesCall
from service.api.responses.echo import new_response
from service.api.responses.history import ChainLimits, earlier_items, referenced_items
from service.api.responses.ids import as_kept, id_of, new_response_id
from service.api.responses.include import ENCRYPTED
from service.api.responses.keeping import Keeper, Keeping, keeping_for
from service.api.responses.read_request import conversation, read_request
from service.api.responses.stream import ResponseStream
from service.api.responses.writer import ResponseWriter, shown, whole
from service.coalesce import Coalescer
from service.domain.calls import CallContext
from service.domain.errors import Reason, ServiceError, Violation
from service.domain.generation import Generation
from service.domain.ports import CatalogSource
from service.domain.routing import Decision, Needs
from service.domain.selection import Selection, select
from service.domain.stored import ResponseStore
from service.router import Router


@dataclass(frozen=True, slots=True)
class ResponsesSettings:
    """What operators set for responses, reloadable. `retention` in seconds; `calls` is shared with chat."""

    calls: ChatSettings = ChatSettings()
    retention: float = 30 * 86400.0
    limits: ChainLimits = ChainLimits()


@dataclass(frozen=True, slots=True)
class ResponseAnswer:
    """A whole response as its caller sees it, and how its endpoint was chosen."""

    response: response_object_pb2.Response
    decision: Decision


@dataclass(frozen=True, slots=True)
class _Ready:
    """A request with all that it needs to be run."""

    call: ResponsesCall
    generation: Generation
    needs: Needs
    selection: Selection
    items: list[items_pb.ResponseItem]
    keeping: Keeping
    response_id: str


class ResponsesHandler:
    """Responses, whole or streamed. One per process.

    `wall_clock` gives Unix seconds, `new_id` 36 hexadecimal digits, `window` the seconds for which a busy
    process may hold a stream's next read.
    """

    def __init__(
        self,
        catalog: CatalogSource,
        router: Router,
        store: ResponseStore,
        settings: Callable[[], ResponsesSettings] = ResponsesSettings,
        *,
        wall_clock: Callable[[], float],
        new_id: Callable[[], str],
        window: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._catalog = catalog
        self._router = router
        self._store = store
        self._settings = settings
        self._wall_clock = wall_clock
        self._new_id = new_id
        self._window = window

    async def create(self, request: responses_pb2.CreateResponseRequest, context: CallContext) -> ResponseAnswer:
        """The whole response, stored before it is given.

        Raises:
            ServiceError: the request is wrong, nobody may or can serve it, every attempt failed, or the answer
                could not be stored.
        """
        ready = await self._prepare(request, context, streaming=False)
        answer = await self._router.call(ready.generation, ready.needs, ready.selection, context)
        try:
            made = whole(
                answer.events,
                self._blank(request, ready, answer.endpoint.upstream_model),
                first_position=len(ready.items),
                clock=self._wall_clock,
            )
        except ValueError as error:
            raise unwritable(answer.decision) from error
        await self._keeper(ready, context).keep(made)
        return ResponseAnswer(shown(made, ready.call.include), answer.decision)

    async def stream(self, request: responses_pb2.CreateResponseRequest, context: CallContext) -> ResponseStream:
        """The streamed response; nothing is sent upstream before its `start`.

        Raises:
            ServiceError: the request is wrong, or nobody may or can serve it.
        """
        ready = await self._prepare(request, context, streaming=True)
        run = self._router.open(ready.generation, ready.needs, ready.selection, context)

        def writer(model: str) -> ResponseWriter:
            return ResponseWriter(
                self._blank(request, ready, model),
                first_position=len(ready.items),
                clock=self._wall_clock,
                show_encrypted=ENCRYPTED in ready.call.include,
            )

        opened = Opened(run, Coalescer(run, self._window), self._settings().calls.commit_wait)
        return ResponseStream(opened, writer, self._keeper(ready, context))

    async def _prepare(
        self, request: responses_pb2.CreateResponseRequest, context: CallContext, *, streaming: bool
    ) -> _Ready:
        settings = self._settings()
        call = read_request(request, hint_fields=settings.calls.hint_fields, streaming=streaming)
        _refuse_background(call)
        selection = select(
            self._catalog.current(),
            model=call.model,
            models=call.models,
            rule_id=call.rule_id,
            rule_name=call.rule_name,
            preferences=call.preferences,
            floor=settings.calls.floor.narrowed_by(context.principal.floor),
        )
        keeping = keeping_for(call, selection.policy, settings.retention)
        owner = context.principal.owner
        history: list[items_pb.ResponseItem] = []
        if call.previous_response_id is not None:
            history = await earlier_items(self._store, owner, call.previous_response_id, settings.limits)
        referenced: dict[str, items_pb.ResponseItem] = {}
        if call.references:
            known = {id_of(item): item for item in history}
            referenced = await referenced_items(self._store, owner, call.references, known)
        generation, needs = conversation(call, history, referenced)
        response_id = new_response_id(self._new_id())
        own = [
            referenced.get(item.item_reference.id, item) if item.HasField("item_reference") else item
            for item in call.items
        ]
        return _Ready(call, generation, needs, selection, as_kept(own, response_id), keeping, response_id)

    def _blank(
        self, request: responses_pb2.CreateResponseRequest, ready: _Ready, model: str
    ) -> response_object_pb2.Response:
        return new_response(
            request,
            response_id=ready.response_id,
            created_at=int(self._wall_clock()),
            store=ready.keeping.store,
            model=model,
        )

    def _keeper(self, ready: _Ready, context: CallContext) -> Keeper:
        return Keeper(self._store, context.principal.owner, ready.call, ready.items, ready.keeping)


def _refuse_background(call: ResponsesCall) -> None:
    if call.background:
        why = "is not offered by this version: leave it out and wait for the answer, streamed if it is long"
        raise ServiceError(
            Reason.UNSUPPORTED_FIELD, f"background: {why}", violations=(Violation("background", why),)
        )
