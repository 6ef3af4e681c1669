"""Streams of neutral events that a response may be made of, and what a client makes of the events about it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_object_pb2 as pb
from eurouter.v1 import responses_pb2
from hypothesis import strategies as st

from service.api.responses.echo import new_response
from service.api.responses.writer import ResponseWriter, whole
from service.domain.events import (
    AudioDelta,
    Event,
    Extra,
    Finish,
    FinishReason,
    MessageStart,
    OpaqueAnnotation,
    OpaqueItem,
    OpaqueProgress,
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
from service.wire import parse, render_bytes
from tests.support.responses_schema import check_event

DIGITS: Final = "0123456789abcdef" * 2 + "beef"
RESPONSE_ID: Final = f"resp_{DIGITS}"
CREATED: Final = 1_700_000_000
NOW: Final = 1_700_000_007

START: Final = Start("chatcmpl-1", "model-1", 12, "fp", "flex")
STOP: Final = Finish(FinishReason.STOP, "stop")
CALLS: Final = Finish(FinishReason.TOOL_CALLS, "tool_calls")


def blank(**fields: object) -> pb.Response:
    """A response in progress; `fields` as a caller writes the request."""
    request = parse(responses_pb2.CreateResponseRequest, {"model": "vendor/model", "input": "hello", **fields})
    return new_response(request, response_id=RESPONSE_ID, created_at=CREATED, store=True, model="vendor-model")


def writer(*, position: int = 1, show_encrypted: bool = True, **fields: object) -> ResponseWriter:
    """A writer of that response."""
    return ResponseWriter(
        blank(**fields), first_position=position, clock=lambda: NOW + 0.9, show_encrypted=show_encrypted
    )


def streamed(
    events: Sequence[Event], *, batches: Sequence[int] = (), show_encrypted: bool = True
) -> list[events_pb.ResponseStreamEvent]:
    """All events of a stream that ends well; written one by one, or in batches of these sizes first."""
    writing = writer(show_encrypted=show_encrypted)
    told = writing.begin()
    at = 0
    for size in (*batches, *[1] * len(events)):
        told += writing.write(events[at : at + size])
        at += size
    return [*told, *writing.finish(), writing.terminal()]


def as_json(event: events_pb.ResponseStreamEvent | pb.Response) -> dict[str, Any]:
    """As a client reads it."""
    value: dict[str, Any] = json.loads(render_bytes(event))
    return value


def search(status: str, *, done: bool, index: int = 0) -> OpaqueItem:
    """A web search that the provider ran."""
    item = {
        "id": "ws_theirs",
        "type": "web_search_call",
        "status": status,
        "action": {"type": "search", "query": "x"},
    }
    return OpaqueItem(index, "openai_responses", "web_search_call", json.dumps(item), done)


def news(kind: str, index: int = 0, **fields: object) -> OpaqueProgress:
    """Its own event about that."""
    body = {"type": kind, "item_id": "ws_theirs", "output_index": 9, "sequence_number": 77, **fields}
    return OpaqueProgress(index, kind, json.dumps(body))


def told(*events: Event, **options: Any) -> list[dict[str, Any]]:
    """The events as a client reads them, each held to the published schemas."""
    read = [as_json(event) for event in streamed(events, **options)]
    for event in read:
        check_event(event)
    return read


def types(events: Sequence[dict[str, Any]]) -> list[str]:
    """Their types without the response., and without the frame that every response has."""
    names = [event["type"].removeprefix("response.") for event in events]
    assert names[:2] == ["created", "in_progress"]
    return names[2:]


def made(*events: Event) -> pb.Response:
    return whole(events, blank(), first_position=1, clock=lambda: NOW + 0.9)


def place(position: int) -> str:
    return f"{DIGITS}{position:04x}"


_TEXT: Final = st.sampled_from(["", "a", "né", "two words", "日本", '"', "\n"])
_TOKENS: Final = st.lists(
    st.builds(
        TokenLogprob,
        st.just("a"),
        st.just(-0.5),
        st.none() | st.just((97,)),
        st.just(()) | st.just((TopToken("b", -1.5),)),
    ),
    max_size=2,
).map(tuple)
_ARGUMENTS: Final = {
    "function": ["", "{}", '{"a": 1}', '{"a": [1,', "not json"],
    "custom": ["", "free text", "{}"],
    "local_shell": ['{"type":"exec","command":["ls"],"env":{}}'],
    "shell": ['{"commands":["ls"],"timeout_ms":null,"max_output_length":null}'],
    "apply_patch": ['{"type":"delete_file","path":"a.txt"}'],
}
_SAID: st.SearchStrategy[Event] = st.one_of(
    st.builds(TextDelta, _TEXT),
    st.builds(TextDelta, _TEXT, st.just(0), _TOKENS),
    st.builds(RefusalDelta, _TEXT),
    st.builds(ReasoningDelta, _TEXT, st.just(0), st.sampled_from(["text", "summary"]), st.integers(0, 1)),
    st.builds(ReasoningSeal, st.just("anthropic-claude-v1"), st.none() | st.just("sig")),
    st.builds(
        ReasoningSeal, st.just("openai-responses-v1"), encrypted=st.just("gAAA"), id=st.none() | st.just("rs_1")
    ),
    st.builds(MessageStart, st.sampled_from([None, "commentary", "final_answer"])),
    st.builds(UrlCitation, st.just("https://a.example"), _TEXT, st.integers(0, 9), st.integers(0, 9)),
    st.builds(
        OpaqueAnnotation,
        st.just("file_citation"),
        st.just('{"type":"file_citation","file_id":"f","filename":"a.txt","index":1}'),
    ),
    st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.none() | st.integers(0, 9)),
    st.builds(Start, st.just("other"), st.just("other-model")),
    st.builds(Extra, st.sampled_from(["choice", "message"]), st.just((("citations", "[1]"),))),
)
_HEARD: st.SearchStrategy[Event] = st.builds(AudioDelta, st.just("AAAA"), _TEXT, st.just("audio-1"), st.just(17))
_ADDED: st.SearchStrategy[Event] = st.builds(
    Extra, st.just("answer"), st.just((("billing", "[1]"), ("id", '"x"')))
)


@st.composite
def answers(draw: st.DrawFn, *, plain: bool = False) -> list[Event]:
    """Whole streams, with calls whose fragments come in turns; `plain` ones hold OpenAI's own fields only."""
    said = _SAID if plain else st.one_of(_SAID, _SAID, _HEARD, _ADDED)
    events: list[Event] = [Start("id-1", "model-1", 5, None, draw(st.sampled_from([None, "flex"])))]
    fragments: dict[int, list[str]] = {}
    calls = searches = 0
    for _ in range(draw(st.integers(0, 14))):
        match draw(st.sampled_from(["said", "said", "call", "fragment", "search"])):
            case "call":
                kind = draw(st.sampled_from(sorted(_ARGUMENTS)))
                name = kind if kind in ("local_shell", "shell", "apply_patch") else "tool"
                events.append(ToolCallStart(calls, f"call-{calls}", name, kind))  # type: ignore[arg-type]
                text = draw(st.sampled_from(_ARGUMENTS[kind]))
                cut = draw(st.integers(0, len(text)))
                fragments[calls] = [text[:cut], text[cut:]]
                calls += 1
            case "fragment" if fragments:
                index = draw(st.sampled_from(sorted(fragments)))
                events += _fragment(fragments, index)
            case "search":
                open_first = draw(st.booleans())
                if open_first:
                    events.append(search("in_progress", done=False, index=searches))
                    events.append(news("response.web_search_call.searching", searches))
                    events.append(news("response.never_heard_of", searches))
                if not open_first or draw(st.booleans()):
                    events.append(search("completed", done=True, index=searches))
                searches += 1
            case _:
                events.append(draw(said))
    for index in sorted(fragments):
        while index in fragments:
            events += _fragment(fragments, index)
    if draw(st.booleans()):
        reasons = [reason for reason in FinishReason if reason is not FinishReason.ERROR or not plain]
        events.append(Finish(draw(st.sampled_from(reasons)), "raw"))
    return events


def _fragment(fragments: dict[int, list[str]], index: int) -> list[Event]:
    text = fragments[index].pop(0)
    if not fragments[index]:
        del fragments[index]
    return [ToolCallDelta(index, text)]
