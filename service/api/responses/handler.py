"""Serves Responses requests for every door: has the router run them, stores the answer and gives it.

No transport and no format of a door stands here; nor does what concerns stored responses only (`stored`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from eurouter.v1 import response_object_pb2, responses_pb2

from service.api.opened import Opened, unwritable
from service.api.responses.keeping import Keeper
from service.api.responses.prepare import Prepared, Preparer
from service.api.responses.stream import ResponseStream
from service.api.responses.wording import reworded
from service.api.responses.writer import shown, whole
from service.coalesce import Coalescer
from service.domain.calls import CallContext
from service.domain.errors import ServiceError
from service.domain.routing import Decision
from service.domain.stored import ResponseStore
from service.router import Router


@dataclass(frozen=True, slots=True)
class ResponseAnswer:
    """A whole response as its caller sees it, and how its endpoint was chosen."""

    response: response_object_pb2.Response
    decision: Decision


class ResponsesHandler:
    """Responses, whole or streamed. One per process.

    `window` gives the seconds for which a busy process may hold a stream's next read.
    """

    def __init__(
        self,
        preparer: Preparer,
        router: Router,
        store: ResponseStore,
        *,
        window: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._preparer = preparer
        self._router = router
        self._store = store
        self._window = window

    async def create(self, request: responses_pb2.CreateResponseRequest, context: CallContext) -> ResponseAnswer:
        """The whole response, stored before it is given.

        Raises:
            ServiceError: the request is wrong, nobody may or can serve it, every attempt failed, or the answer
                could not be stored.
        """
        ready = await self._preparer.prepare(request, context, streaming=False)
        try:
            answer = await self._router.call(ready.generation, ready.needs, ready.selection, context)
        except ServiceError as error:
            raise reworded(error) from error
        try:
            made = whole(
                answer.events,
                self._preparer.blank(ready, answer.endpoint.upstream_model),
                first_position=len(ready.items),
                clock=self._preparer.wall_clock,
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
        ready = await self._preparer.prepare(request, context, streaming=True)
        run = self._router.open(ready.generation, ready.needs, ready.selection, context)
        opened = Opened(run, Coalescer(run, self._window), self._preparer.settings().calls.commit_wait)
        return ResponseStream(
            opened, lambda model: self._preparer.writer(ready, model), self._keeper(ready, context)
        )

    def _keeper(self, ready: Prepared, context: CallContext) -> Keeper:
        return Keeper(self._store, context.principal.owner, ready.call, ready.items, ready.keeping)
