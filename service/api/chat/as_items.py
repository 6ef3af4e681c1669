"""Messages of a chat request -> items of the Responses API, as a chat job's input is listed and continued.

For requests that `to_domain` has read and found right; nothing is judged here. Left out is what items have no
place for: the author's name of a message, and the mark of a prefix to cache at audio. Parts of kinds that nobody
named stay what they are, so that what continues them needs an endpoint that speaks the Responses API.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar, assert_never

import orjson
from eurouter.v1 import chat_pb2 as pb
from eurouter.v1 import content_pb2, tools_pb2
from eurouter.v1 import response_items_pb2 as items_pb

from service import wire
from service.api.problems import is_name
from service.api.responses.pieces import annotation
from service.api.responses.sealed import Seal, seal
from service.domain.events import OpaqueAnnotation, UrlCitation

T = TypeVar("T", items_pb.ResponseContent, items_pb.ResponseTool)

_ROLES: Final[dict[int, str]] = {
    pb.CHAT_ROLE_SYSTEM: "system",
    pb.CHAT_ROLE_DEVELOPER: "developer",
    pb.CHAT_ROLE_USER: "user",
}
# As readers of answers call a form that nobody named.
_UNKNOWN: Final = "unknown"


class _Calls:
    """Calls of earlier messages: which are of custom tools, and the last one of each function of old style."""

    __slots__ = ("custom", "functions")

    def __init__(self) -> None:
        self.custom: set[str] = set()
        self.functions: dict[str, str] = {}

    def note(self, call_id: str, *, custom: bool) -> None:
        """A call; some models count theirs anew in each answer, so an id may be of another kind by now."""
        if custom:
            self.custom.add(call_id)
        else:
            self.custom.discard(call_id)


def as_items(messages: Sequence[pb.ChatMessage]) -> list[items_pb.ResponseItem]:
    """The items that the messages are, in order, without ids."""
    calls = _Calls()
    items: list[items_pb.ResponseItem] = []
    for index, message in enumerate(messages):
        role = _ROLES.get(message.role)
        if role is not None:
            said = items_pb.ResponseMessage(role=role, content=[_part(part) for part in message.content])
            items.append(items_pb.ResponseItem(message=said))
        elif message.role == pb.CHAT_ROLE_ASSISTANT:
            items += _assistant(calls, index, message)
        else:
            items.append(_result(calls, message))
    return items


def _assistant(calls: _Calls, index: int, message: pb.ChatMessage) -> Iterable[items_pb.ResponseItem]:
    if message.reasoning_details:
        yield from map(_reasoning_detail, message.reasoning_details)
    elif message.HasField("reasoning"):
        yield _thought(message.reasoning)
    content = [_written(part) for part in message.content]
    if message.HasField("refusal"):
        content.append(items_pb.ResponseContent(refusal=items_pb.ResponseRefusal(refusal=message.refusal)))
    _annotate(content, message.annotations)
    if content:
        yield items_pb.ResponseItem(message=items_pb.ResponseMessage(role="assistant", content=content))
    for call in message.tool_calls:
        calls.note(call.id, custom=call.HasField("custom"))
        yield _call(call)
    if message.HasField("function_call"):
        # The old form has no ids; items bind results by them.
        call_id = f"call_{index}"
        calls.functions[message.function_call.name] = call_id
        yield _function_call(call_id, message.function_call)


def _call(call: tools_pb2.ToolCall) -> items_pb.ResponseItem:
    if call.HasField("custom"):
        made = items_pb.ResponseCustomToolCall(call_id=call.id, name=call.custom.name, input=call.custom.input)
        return items_pb.ResponseItem(custom_tool_call=made)
    return _function_call(call.id, call.function)


def _function_call(call_id: str, call: tools_pb2.FunctionCall) -> items_pb.ResponseItem:
    made = items_pb.ResponseFunctionCall(call_id=call_id, name=call.name, arguments=call.arguments)
    return items_pb.ResponseItem(function_call=made)


def _result(calls: _Calls, message: pb.ChatMessage) -> items_pb.ResponseItem:
    output = items_pb.ResponseToolOutput(output=[_part(part) for part in message.content])
    if message.role == pb.CHAT_ROLE_FUNCTION:
        # Its name says which call it answers, and nothing beside that.
        output.call_id = calls.functions.get(message.name, "")
        return items_pb.ResponseItem(function_call_output=output)
    output.call_id = message.tool_call_id
    if is_name(message.name):
        output.name = message.name
    if message.tool_call_id in calls.custom:
        return items_pb.ResponseItem(custom_tool_call_output=output)
    return items_pb.ResponseItem(function_call_output=output)


def _part(part: content_pb2.ContentPart) -> items_pb.ResponseContent:
    """A part that goes in."""
    kind = part.WhichOneof("part")
    content = items_pb.ResponseContent()
    match kind:
        case "text":
            content.input_text.text = part.text
            target: items_pb.ResponseInputText | items_pb.ResponseInputImage | items_pb.ResponseInputFile
            target = content.input_text
        case "image_url":
            target = content.input_image
            target.image_url = part.image_url.url
            if part.image_url.HasField("detail"):
                target.detail = part.image_url.detail
        case "file":
            target = content.input_file
            if part.file.HasField("filename"):
                target.filename = part.file.filename
            target.file_data = part.file.file_data
        case "input_audio":
            content.input_audio.input_audio.CopyFrom(part.input_audio)
            return content
        case "refusal":
            content.refusal.refusal = part.refusal
            return content
        case "opaque" | None:
            return unnamed(items_pb.ResponseContent, part.opaque)
        case _:
            assert_never(kind)
    if part.HasField("prompt_cache_breakpoint"):
        target.prompt_cache_breakpoint.CopyFrom(part.prompt_cache_breakpoint)
    return content


def _written(part: content_pb2.ContentPart) -> items_pb.ResponseContent:
    """A part that the model wrote; a text that marks a prefix to cache has a place for the mark as input only."""
    if part.WhichOneof("part") == "text" and not part.HasField("prompt_cache_breakpoint"):
        return items_pb.ResponseContent(output_text=items_pb.ResponseOutputText(text=part.text))
    return _part(part)


def _annotate(content: list[items_pb.ResponseContent], annotations: Iterable[content_pb2.Annotation]) -> None:
    """Puts sources to the text that they cite; a message of sources alone gets an empty one."""
    texts: list[tuple[items_pb.ResponseContent, int]] = []
    characters = 0
    for part in content:
        if part.HasField("output_text"):
            texts.append((part, characters))
            characters += len(part.output_text.text)
    for source in annotations:
        if not texts:
            content.append(items_pb.ResponseContent(output_text=items_pb.ResponseOutputText()))
            texts.append((content[-1], 0))
        text, start = texts[-1]
        if source.HasField("url_citation"):
            cited = source.url_citation
            text, start = next((each for each in reversed(texts) if each[1] <= cited.start_index), texts[0])
            told = annotation(UrlCitation(cited.url, cited.title, cited.start_index, cited.end_index), start)
        else:
            told = annotation(OpaqueAnnotation(source.opaque.type, source.opaque.json), start)
        text.output_text.annotations.append(told)


def _thought(text: str) -> items_pb.ResponseItem:
    content = items_pb.ResponseContent(reasoning_text=items_pb.ResponsePlainText(text=text))
    return items_pb.ResponseItem(reasoning=items_pb.ResponseReasoningItem(content=[content]))


def _reasoning_detail(detail: content_pb2.ReasoningDetail) -> items_pb.ResponseItem:
    """A piece of reasoning, with the proof that its provider wants back."""
    item = items_pb.ResponseItem(reasoning=items_pb.ResponseReasoningItem())
    if detail.type == "reasoning.text":
        item = _thought(detail.text)
    elif detail.type == "reasoning.summary":
        item.reasoning.summary.add().summary_text.text = detail.summary
    signature = detail.signature if detail.HasField("signature") else None
    encrypted = detail.data if detail.HasField("data") else None
    if signature is not None or encrypted is not None:
        proof = Seal(detail.format or _UNKNOWN, signature, encrypted, detail.id or None)
        item.reasoning.encrypted_content = seal(proof)
    return item


def unnamed(kind: type[T], opaque: content_pb2.Opaque) -> T:
    """A value of a kind that the Chat API has no name for, under the Responses API's name where that has one."""
    try:
        return wire.parse(kind, orjson.loads(opaque.json))
    except (wire.WireError, orjson.JSONDecodeError):
        return kind(opaque=opaque)
