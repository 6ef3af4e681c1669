"""What a request continues or refers to, read from the store: the chain before it and single items.

Knows no provider and builds no turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from eurouter.v1 import response_items_pb2 as items_pb
from eurouter.v1 import response_object_pb2, responses_pb2

from service.api.responses.ids import id_of, is_response_id, response_of_item
from service.domain.errors import Reason, ServiceError, Violation, invalid
from service.domain.preferences import OPEN, Floor
from service.domain.stored import RETRY_STORE_SECONDS, Chain, ChainEnd, ResponseStore, StoredResponse, StoreError

_FIELD: Final = "previous_response_id"
_STORE_FAILED: Final = "store_failed"
_CONTINUABLE: Final = frozenset({"completed", "incomplete"})
_MAX_REFERENCED: Final = 32


@dataclass(frozen=True, slots=True)
class ChainLimits:
    """How long a conversation may be: responses before this one, and their bytes in the store."""

    depth: int = 200
    size: int = 32 * 1024 * 1024


def unavailable(error: StoreError, *, again: bool = True) -> ServiceError:
    """What a caller is told of a database that failed; why, and which one, is for the operator: it is logged.

    `again`: the call did nothing, or does the same when it is sent again.
    """
    structlog.get_logger().warning(_STORE_FAILED, error=str(error))
    return ServiceError(
        Reason.STORE_UNAVAILABLE,
        "responses can't be stored or read now: the database failed, and the service's log says why; a request "
        "with store false and without previous_response_id needs no storage",
        retry_after=RETRY_STORE_SECONDS if again else None,
    )


def response_of(row: StoredResponse) -> responses_pb2.StoredResponseBody:
    """The stored body of a response."""
    return responses_pb2.StoredResponseBody.FromString(row.response)


def input_of(row: StoredResponse) -> list[items_pb.ResponseItem]:
    """The input items of a stored response."""
    return list(responses_pb2.StoredResponseInput.FromString(row.input).items)


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a request takes over from stored responses.

    `items`, in order or by id; the `filters` on data under which they were made; `kept_until`, Unix seconds, is
    when the first of them that is copied has to be gone, None when none is.
    """

    items: Mapping[str, items_pb.ResponseItem]
    filters: Floor = OPEN
    kept_until: int | None = None


def filters_of(body: responses_pb2.StoredResponseBody) -> Floor:
    """The filters on data under which a response was made."""
    stored = body.filters
    return Floor(
        data_residency=tuple(stored.data_residency),
        data_collection_deny=stored.data_collection_deny,
        max_retention_days=stored.max_retention_days if stored.HasField("max_retention_days") else None,
        eu_owned=stored.eu_owned,
    )


async def earlier_items(
    store: ResponseStore, owner: str, previous_id: str, limits: ChainLimits
) -> tuple[list[items_pb.ResponseItem], Floor]:
    """The items of `previous_id` and of everything before it, oldest first, and the filters that they obeyed.

    Raises:
        ServiceError: PREVIOUS_RESPONSE_NOT_FOUND, WRONG_STATE, CONVERSATION_TOO_LONG, STORE_UNAVAILABLE.
    """
    if not is_response_id(previous_id):
        raise _not_found("is not the id of a response of ours: it is resp_ and 36 hexadecimal digits")
    try:
        chain = await store.chain(owner, previous_id, max_depth=limits.depth, max_bytes=limits.size)
    except StoreError as error:
        raise unavailable(error) from error
    _judge(chain, limits)
    items: list[items_pb.ResponseItem] = []
    filters = OPEN
    for row in reversed(chain.links):
        body = response_of(row)
        items += [*input_of(row), *body.response.output]
        filters = filters_of(body)
    # The newest response's filters hold those of all before it.
    return items, filters


def _judge(chain: Chain, limits: ChainLimits) -> None:
    if not chain.links and chain.end is ChainEnd.GONE:
        raise _not_found("no such response: it was never stored, is deleted or expired, or is another owner's")
    # Even the newest one may be too large to be read.
    status = chain.links[0].status if chain.links else "completed"
    if status not in _CONTINUABLE:
        running = status in ("queued", "in_progress")
        why = f"is still {status}: wait until it ends" if running else f"is {status} and can't be continued"
        raise _problem(Reason.WRONG_STATE, why)
    match chain.end:
        case ChainEnd.COMPLETE:
            return
        case ChainEnd.GONE:
            raise _not_found(f"the conversation is not whole: what came before {chain.links[-1].id} is gone")
        case ChainEnd.TOO_DEEP:
            more = f"would bring along more than {limits.depth} responses: start anew with a summary"
        case ChainEnd.TOO_LARGE:
            more = f"would bring along more than {limits.size} bytes: start anew with a summary"
    raise _problem(Reason.CONVERSATION_TOO_LONG, more)


async def referenced_items(
    store: ResponseStore, owner: str, references: Mapping[str, str], known: Mapping[str, items_pb.ResponseItem]
) -> Earlier:
    """Items by id, for references (JSON path -> id) that `known` items don't answer; unknown ones are left out.

    Raises:
        ServiceError: INVALID_REQUEST for references into too many responses, STORE_UNAVAILABLE.
    """
    wanted = {name: response_of_item(name) for name in references.values() if name not in known}
    responses = {response for response in wanted.values() if response is not None}
    if len(responses) > _MAX_REFERENCED:
        path = next(iter(references))
        raise invalid(
            path, f"items of at most {_MAX_REFERENCED} earlier responses may be referred to in one request"
        )
    found, filters, until = dict(known), OPEN, None
    for response_id in sorted(responses):
        try:
            row = await store.get(owner, response_id)
        except StoreError as error:
            raise unavailable(error) from error
        if row is not None:
            body = response_of(row)
            found.update({id_of(item): item for item in (*input_of(row), *body.response.output)})
            filters = filters.narrowed_by(filters_of(body))
            until = body.kept_until if until is None else min(until, body.kept_until)
    return Earlier(found, filters, until)


def status_name(status: response_object_pb2.ResponseStatus.ValueType) -> str:
    """A status as the API spells it."""
    return response_object_pb2.ResponseStatus.Name(status).removeprefix("RESPONSE_STATUS_").lower()


def status_of(name: str) -> response_object_pb2.ResponseStatus.ValueType:
    """The status that the API spells so."""
    return response_object_pb2.ResponseStatus.Value(f"RESPONSE_STATUS_{name.upper()}")


def _not_found(why: str) -> ServiceError:
    return _problem(Reason.PREVIOUS_RESPONSE_NOT_FOUND, why)


def _problem(reason: Reason, why: str) -> ServiceError:
    return ServiceError(reason, f"{_FIELD}: {why}", violations=(Violation(_FIELD, why),))
