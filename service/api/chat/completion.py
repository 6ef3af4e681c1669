"""A whole answer -> ChatCompletion. Streams are written next door; both share `pieces`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eurouter.v1 import chat_pb2 as pb
from eurouter.v1 import tools_pb2

from service.api.chat.pieces import FINISH_REASONS, annotation, logprobs, put_extra, put_usage, reasoning_detail
from service.domain.events import (
    Event,
    Finish,
    FinishReason,
    Folded,
    FoldedCall,
    FoldedChoice,
    Start,
    TextDelta,
    Usage,
)
from service.domain.fold import fold

# Copying a message and setting what differs is three times as fast as building it from arguments.
_ONE_TEXT: Final = pb.ChatCompletion(
    object="chat.completion",
    choices=[pb.Choice(message=pb.AssistantMessage(role=pb.CHAT_ROLE_ASSISTANT))],
)


def whole(
    events: Sequence[Event],
    *,
    provider: str,
    model: str,
    completion_id: str,
    now: int,
    functions_style: bool = False,
) -> pb.ChatCompletion:
    """The completion that a whole answer's events are; arguments as for `completion`.

    Raises:
        ValueError: no answer, or a value that the contract has no room for.
    """
    if len(events) == 4:
        # Most answers are one text: written without folding, at half the cost.
        start, text, finish, used = events
        if (
            isinstance(start, Start)
            and isinstance(text, TextDelta)
            and isinstance(finish, Finish)
            and isinstance(used, Usage)
            and finish.reason is not FinishReason.TOOL_CALLS
            and not (text.logprobs or text.choice or finish.choice)
        ):
            message = pb.ChatCompletion()
            message.CopyFrom(_ONE_TEXT)
            message.id = start.id or completion_id
            message.created = start.created or now
            message.model = start.model or model
            message.provider = provider
            if start.system_fingerprint is not None:
                message.system_fingerprint = start.system_fingerprint
            if start.service_tier is not None:
                message.service_tier = start.service_tier
            choice = message.choices[0]
            choice.message.content = text.text
            choice.finish_reason = FINISH_REASONS[finish.reason]
            put_usage(message.usage, used)
            return message
    return completion(
        fold(events),
        provider=provider,
        model=model,
        completion_id=completion_id,
        now=now,
        functions_style=functions_style,
    )


def completion(
    folded: Folded, *, provider: str, model: str, completion_id: str, now: int, functions_style: bool = False
) -> pb.ChatCompletion:
    """The completion that `folded` is.

    `provider` is the slug of who answered. `model`, `completion_id` and `now` (Unix seconds) stand in for
    what the provider did not say. With `functions_style` a call is a function_call.
    """
    start = folded.start
    message = pb.ChatCompletion(
        id=start.id or completion_id,
        object="chat.completion",
        created=start.created or now,
        model=start.model or model,
        system_fingerprint=start.system_fingerprint,
        service_tier=start.service_tier,
        provider=provider,
        choices=[_choice(choice, functions_style) for choice in folded.choices],
    )
    if folded.usage is not None:
        put_usage(message.usage, folded.usage)
    if folded.extra:
        put_extra(message, folded.extra.items())
    return message


def _choice(folded: FoldedChoice, functions_style: bool) -> pb.Choice:
    choice = pb.Choice(index=folded.index, message=_message(folded, functions_style))
    if folded.finish is not None:
        choice.finish_reason = FINISH_REASONS[folded.finish.reason]
        if functions_style and choice.finish_reason == pb.FINISH_REASON_TOOL_CALLS:
            choice.finish_reason = pb.FINISH_REASON_FUNCTION_CALL
    if folded.text_logprobs or folded.refusal_logprobs:
        choice.logprobs.CopyFrom(logprobs(folded.text_logprobs, folded.refusal_logprobs))
    if folded.extra:
        put_extra(choice, folded.extra.items())
    return choice


def _message(folded: FoldedChoice, functions_style: bool) -> pb.AssistantMessage:
    sealed = [(piece.text, piece.kind, piece.seal) for piece in folded.reasoning if piece.seal is not None]
    message = pb.AssistantMessage(
        role=pb.CHAT_ROLE_ASSISTANT,
        content=folded.text,
        refusal=folded.refusal,
        reasoning="".join(piece.text for piece in folded.reasoning) or None,
        reasoning_details=[reasoning_detail(*piece, index) for index, piece in enumerate(sealed)],
        annotations=[annotation(each) for each in folded.annotations],
    )
    calls = folded.calls
    if functions_style and calls:
        # The old form has room for one call; further ones are told as what they are.
        message.function_call.name = calls[0].name
        message.function_call.arguments = calls[0].arguments
        calls = calls[1:]
    message.tool_calls.extend([_call(call) for call in calls])
    if folded.audio is not None:
        audio = folded.audio
        message.audio.CopyFrom(
            pb.ChatAudio(id=audio.id, expires_at=audio.expires_at, data=audio.data, transcript=audio.transcript)
        )
    if folded.message_extra:
        put_extra(message, folded.message_extra.items())
    return message


def _call(call: FoldedCall) -> tools_pb2.ToolCall:
    if call.kind == "custom":
        custom = tools_pb2.CustomToolCall(name=call.name, input=call.arguments)
        return tools_pb2.ToolCall(id=call.id, custom=custom)
    function = tools_pb2.FunctionCall(name=call.name, arguments=call.arguments)
    return tools_pb2.ToolCall(id=call.id, function=function)
