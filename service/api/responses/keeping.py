"""Whether a response is kept, for how long, and the one write that does it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from eurouter.v1 import response_items_pb2 as items_pb
from eurouter.v1 import response_object_pb2 as object_pb
from eurouter.v1 import responses_pb2

from service.api.responses.call import ResponsesCall
from service.api.responses.history import status_name, unavailable
from service.api.responses.idempotency import FIELD, Reservation, lost
from service.api.retention import limit_of, needs_nothing, needs_storage
from service.domain.errors import Violation, invalid
from service.domain.idempotency import KeyLostError
from service.domain.preferences import OPEN, Floor, Policy
from service.domain.stored import NewResponse, ResponseStore, StoreError

_DAY: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Keeping:
    """`store`: whether a response is kept; `retention`: for how many seconds, until `until` (Unix seconds).

    `filters` are those on data under which it is made: what continues it obeys them.
    """

    store: bool
    retention: float
    until: int = 0
    filters: Floor = OPEN


def keeping_for(call: ResponsesCall, policy: Policy, retention: float, now: float) -> Keeping:
    """What the request, the operator's policy and its own max_retention_days make of `store`.

    The days bind this service as they bind providers: a response is deleted here after them at the latest, and
    with 0 nothing is written. `retention` is what settings give a response, in seconds, `now` is Unix time.

    Raises:
        ServiceError: INVALID_REQUEST for what needs storage where nothing may be stored.
    """
    filters = policy.data_filters
    if filters.max_retention_days == 0:
        _refuse_storage(call, policy)
        return Keeping(store=False, retention=0.0)
    return _kept(filters, retention, now, store=call.store is not False)


def keeping_for_chat(policy: Policy, retention: float, now: float) -> Keeping:
    """The same of a chat request that is a job: it is kept in any case, its own `store` is about the provider.

    Raises:
        ServiceError: INVALID_REQUEST where nothing may be stored.
    """
    filters = policy.data_filters
    if filters.max_retention_days == 0:
        zero = "is 0" if policy.preferences.max_retention_days == 0 else "is 0 by the operator's word"
        raise invalid(
            "provider.max_retention_days",
            f"{zero}, which keeps nothing, and what is made in the background has to be kept until it is fetched: "
            "send the request in the foreground",
        )
    return _kept(filters, retention, now, store=True)


def _kept(filters: Floor, retention: float, now: float, *, store: bool) -> Keeping:
    if filters.max_retention_days is not None:
        retention = min(retention, filters.max_retention_days * _DAY)
    return Keeping(store, retention, int(now + retention), filters)


def _refuse_storage(call: ResponsesCall, policy: Policy) -> None:
    asked = {
        "store": call.store is True,
        "background": call.background,
        "previous_response_id": call.previous_response_id is not None,
    }
    limit, by_caller = limit_of(policy, 0)
    fields = [name for name, is_set in asked.items() if is_set]
    if not fields:
        return
    more: Sequence[Violation] = [Violation(name, _beside(name, limit)) for name in fields[1:]]
    if by_caller:
        more = [*more, Violation(limit, needs_nothing(0, ", ".join(fields)))]
    raise invalid(fields[0], _beside(fields[0], limit), *more)


def _beside(name: str, limit: str) -> str:
    return needs_storage({"store": "true", "background": "true"}.get(name, ""), limit, 0)


def check_key(call: ResponsesCall, keeping: Keeping) -> None:
    """An idempotency key means that the same response is given again.

    Raises:
        ServiceError: INVALID_REQUEST for one that is not kept.
    """
    if not keeping.store:
        cause = "store is false" if call.store is False else "max_retention_days is 0: nothing is kept"
        raise invalid(FIELD, f"needs a stored response to give again, and {cause}; leave one of them out")


def body_for(
    response: object_pb.Response, include: Collection[str], keeping: Keeping
) -> responses_pb2.StoredResponseBody:
    """The response as it stands in the database, with what has to be known of it later."""
    filters = keeping.filters
    return responses_pb2.StoredResponseBody(
        response=response,
        include=sorted(include),
        filters=responses_pb2.DataFilters(
            data_residency=filters.data_residency,
            data_collection_deny=filters.data_collection_deny,
            max_retention_days=filters.max_retention_days,
            eu_owned=filters.eu_owned,
        ),
        kept_until=keeping.until,
    )


class Keeper:
    """Stores one response, if it is to be kept, and with it the key that is reserved for it.

    A response that failed has no key: the same request under it asks anew.
    """

    def __init__(
        self,
        store: ResponseStore,
        owner: str,
        call: ResponsesCall,
        items: Sequence[items_pb.ResponseItem],
        keeping: Keeping,
        reservation: Reservation | None = None,
    ) -> None:
        self.reservation = reservation
        self._store = store
        self._owner = owner
        self._call = call
        self._items = items
        self._keeping = keeping

    async def keep(self, response: object_pb.Response) -> None:
        """Returns when the response can be read by its id; at once when it is not to be kept.

        Raises:
            ServiceError: STORE_UNAVAILABLE, or IDEMPOTENCY_IN_PROGRESS when another call has the key by now.
        """
        if not self._keeping.store:
            return
        reservation = self.reservation
        body = body_for(response, self._call.include, self._keeping)
        own_input = responses_pb2.StoredResponseInput(items=self._items)
        new = NewResponse(
            id=response.id,
            owner=self._owner,
            previous_id=self._call.previous_response_id,
            status=status_name(response.status),
            response=body.SerializeToString(),
            input=own_input.SerializeToString(),
            retention=self._keeping.retention,
        )
        try:
            if reservation is None:
                await self._store.insert(new)
            elif response.status == object_pb.RESPONSE_STATUS_FAILED:
                await self._store.insert(new)
                await reservation.release()
            else:
                await self._store.insert(new, reservation.idempotency)
                reservation.kept()
        except StoreError as error:
            # The model was asked: to send it again would be to ask once more.
            raise unavailable(error, again=False) from error
        except KeyLostError:
            raise lost() from None
