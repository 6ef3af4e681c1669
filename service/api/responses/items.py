"""Items of a conversation: from protobuf to entries, each checked by itself. What binds them is `turns`' business.

Messages and reasoning are read here, calls and their outputs in `calls`, what providers ran in `traces`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from eurouter.v1 import response_items_pb2 as pb

from service.api.problems import is_word, shown
from service.api.responses.call import ResponsesDraft
from service.api.responses.calls import CALL_READERS
from service.api.responses.content import (
    ASSISTANT_PARTS,
    SYSTEM_PARTS,
    USER_PARTS,
    read_annotations,
    read_parts,
    read_texts,
)
from service.api.responses.entries import Beside, Entry, Place, Reference, Said, Written
from service.api.responses.json_fields import check_json_fields
from service.api.responses.sealed import OPENAI, Seal, unseal
from service.api.responses.traces import TRACE_READERS
from service.domain.fields import Field
from service.domain.generation import Reasoning, Role, Text
from service.wire.walk import MAX_ENTRIES

MAX_ITEMS: Final = 10_000

_ROLES: Final = {"user": Role.USER, "system": Role.SYSTEM, "developer": Role.DEVELOPER}
_NO_SEAL: Final = Seal("")


def read_input(draft: ResponsesDraft, items: Sequence[pb.ResponseItem]) -> None:
    """The field `input`."""
    if len(items) > MAX_ITEMS:
        draft.problems.add("input", f"must be at most {MAX_ITEMS} items; got {len(items)}")
        return
    parts = sum([len(item.message.content) for item in items])
    if parts > MAX_ENTRIES:
        draft.problems.add("input", f"must hold at most {MAX_ENTRIES} parts of messages in all; got {parts}")
        return
    entries: list[Entry] = []
    for index, item in enumerate(items):
        path = f"input[{index}]"
        entry = read_item(draft, Place(path, path), item)
        if entry is None:
            continue
        entries.append(entry)
        if type(entry) is Reference:
            draft.references[path] = entry.id
        draft.items.append(_as_output(item) if type(entry) is Written else item)
    draft.values["entries"] = tuple(entries)


def read_item(draft: ResponsesDraft, place: Place, item: pb.ResponseItem) -> Entry | None:
    """One item; None when there is nothing in it that a conversation could hold."""
    kind = item.WhichOneof("item")
    if kind is None:
        draft.problems.add(place.path, "is empty: give it a type, such as message, and what belongs to it")
        draft.problems.unknown_fields(item, place.path)
        return None
    body = getattr(item, kind)
    if kind != "opaque":
        draft.problems.unknown_fields(body, place.path)
        check_json_fields(draft.problems, place.path, body)
    return READERS[kind](draft, place, body)


def _message(draft: ResponsesDraft, place: Place, message: pb.ResponseMessage) -> Entry | None:
    at = f"{place.path}.content"
    if message.role == "assistant":
        return _assistant(draft, place, at, message)
    role = _ROLES.get(message.role)
    if role is None:
        draft.problems.add(
            f"{place.path}.role", f"must be one of user, assistant, system, developer; got {shown(message.role)}"
        )
        return None
    if message.HasField("phase"):
        draft.problems.add(f"{place.path}.phase", "can stand in an assistant message only: leave it out")
    content = message.content
    if len(content) == 1 and content[0].HasField("input_text"):
        text = content[0].input_text
        if not text.HasField("prompt_cache_breakpoint"):
            # Nearly every message is one text: spare it the general way.
            return Said(place, role, (Text(text.text),))
    _check_content(draft, place, at, message)
    allowed = USER_PARTS if role is Role.USER else SYSTEM_PARTS
    return Said(place, role, read_parts(draft, at, content, allowed, f"a {message.role} message"))


def _assistant(draft: ResponsesDraft, place: Place, at: str, message: pb.ResponseMessage) -> Written:
    _check_content(draft, place, at, message)
    parts = read_parts(draft, at, message.content, ASSISTANT_PARTS, "an assistant message")
    phase = None
    if message.HasField("phase"):
        phase = message.phase
        draft.need(Field.PHASE, f"{place.path}.phase")
        if not is_word(phase):
            draft.problems.add(f"{place.path}.phase", f"must be commentary or final_answer; got {shown(phase)}")
    return Written(place, parts, phase, read_annotations(draft, at, message.content))


def _check_content(draft: ResponsesDraft, place: Place, at: str, message: pb.ResponseMessage) -> None:
    # An answer that ended early may be a message without content.
    if place.own and not message.content:
        draft.problems.add(at, 'must hold text or at least one part ("" is a text)')


def _as_output(item: pb.ResponseItem) -> pb.ResponseItem:
    """An assistant's message with its texts as output_text, which is what they are when they are shown again.

    One that marks a prefix to cache stays as it is: output_text has no place for the mark.
    """
    content = item.message.content
    if not any(_is_plain_input(part) for part in content):
        return item
    copy = pb.ResponseItem()
    copy.CopyFrom(item)
    for part in copy.message.content:
        if _is_plain_input(part):
            text = part.input_text.text
            part.output_text.text = text
    return copy


def _is_plain_input(part: pb.ResponseContent) -> bool:
    return part.HasField("input_text") and not part.input_text.HasField("prompt_cache_breakpoint")


def _reasoning(draft: ResponsesDraft, place: Place, item: pb.ResponseReasoningItem) -> Beside:
    at = place.path
    texts = read_texts(draft, f"{at}.content", item.content, "reasoning_text", "a reasoning item's content")
    summary = read_texts(draft, f"{at}.summary", item.summary, "summary_text", "a reasoning item's summary")
    sealed = unseal(item.encrypted_content) if item.encrypted_content else _NO_SEAL
    # Of other providers' encrypted content an id names the call that it belongs to: none may be made up for it.
    is_ours = sealed.encrypted is None or sealed.format == OPENAI
    part = Reasoning(
        # A signature covers the text as its provider wrote it, so nothing may come between its parts.
        text="".join(texts) or sealed.text or "",
        summary="\n\n".join(summary) if summary else None,
        signature=sealed.signature,
        encrypted=sealed.encrypted,
        format=sealed.format or None,
        id=sealed.id or (item.id if is_ours and item.HasField("id") else None),
        details=sealed.is_proof,
    )
    return Beside(place, part, item.id)


def _reference(draft: ResponsesDraft, place: Place, item: pb.ResponseItemReference) -> Reference:
    if not item.id:
        draft.problems.add(f"{place.path}.id", "must be the id of an item of an earlier, stored response")
    return Reference(place, item.id)


READERS: Final[dict[str, Callable[[ResponsesDraft, Place, Any], Entry | None]]] = {
    "message": _message,
    "reasoning": _reasoning,
    "item_reference": _reference,
    **CALL_READERS,
    **TRACE_READERS,
}
"""By the kind of item. A test keeps the keys equal to the arms of the message."""
