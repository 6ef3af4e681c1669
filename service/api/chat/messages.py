"""Messages of a conversation: from protobuf to the domain's turns, checked. Parts and tools stand elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson
from eurouter.v1 import chat_pb2 as pb
from eurouter.v1 import content_pb2

from service.api.chat.call import ChatDraft
from service.api.chat.parts import ASSISTANT_PARTS, TEXT_ONLY, USER_PARTS, read_parts
from service.api.chat.tools import read_call, read_calls
from service.api.media import FOREIGN, read_opaque
from service.api.problems import has_unknown, shown
from service.domain.fields import Field
from service.domain.generation import Part, Reasoning, Refusal, Role, Text, ToolCall, ToolResult, Turn
from service.wire.walk import MAX_ENTRIES

_ROLES: Final[dict[int, Role]] = {
    pb.CHAT_ROLE_SYSTEM: Role.SYSTEM,
    pb.CHAT_ROLE_DEVELOPER: Role.DEVELOPER,
    pb.CHAT_ROLE_USER: Role.USER,
    pb.CHAT_ROLE_ASSISTANT: Role.ASSISTANT,
    pb.CHAT_ROLE_TOOL: Role.TOOL,
    pb.CHAT_ROLE_FUNCTION: Role.TOOL,
}
_EVERYONE: Final = frozenset({"role", "content", "name"})
_FIELDS: Final[dict[int, frozenset[str]]] = {
    pb.CHAT_ROLE_SYSTEM: _EVERYONE,
    pb.CHAT_ROLE_DEVELOPER: _EVERYONE,
    pb.CHAT_ROLE_USER: _EVERYONE,
    pb.CHAT_ROLE_ASSISTANT: frozenset(field.name for field in pb.ChatMessage.DESCRIPTOR.fields) - {"tool_call_id"},
    pb.CHAT_ROLE_TOOL: _EVERYONE | {"tool_call_id"},
    pb.CHAT_ROLE_FUNCTION: _EVERYONE,
}
_ANNOTATIONS: Final = frozenset({"url_citation"})


class History:
    """What earlier messages made: ids of calls for tool messages, functions for function messages."""

    __slots__ = ("functions", "ids")

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.functions: dict[str, str] = {}


def read_messages(draft: ChatDraft, messages: Sequence[pb.ChatMessage]) -> None:
    """The field `messages`."""
    entries = len(messages) + sum([len(message.content) for message in messages])
    if entries > MAX_ENTRIES:
        problem = f"must hold at most {MAX_ENTRIES} messages and parts of them in all; got {entries}"
        draft.problems.add("messages", problem)
        return
    history = History()
    draft.values["turns"] = tuple([_turn(draft, history, i, message) for i, message in enumerate(messages)])


def _turn(draft: ChatDraft, history: History, index: int, message: pb.ChatMessage) -> Turn:
    role = message.role
    set_fields = message.ListFields()
    if len(set_fields) == 2 and role in (pb.CHAT_ROLE_USER, pb.CHAT_ROLE_SYSTEM, pb.CHAT_ROLE_DEVELOPER):
        # Nearly every message is one text: spare it the general way.
        content = message.content
        if len(content) == 1 and not has_unknown(message):
            part = content[0]
            if part.WhichOneof("part") == "text" and not part.HasField("prompt_cache_breakpoint"):
                return Turn(_ROLES[role], (Text(part.text),))
    at = f"messages[{index}]"
    neutral = _ROLES.get(role)
    if neutral is None:
        draft.problems.add(f"{at}.role", "must be one of system, developer, user, assistant, tool, function")
        return Turn(Role.USER, ())
    allowed = _FIELDS[role]
    for field, _ in set_fields:
        if field.name not in allowed:
            draft.problems.add(f"{at}.{field.name}", f"can't stand in {_owner(role)}: leave it out")
    draft.problems.unknown_fields(message, at)
    if role == pb.CHAT_ROLE_ASSISTANT:
        return _assistant(draft, history, at, message)
    if role == pb.CHAT_ROLE_TOOL:
        return _tool(draft, history, at, message)
    if role == pb.CHAT_ROLE_FUNCTION:
        return _function(draft, history, at, message)
    kinds = USER_PARTS if role == pb.CHAT_ROLE_USER else TEXT_ONLY
    return Turn(neutral, _content(draft, at, message, kinds), _name(draft, at, message))


def _owner(role: pb.ChatRole.ValueType) -> str:
    name = pb.ChatRole.Name(role).removeprefix("CHAT_ROLE_").lower()
    return f"{'an' if name == 'assistant' else 'a'} {name} message"


def _content(draft: ChatDraft, at: str, message: pb.ChatMessage, kinds: frozenset[str]) -> tuple[Part, ...]:
    if not message.content:
        draft.problems.add(f"{at}.content", 'must hold text or at least one part ("" is a text)')
    return read_parts(draft, f"{at}.content", message.content, kinds, _owner(message.role))


def _name(draft: ChatDraft, at: str, message: pb.ChatMessage) -> str | None:
    if not message.HasField("name"):
        return None
    draft.need(Field.AUTHOR_NAME, f"{at}.name")
    return message.name


def _tool(draft: ChatDraft, history: History, at: str, message: pb.ChatMessage) -> Turn:
    call_id = message.tool_call_id
    if not call_id:
        draft.problems.add(f"{at}.tool_call_id", "is needed: the id of the call that this message answers")
    elif call_id not in history.ids:
        draft.problems.add(
            f"{at}.tool_call_id",
            f"must be the id of a call in an assistant message before it; got {shown(call_id)}",
        )
    if not draft.new_names:
        draft.new_names = at
    parts = _content(draft, at, message, TEXT_ONLY)
    return Turn(Role.TOOL, (ToolResult(call_id, parts, _name(draft, at, message)),))


def _function(draft: ChatDraft, history: History, at: str, message: pb.ChatMessage) -> Turn:
    call_id = history.functions.get(message.name, "")
    if not message.name:
        draft.problems.add(f"{at}.name", "is needed: the name of the function that gave this result")
    elif not call_id:
        draft.problems.add(
            f"{at}.name",
            f"must be the function that an assistant message before it calls; got {shown(message.name)}",
        )
    if not draft.old_names:
        draft.old_names = at
    return Turn(Role.TOOL, (ToolResult(call_id, _content(draft, at, message, TEXT_ONLY), message.name),))


def _assistant(draft: ChatDraft, history: History, at: str, message: pb.ChatMessage) -> Turn:
    parts: list[Part] = _reasoning(draft, at, message)
    parts += read_parts(draft, f"{at}.content", message.content, ASSISTANT_PARTS, "an assistant message")
    if message.HasField("refusal"):
        parts.append(Refusal(message.refusal))
    parts += _calls(draft, history, at, message)
    annotations = None
    if message.annotations:
        draft.need(Field.ANNOTATION_HISTORY, f"{at}.annotations")
        annotations = _annotations(draft, f"{at}.annotations", message.annotations)
    if message.HasField("audio"):
        advice = f"{FOREIGN}: send its transcript as content"
        draft.problems.foreign(f"{at}.audio.id", advice)
    elif not parts:
        draft.problems.add(f"{at}.content", "must not be missing unless there are tool_calls or a refusal")
    return Turn(Role.ASSISTANT, tuple(parts), _name(draft, at, message), annotations)


def _calls(draft: ChatDraft, history: History, at: str, message: pb.ChatMessage) -> list[ToolCall]:
    calls: list[ToolCall] = []
    if message.tool_calls:
        calls = read_calls(draft, f"{at}.tool_calls", message.tool_calls)
        history.ids.update(call.id for call in calls)
        draft.new_names = draft.new_names or f"{at}.tool_calls"
    if message.HasField("function_call"):
        # The old form has no ids; the neutral one binds results by them.
        call = read_call(draft.problems, f"{at}.function_call", f"call_{at[9:-1]}", message.function_call)
        history.functions[call.name] = call.id
        draft.old_names = draft.old_names or f"{at}.function_call"
        calls.append(call)
    return calls


def _reasoning(draft: ChatDraft, at: str, message: pb.ChatMessage) -> list[Part]:
    if not message.reasoning_details:
        return [Reasoning(message.reasoning)] if message.HasField("reasoning") else []
    return [
        _detail(draft, f"{at}.reasoning_details[{index}]", detail)
        for index, detail in enumerate(message.reasoning_details)
    ]


def _detail(draft: ChatDraft, at: str, detail: content_pb2.ReasoningDetail) -> Reasoning:
    signature = detail.signature if detail.HasField("signature") else None
    form = detail.format if detail.HasField("format") else None
    detail_id = detail.id if detail.HasField("id") else None
    match detail.type:
        case "reasoning.text":
            own, text, summary, data = "text", detail.text, None, None
        case "reasoning.summary":
            own, text, summary, data = "summary", "", detail.summary, None
        case "reasoning.encrypted":
            own, text, summary, data = "data", "", None, detail.data
            if not data:
                draft.problems.add(f"{at}.data", "is needed: the reasoning as its provider gave it")
        case _:
            own, text, summary, data = "", "", None, None
            draft.problems.add(
                f"{at}.type",
                f"must be reasoning.text, reasoning.summary or reasoning.encrypted; got {shown(detail.type)}",
            )
    for name, is_set in (
        ("text", detail.HasField("text")),
        ("summary", detail.HasField("summary")),
        ("data", detail.HasField("data")),
    ):
        if is_set and own and name != own:
            draft.problems.add(f"{at}.{name}", f"can't stand in a piece of type {detail.type}: leave it out")
    return Reasoning(text, summary, signature, data, form, detail_id, details=True)


def _annotations(draft: ChatDraft, at: str, annotations: Sequence[content_pb2.Annotation]) -> str:
    texts: list[str] = []
    for index, annotation in enumerate(annotations):
        kind = annotation.WhichOneof("annotation")
        if kind == "url_citation":
            cited = annotation.url_citation
            body = {f.name: getattr(cited, f.name) for f in cited.DESCRIPTOR.fields}
            texts.append(orjson.dumps({"type": "url_citation", "url_citation": body}).decode())
        elif kind == "opaque":
            texts.append(read_opaque(draft, f"{at}[{index}]", annotation.opaque, _ANNOTATIONS).json)
        else:
            draft.problems.add(f"{at}[{index}]", "is empty: give it a type, such as url_citation")
    return f"[{','.join(texts)}]"
