"""Serves Responses requests for every door: has the router run them, stores the answer and gives it.

No transport and no format of a door stands here; nor does what concerns stored responses only (`stored`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from eurouter.v1 import response_object_pb2, responses_pb2

from service.api.opened import Opened, unwritable
from service.api.responses.idempotency import Reservation, Reservations, idempotency_of, made_before
from service.api.responses.keeping import Keeper, check_key
from service.api.responses.prepare import Prepared, Preparer
from service.api.responses.replay import Replay
from service.api.responses.stored import StoredResponses, as_it_is
from service.api.responses.stream import ResponseStream
from service.api.responses.wording import reworded
from service.api.responses.writer import shown, whole
from service.coalesce import Coalescer
from service.domain.calls import CallContext
from service.domain.errors import ServiceError
from service.domain.idempotency import IdempotencyKeys, Repeated
from service.domain.money import Cost
from service.domain.routing import Decision
from service.domain.stored import ResponseStore
from service.router import Answer, Router


@dataclass(frozen=True, slots=True)
class ResponseAnswer:
    """A whole response as its caller sees it, how its endpoint was chosen, and what it costs where that is known.

    `decision` None: the same request made it before, under its idempotency key, and now it costs nothing.
    """

    response: response_object_pb2.Response
    decision: Decision | None
    cost: Cost | None = None


class ResponsesHandler:
    """Responses, whole or streamed. One per process.

    `window` gives the seconds for which a busy process may hold a stream's next read; `clock` is that of
    deadlines. A `key` is the caller's idempotency key.
    """

    def __init__(
        self,
        preparer: Preparer,
        router: Router,
        store: ResponseStore,
        keys: IdempotencyKeys,
        *,
        window: Callable[[], float] = lambda: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._preparer = preparer
        self._router = router
        self._store = store
        self._keys = keys
        self._reservations = Reservations(keys, clock)
        self._stored = StoredResponses(store)
        self._window = window

    async def create(
        self, request: responses_pb2.CreateResponseRequest, context: CallContext, key: str | None = None
    ) -> ResponseAnswer:
        """The whole response, stored before it is given.

        Raises:
            ServiceError: the request is wrong, nobody may or can serve it, every attempt failed, the answer
                could not be stored, or the key is in use or was used for another request.
        """
        begun = await self._begin(request, context, key, streaming=False)
        if isinstance(begun, Repeated):
            return ResponseAnswer(await self._made_before(begun, context), None)
        ready, reservation = begun
        try:
            try:
                answer = await self._router.call(ready.generation, ready.needs, ready.selection, context)
            except ServiceError as error:
                raise reworded(error) from error
            made = self._whole(ready, answer)
            await self._keeper(ready, context, reservation).keep(made)
        finally:
            if reservation is not None:
                await reservation.release()
        return ResponseAnswer(shown(made, ready.call.include), answer.decision, answer.cost)

    async def stream(
        self, request: responses_pb2.CreateResponseRequest, context: CallContext, key: str | None = None
    ) -> ResponseStream | Replay:
        """The streamed response, nothing sent upstream before its `start`; or what was made before under the key.

        Raises:
            ServiceError: the request is wrong, nobody may or can serve it, or the key is in use or was used for
                another request.
        """
        begun = await self._begin(request, context, key, streaming=True)
        if isinstance(begun, Repeated):
            return Replay(await self._made_before(begun, context))
        ready, reservation = begun
        try:
            return self._open(ready, context, reservation)
        except ServiceError:
            if reservation is not None:
                await reservation.release()
            raise

    def _open(self, ready: Prepared, context: CallContext, reservation: Reservation | None) -> ResponseStream:
        run = self._router.open(ready.generation, ready.needs, ready.selection, context)
        opened = Opened(run, Coalescer(run, self._window), self._preparer.settings().calls.commit_wait)
        keeper = self._keeper(ready, context, reservation)
        return ResponseStream(opened, lambda model: self._preparer.writer(ready, model), keeper)

    def _whole(self, ready: Prepared, answer: Answer) -> response_object_pb2.Response:
        try:
            return whole(
                answer.events,
                self._preparer.blank(ready, answer.endpoint.upstream_model),
                first_position=len(ready.items),
                clock=self._preparer.wall_clock,
            )
        except ValueError as error:
            raise unwritable(answer.decision) from error

    def _keeper(self, ready: Prepared, context: CallContext, reservation: Reservation | None) -> Keeper:
        owner = context.principal.owner
        return Keeper(self._store, owner, ready.call, ready.items, ready.keeping, reservation)

    async def _begin(
        self,
        request: responses_pb2.CreateResponseRequest,
        context: CallContext,
        key: str | None,
        *,
        streaming: bool,
    ) -> tuple[Prepared, Reservation | None] | Repeated:
        if key is None:
            return await self._preparer.prepare(request, context, streaming=streaming), None
        try:
            ready = await self._preparer.prepare(request, context, streaming=streaming)
            check_key(ready.call, ready.keeping)
        except ServiceError:
            # What could be made once may be refused by now, and is given again all the same.
            earlier = await made_before(self._keys, context.principal.owner, idempotency_of(key, request))
            if earlier is None:
                raise
            return earlier
        held = await self._reservations.reserve(key, request, ready.response_id, context)
        return held if isinstance(held, Repeated) else (ready, held)

    async def _made_before(self, repeated: Repeated, context: CallContext) -> response_object_pb2.Response:
        return as_it_is(await self._stored.row(repeated.response_id, context))
