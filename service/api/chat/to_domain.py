"""A chat request in protobuf -> ChatCall: reads every field that is set, then judges them together."""

from __future__ import annotations

from eurouter.v1 import chat_pb2 as pb

from service.api.chat import tools
from service.api.chat.call import ChatCall, ChatDraft
from service.api.chat.readers import READERS
from service.api.problems import Problems
from service.api.readers import check_selector, check_stream, schema_of
from service.domain.fields import Field
from service.domain.generation import Generation
from service.domain.routing import Needs


def to_domain(
    request: pb.CreateChatCompletionRequest, *, hint_fields: frozenset[str], streaming: bool, prefix: str = ""
) -> ChatCall:
    """What `request` asks for, checked as a whole.

    `hint_fields` are the unnamed top-level fields that settings call hints. `streaming` says how the caller
    is answered; the request must not contradict it. `prefix` goes before every path in errors.

    Raises:
        ServiceError: INVALID_REQUEST (FOREIGN_STATE, UNKNOWN_FIELD when that is all) with up to ten violations.
    """
    draft = ChatDraft(Problems(prefix), hint_fields)
    draft.problems.unknown_fields(request, "")
    for field, value in request.ListFields():
        name = field.name
        draft.seen.add(name)
        READERS[name](draft, value)
    _check_whole(draft, streaming)
    draft.problems.raise_if_any()
    old_names = bool(draft.old_names) or not draft.seen.isdisjoint(("functions", "function_call"))
    return ChatCall(
        generation=Generation(options=draft.options, functions_style=old_names, **draft.values),
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
        functions_style=old_names,
        **draft.routing,
    )


def _check_whole(draft: ChatDraft, streaming: bool) -> None:
    problems, values, seen = draft.problems, draft.values, draft.seen
    check_stream(draft, streaming)
    if "messages" not in seen:
        problems.add("messages", "must hold at least one message")
    check_selector(draft)
    if "top_logprobs" in seen and not values.get("logprobs"):
        problems.add("top_logprobs", "needs logprobs: set logprobs to true")
    if "audio" in seen or "modalities" in seen:
        _check_audio(draft)
    _check_names(draft)
    if values.get("tool_choice") is not None:
        tools.check_choice(draft)


def _check_audio(draft: ChatDraft) -> None:
    modalities = draft.options.get(Field.MODALITIES)
    asked = isinstance(modalities, list) and "audio" in modalities
    given = "audio" in draft.seen
    if asked and not given:
        draft.problems.add("audio", "is needed with modality audio: give a voice and a format")
    elif given and not asked:
        draft.problems.add("modalities", "must contain audio when audio is given")


def _check_names(draft: ChatDraft) -> None:
    """Functions and tools are two forms of one thing: a request speaks one of them."""
    seen = draft.seen
    new = next((name for name in ("tools", "tool_choice") if name in seen), draft.new_names)
    old = next((name for name in ("functions", "function_call") if name in seen), draft.old_names)
    if old and new:
        draft.problems.add(old, f"can't stand beside {new}: use tools, tool_choice and tool messages")
