"""A Responses request in protobuf -> ResponsesCall, and with its conversation -> what the router is asked.

`read_request` judges the request by itself, without I/O; `conversation` what takes the responses before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from eurouter.v1 import response_items_pb2 as items_pb
from eurouter.v1 import responses_pb2 as pb

from service.api.problems import Problems, shown
from service.api.readers import check_selector, check_stream, schema_of
from service.api.responses.call import INSTRUCTIONS, ResponsesCall, ResponsesDraft
from service.api.responses.entries import Entry, Place, Reference
from service.api.responses.fields import READERS, complain_of_includes
from service.api.responses.ids import id_of
from service.api.responses.items import read_item
from service.api.responses.turns import TurnBuilder
from service.domain.fields import Field
from service.domain.generation import Generation, Opaque, Role, Text, Turn
from service.domain.routing import Needs


def read_request(
    request: pb.CreateResponseRequest, *, hint_fields: frozenset[str], streaming: bool, prefix: str = ""
) -> ResponsesCall:
    """What `request` asks for, as far as it says so itself.

    `hint_fields` are the unnamed top-level fields that settings call hints. `streaming` says how the caller
    is answered; the request must not contradict it. `prefix` goes before every path in errors.

    Raises:
        ServiceError: INVALID_REQUEST (FOREIGN_STATE, UNKNOWN_FIELD when that is all) with up to ten violations.
    """
    draft = ResponsesDraft(hint_fields, prefix)
    draft.problems.unknown_fields(request, "")
    for field, value in request.ListFields():
        name = field.name
        draft.seen.add(name)
        READERS[name](draft, value)
    _check_whole(draft, streaming)
    draft.problems.raise_if_any()
    entries: tuple[Entry, ...] = draft.values.pop("entries")
    return ResponsesCall(
        generation=Generation(turns=(), options=draft.options, **draft.values),
        needs=Needs(
            draft.fields,
            draft.extra,
            draft.extra_hints,
            draft.dialects,
            draft.values.get("max_output_tokens"),
            draft.server_tools,
            addresses=draft.addresses,
            reasoning_effort=draft.values.get("reasoning_effort"),
            schema=schema_of(draft.values.get("output")),
        ),
        items=tuple(draft.items),
        entries=entries,
        references=draft.references,
        **draft.routing,
    )


def _check_whole(draft: ResponsesDraft, streaming: bool) -> None:
    check_stream(draft, streaming)
    check_selector(draft)
    if "input" not in draft.seen:
        draft.problems.add("input", "must be a text or hold at least one item")
    if draft.routing.get("background") and draft.routing.get("store") is False:
        draft.problems.add("background", "needs store: set store to true or leave it out")
        draft.problems.add("store", "is false, beside background true: nothing could be read later")
    if "max_tool_calls" in draft.seen and any(isinstance(t, Opaque) for t in draft.values.get("tools", ())):
        draft.need(Field.MAX_TOOL_CALLS, "max_tool_calls")


def check_include(include: Iterable[str]) -> None:
    """That `include` names what there is, for requests that read stored responses.

    Raises:
        ServiceError: INVALID_REQUEST.
    """
    problems = Problems()
    complain_of_includes(problems, include)
    problems.raise_if_any()


def conversation(
    call: ResponsesCall,
    history: Sequence[items_pb.ResponseItem],
    referenced: Mapping[str, items_pb.ResponseItem],
) -> tuple[Generation, Needs]:
    """The whole of what the model is asked, and what an endpoint must be able to say for it.

    `history` are the items of earlier responses, oldest first, with their ids; `referenced` items by id, for
    references to items that are not among them.

    Raises:
        ServiceError: INVALID_REQUEST for a reference to nothing, an item that is there twice, an output
            without its call, a call without its output and what else does not make a conversation.
    """
    draft = ResponsesDraft()
    needs = call.needs
    draft.fields = dict(needs.fields)
    draft.dialects = dict(needs.dialects)
    draft.server_tools = dict(needs.server_tools)
    draft.addresses = dict(needs.addresses)
    first = None
    if call.instructions:
        first = Turn(Role.SYSTEM, (Text(call.instructions),), items=(INSTRUCTIONS,))
    turns = _turns(draft, call, history, referenced).finish(first)
    draft.problems.raise_if_any()
    if history or referenced:
        # A request's own items were read before, and have told their needs.
        needs = replace(
            needs,
            fields=draft.fields,
            dialects=draft.dialects,
            server_tools=draft.server_tools,
            addresses=draft.addresses,
        )
    return replace(call.generation, turns=turns), needs


def _turns(
    draft: ResponsesDraft,
    call: ResponsesCall,
    history: Sequence[items_pb.ResponseItem],
    referenced: Mapping[str, items_pb.ResponseItem],
) -> TurnBuilder:
    builder = TurnBuilder(draft.problems)
    there: set[str] = set()
    for item in history:
        item_id = id_of(item)
        there.add(item_id)
        path = f"previous_response_id[{item_id or item.WhichOneof('item')}]"
        _add(builder, read_item(draft, Place(path, item_id or path, own=False), item))
    there.discard("")
    for entry, item in zip(call.entries, call.items, strict=True):
        if isinstance(entry, Reference):
            _add(builder, _resolve(draft, entry, referenced, there))
            continue
        if there and id_of(item) in there:
            draft.problems.add(
                f"{entry.place.path}.id", f"{shown(id_of(item))} is part of the conversation already: leave it out"
            )
        _add(builder, entry)
    return builder


def _add(builder: TurnBuilder, entry: Entry | None) -> None:
    if entry is not None and not isinstance(entry, Reference):
        builder.add(entry)


def _resolve(
    draft: ResponsesDraft, reference: Reference, referenced: Mapping[str, items_pb.ResponseItem], there: set[str]
) -> Entry | None:
    path, item_id = f"{reference.place.path}.id", reference.id
    if item_id in there:
        draft.problems.add(path, f"{shown(item_id)} is part of the conversation already: leave it out")
        return None
    item = referenced.get(item_id)
    if item is None or item.HasField("item_reference"):
        draft.problems.add(
            path,
            f"no item {shown(item_id)} of yours is stored here: send the item itself; what was made with store "
            "false, is deleted or expired can't be referred to",
        )
        return None
    there.add(item_id)
    return read_item(draft, Place(reference.place.path, reference.place.mark, own=False), item)
