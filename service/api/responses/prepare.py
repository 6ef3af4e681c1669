"""From a Responses request to what the router is asked: the same for every call, and for jobs that wait.

Nothing is sent or stored here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from eurouter.v1 import response_items_pb2 as items_pb
from eurouter.v1 import response_object_pb2, responses_pb2

from service.api.chat.handler import ChatSettings
from service.api.responses.call import ResponsesCall
from service.api.responses.echo import new_response
from service.api.responses.history import ChainLimits, Earlier, earlier_items, referenced_items
from service.api.responses.ids import as_kept, id_of, new_response_id
from service.api.responses.include import ENCRYPTED
from service.api.responses.keeping import Keeping, keeping_for
from service.api.responses.read_request import conversation, read_request
from service.api.responses.writer import ResponseWriter
from service.api.retention import check_retention
from service.domain.calls import CallContext, Principal
from service.domain.generation import Generation
from service.domain.ports import CatalogSource
from service.domain.preferences import OPEN
from service.domain.routing import Needs
from service.domain.selection import Selection, select
from service.domain.stored import ResponseStore

_NONE: Final[Mapping[str, items_pb.ResponseItem]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ResponsesSettings:
    """What operators set for responses, reloadable. `retention` in seconds; `calls` is shared with chat."""

    calls: ChatSettings = ChatSettings()
    retention: float = 30 * 86400.0
    limits: ChainLimits = ChainLimits()


@dataclass(frozen=True, slots=True)
class Chosen:
    """A request that is right by itself, and the models and policy that it means now."""

    call: ResponsesCall
    selection: Selection


@dataclass(frozen=True, slots=True)
class Asked:
    """What the router is asked, and the request's own items, references resolved, with ids as they came.

    `selection` obeys the filters of what is continued, too; `kept_until`, Unix seconds, is when an item that was
    referred to has to be gone.
    """

    generation: Generation
    needs: Needs
    items: Sequence[items_pb.ResponseItem]
    selection: Selection
    kept_until: int | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request with all that it needs to be run. `items` are its own as they are kept."""

    request: responses_pb2.CreateResponseRequest
    call: ResponsesCall
    generation: Generation
    needs: Needs
    selection: Selection
    items: Sequence[items_pb.ResponseItem]
    keeping: Keeping
    response_id: str


class Preparer:
    """Reads requests, and the stored responses that they continue or refer to. One per process.

    `wall_clock` gives Unix seconds, `new_id` 36 hexadecimal digits. `catalog`, `settings` and `wall_clock` are for
    all that works on the same requests.
    """

    def __init__(
        self,
        catalog: CatalogSource,
        store: ResponseStore,
        settings: Callable[[], ResponsesSettings] = ResponsesSettings,
        *,
        wall_clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self.catalog = catalog
        self._store = store
        self._new_id = new_id
        self.settings = settings
        self.wall_clock = wall_clock

    async def prepare(
        self,
        request: responses_pb2.CreateResponseRequest,
        context: CallContext,
        *,
        streaming: bool,
        response_id: str | None = None,
    ) -> Prepared:
        """A request that is about to begin its response. `streaming`: how its caller is answered.

        `response_id`: the response, and its items' ids, have this one, not one of ours.

        Raises:
            ServiceError: as `choose` and `converse`, or it needs storage where nothing may be stored.
        """
        chosen = self.choose(request, context.principal, streaming=streaming)
        call, retention, now = chosen.call, self.settings().retention, self.wall_clock()
        keeping = keeping_for(call, chosen.selection.policy, retention, now)
        asked = await self.converse(chosen, context.principal.owner)
        selection = asked.selection
        if selection is not chosen.selection:
            if asked.kept_until is not None:
                retention = max(1.0, min(retention, asked.kept_until - now))
            keeping = keeping_for(call, selection.policy, retention, now)
        if response_id is None:
            response_id = new_response_id(self._new_id())
        items = as_kept(asked.items, response_id)
        return Prepared(request, call, asked.generation, asked.needs, selection, items, keeping, response_id)

    def blank(self, ready: Prepared, model: str) -> response_object_pb2.Response:
        """The response before there is any output."""
        return new_response(
            ready.request,
            response_id=ready.response_id,
            created_at=int(self.wall_clock()),
            store=ready.keeping.store,
            model=model,
        )

    def writer(self, ready: Prepared, model: str) -> ResponseWriter:
        """A writer of that response."""
        return ResponseWriter(
            self.blank(ready, model),
            first_position=len(ready.items),
            clock=self.wall_clock,
            show_encrypted=ENCRYPTED in ready.call.include,
        )

    def choose(
        self, request: responses_pb2.CreateResponseRequest, principal: Principal, *, streaming: bool
    ) -> Chosen:
        """What the request asks for, as far as it says so itself. `streaming`: how its caller is answered.

        Raises:
            ServiceError: the request is wrong, or names no model of ours.
        """
        settings = self.settings()
        call = read_request(request, hint_fields=settings.calls.hint_fields, streaming=streaming)
        selection = select(
            self.catalog.current(),
            model=call.model,
            models=call.models,
            rule_id=call.rule_id,
            rule_name=call.rule_name,
            preferences=call.preferences,
            floor=settings.calls.floor.narrowed_by(principal.floor),
            owner=principal.owner,
        )
        check_retention(call.generation, selection.policy)
        return Chosen(call, selection)

    async def converse(
        self, chosen: Chosen, owner: str, known: Mapping[str, items_pb.ResponseItem] = _NONE
    ) -> Asked:
        """The whole conversation; `known` items by id answer references before the store is asked.

        Raises:
            ServiceError: what it continues or refers to is not there, too long or in the wrong state; it is no
                conversation, or asks for more than that one's filters allow; STORE_UNAVAILABLE.
        """
        call = chosen.call
        if call.previous_response_id is None and not call.references:
            generation, needs = conversation(call, (), {})
            return Asked(generation, needs, call.items, chosen.selection)
        history: list[items_pb.ResponseItem] = []
        filters = OPEN
        if call.previous_response_id is not None:
            limits = self.settings().limits
            history, filters = await earlier_items(self._store, owner, call.previous_response_id, limits)
        referenced = Earlier({})
        if call.references:
            there = {**known, **{id_of(item): item for item in history}}
            referenced = await referenced_items(self._store, owner, call.references, there)
        generation, needs = conversation(call, history, referenced.items)
        own = [
            referenced.items.get(item.item_reference.id, item) if item.HasField("item_reference") else item
            for item in call.items
        ]
        kept = replace(chosen.selection.policy, conversation=filters.narrowed_by(referenced.filters))
        check_retention(call.generation, kept)
        return Asked(generation, needs, own, replace(chosen.selection, policy=kept), referenced.kept_until)
