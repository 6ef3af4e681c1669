"""Reads, lists and deletes stored responses. Making them is `handler`'s."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from eurouter.v1 import response_items_pb2 as items_pb
from eurouter.v1 import response_object_pb2
from eurouter.v1 import responses_pb2 as pb

from service.api.problems import shown as quoted
from service.api.responses.history import input_of, response_of, status_name, status_of, unavailable
from service.api.responses.ids import id_of, is_response_id
from service.api.responses.include import ENCRYPTED
from service.api.responses.read_request import check_include
from service.api.responses.sealed import show_proof
from service.api.responses.writer import shown
from service.domain.calls import CallContext
from service.domain.errors import Reason, ServiceError, Violation, invalid
from service.domain.stored import ResponseStore, StoredResponse, StoreError

_DEFAULT_PAGE: Final = 20
_MAX_PAGE: Final = 100


class StoredResponses:
    """The owner's stored responses. Those of others, deleted and expired ones don't exist."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    async def get(self, request: pb.GetResponseRequest, context: CallContext) -> response_object_pb2.Response:
        """A response as it was given, with what the request's or its own `include` names.

        Raises:
            ServiceError: RESPONSE_NOT_FOUND, INVALID_REQUEST, STORE_UNAVAILABLE.
        """
        check_include(request.include)
        row = await self.row(request.response_id, context)
        return as_it_is(row, request.include)

    async def delete(self, request: pb.DeleteResponseRequest, context: CallContext) -> pb.DeleteResponseResponse:
        """Deletes a response, its input included.

        Raises:
            ServiceError: RESPONSE_NOT_FOUND, STORE_UNAVAILABLE.
        """
        response_id = request.response_id
        try:
            found = is_response_id(response_id) and await self._store.delete(context.principal.owner, response_id)
        except StoreError as error:
            raise unavailable(error) from error
        if not found:
            raise _not_found(response_id)
        return pb.DeleteResponseResponse(id=response_id, object="response", deleted=True)

    async def input_items(
        self, request: pb.ListInputItemsRequest, context: CallContext
    ) -> pb.ListInputItemsResponse:
        """A page of the items that a response was asked with.

        Raises:
            ServiceError: RESPONSE_NOT_FOUND, INVALID_REQUEST, STORE_UNAVAILABLE.
        """
        check_include(request.include)
        limit = request.limit if request.HasField("limit") else _DEFAULT_PAGE
        if not 1 <= limit <= _MAX_PAGE:
            raise invalid("limit", f"must be 1 to {_MAX_PAGE}; got {limit}")
        order = request.order if request.HasField("order") else "desc"
        if order not in ("asc", "desc"):
            raise invalid("order", f"must be asc or desc; got {quoted(order)}")
        items = input_of(await self.row(request.response_id, context))
        if order == "desc":
            items.reverse()
        if request.HasField("after"):
            items = items[_place(items, "after", request.after) + 1 :]
        if request.HasField("before"):
            items = items[: _place(items, "before", request.before)]
        return _page(items, limit, request.include)

    async def row(self, response_id: str, context: CallContext) -> StoredResponse:
        """A response's row.

        Raises:
            ServiceError: RESPONSE_NOT_FOUND, STORE_UNAVAILABLE.
        """
        row = None
        if is_response_id(response_id):
            try:
                row = await self._store.get(context.principal.owner, response_id)
            except StoreError as error:
                raise unavailable(error) from error
        if row is None:
            raise _not_found(response_id)
        return row


def _place(items: Sequence[items_pb.ResponseItem], field: str, wanted: str) -> int:
    for place, item in enumerate(items):
        if id_of(item) == wanted:
            return place
    raise invalid(field, f"must be the id of an item of this list; got {quoted(wanted)}")


def _page(
    items: Sequence[items_pb.ResponseItem], limit: int, include: Collection[str]
) -> pb.ListInputItemsResponse:
    given = [_shown_item(item, include) for item in items[:limit]]
    page = pb.ListInputItemsResponse(object="list", data=given, has_more=len(items) > limit)
    if given:
        page.first_id = id_of(given[0])
        page.last_id = id_of(given[-1])
    return page


def _shown_item(item: items_pb.ResponseItem, include: Collection[str]) -> items_pb.ResponseItem:
    if not item.HasField("reasoning"):
        return item
    copy = items_pb.ResponseItem()
    copy.CopyFrom(item)
    show_proof(copy.reasoning, show=ENCRYPTED in include)
    return copy


def _not_found(response_id: str) -> ServiceError:
    return ServiceError(
        Reason.RESPONSE_NOT_FOUND,
        f"no response {quoted(response_id)}: it was never stored, is deleted or expired, or is another owner's",
        violations=(Violation("response_id", "no such response among your own"),),
    )


def as_it_is(row: StoredResponse, include: Collection[str] = ()) -> response_object_pb2.Response:
    """A stored response as its caller sees it; its state is the row's, which workers move."""
    body = response_of(row)
    if status_name(body.response.status) != row.status:
        body.response.status = status_of(row.status)
    return shown(body.response, {*body.include, *include})


def not_background(why: str) -> ServiceError:
    """The error for what only background responses have."""
    text = f"was not made with background true; {why}"
    return ServiceError(Reason.WRONG_STATE, f"the response {text}", violations=(Violation("response_id", text),))
