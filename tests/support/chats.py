"""Chat requests from JSON as a caller writes it, and streams of events that a dialect may emit."""

from __future__ import annotations

from typing import Any

import pytest
from eurouter.v1 import chat_pb2 as pb
from hypothesis import strategies as st

from service.api.chat.call import ChatCall
from service.api.chat.to_domain import to_domain
from service.domain.errors import ServiceError
from service.domain.events import (
    AudioDelta,
    Event,
    Extra,
    Finish,
    FinishReason,
    OpaqueAnnotation,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    Start,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    TopToken,
    UrlCitation,
    Usage,
)
from service.wire import parse

USER = {"role": "user", "content": "hello"}


def request(**fields: object) -> pb.CreateChatCompletionRequest:
    """A request as its JSON reads; a model and one message come with it unless given."""
    body: dict[str, object] = {"model": "vendor/model", "messages": [USER]}
    return parse(pb.CreateChatCompletionRequest, {**body, **fields})


def read(
    message: pb.CreateChatCompletionRequest | None = None,
    *,
    hints: tuple[str, ...] = (),
    streaming: bool = False,
    **fields: Any,
) -> ChatCall:
    """What the API makes of a request."""
    return to_domain(message or request(**fields), hint_fields=frozenset(hints), streaming=streaming)


def refused(
    message: pb.CreateChatCompletionRequest | None = None, *, streaming: bool = False, **fields: Any
) -> ServiceError:
    """The error with which a request is refused; a failed test when it is not."""
    with pytest.raises(ServiceError) as caught:
        read(message, streaming=streaming, **fields)
    return caught.value


def complaints(
    message: pb.CreateChatCompletionRequest | None = None, *, streaming: bool = False, **fields: Any
) -> dict[str, str]:
    """Path -> sentence of everything that is wrong with a request."""
    return {v.path: v.message for v in refused(message, streaming=streaming, **fields).violations}


_TEXT = st.text(max_size=4)
_CHOICE = st.integers(0, 1)
_NUMBERS = st.floats(-5, 0)
_TOKENS = st.lists(
    st.builds(
        TokenLogprob,
        _TEXT,
        _NUMBERS,
        st.none() | st.just((104, 105)),
        st.lists(st.builds(TopToken, _TEXT, _NUMBERS), max_size=2).map(tuple),
    ),
    max_size=2,
).map(tuple)
_FIELDS = st.lists(
    st.tuples(
        st.sampled_from(["content_filter_results", "prompt_filter_results", "citations", "model"]), st.just("[1]")
    ),
    min_size=1,
    max_size=2,
).map(tuple)
_FRAGMENT = st.builds(ToolCallDelta, st.integers(0, 2), _TEXT, _CHOICE)
_EVENT: st.SearchStrategy[Event] = st.one_of(
    st.builds(TextDelta, _TEXT, _CHOICE),
    st.builds(TextDelta, _TEXT, _CHOICE, _TOKENS),
    st.builds(RefusalDelta, _TEXT, _CHOICE, _TOKENS),
    st.builds(ReasoningDelta, _TEXT, _CHOICE, st.sampled_from(["text", "summary"])),
    st.builds(ReasoningSeal, st.just("anthropic"), signature=_TEXT, choice=_CHOICE),
    st.builds(ReasoningSeal, st.just("anthropic"), encrypted=_TEXT, id=st.none() | _TEXT, choice=_CHOICE),
    _FRAGMENT,
    _FRAGMENT,
    st.builds(UrlCitation, _TEXT, _TEXT, st.integers(0, 9), st.integers(0, 9), _CHOICE),
    st.builds(OpaqueAnnotation, st.just("file_path"), st.just('{"type":"file_path"}'), _CHOICE),
    st.builds(AudioDelta, _TEXT, _TEXT, st.none() | st.just("audio-1"), st.none() | st.just(17), _CHOICE),
    st.builds(Extra, st.sampled_from(["answer", "choice", "message"]), _FIELDS, _CHOICE),
    st.builds(Finish, st.sampled_from(FinishReason), st.just("raw"), _CHOICE),
    st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.none() | st.integers(0, 9)),
)


def _with_starts(events: list[Event]) -> list[Event]:
    """Each call's start before its first fragment, and one Start before everything."""
    told: set[tuple[int, int]] = set()
    whole: list[Event] = [Start("id-1", "model", 5)]
    for event in events:
        if isinstance(event, ToolCallDelta):
            index = sum(1 for choice, _ in told if choice == event.choice)
            known = (event.choice, event.index) in told
            if not known and event.index != index:
                continue
            if not known:
                told.add((event.choice, event.index))
                kind = "custom" if event.index == 2 else "function"
                whole.append(ToolCallStart(event.index, f"call-{event.index}", "tool", kind, event.choice))  # type: ignore[arg-type]
        whole.append(event)
    return whole


STREAMS: st.SearchStrategy[list[Event]] = st.lists(_EVENT, max_size=30).map(_with_starts)
"""Whole streams of two choices, everything that the domain knows in any order."""
