"""The frame of every decoder of server-sent events: which error waits, which counts, and what is only a cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest

from adapters.providers.decoder import SseDecoder
from adapters.providers.registry import DIALECTS
from adapters.providers.sse import MAX_EVENT_BYTES
from service.domain.events import Event, Start
from service.domain.failure import FailureKind, UpstreamError


@dataclass(frozen=True)
class Framed:
    """A good first event of a dialect, and one that says something before its shape breaks; no blank lines."""

    good: bytes
    breaks: bytes


_MESSAGE = b'{"type":"message_start","message":{"id":"m","model":"m"%b}}'
_ITEM = b'{"type":"response.created","response":{"id":"r","model":"m","created_at":1}}'
SAID = {
    "openai_chat": Framed(
        b'data: {"id":"a","model":"m","created":5,"choices":[{"delta":{"role":"assistant","content":""}}]}',
        b'data: {"id":"a","model":"m","created":5,"choices":[{"delta":{"content":"a"}},7]}',
    ),
    "openai_responses": Framed(
        b"event: response.created\ndata: " + _ITEM,
        b"event: response.completed\ndata: "
        b'{"type":"response.completed","response":{"id":"r","model":"m","created_at":1,"status":"completed",'
        b'"output":[{"type":"message","id":"i","content":[{"type":"output_text","text":"Hi"}]}],"usage":7}}',
    ),
    "anthropic": Framed(
        b"event: message_start\ndata: " + _MESSAGE % b"",
        b"event: message_start\ndata: " + _MESSAGE % b',"usage":7',
    ),
    "gemini": Framed(
        b'data: {"responseId":"g","modelVersion":"m","candidates":[{"content":{"parts":[{"text":"a"}]}}]}',
        b'data: {"responseId":"g","modelVersion":"m","candidates":[{"content":{"parts":[{"text":"a"}]}},7]}',
    ),
}
each = pytest.mark.parametrize("name", SAID)


def told(name: str, *pieces: bytes) -> tuple[list[Event], FailureKind]:
    """The events of a stream in these pieces, one more read and its end, and the error that they end in."""
    decoder, events = DIALECTS[name].decoder(), []
    with pytest.raises(UpstreamError) as error:
        for piece in pieces:
            events += decoder.feed(piece)
        events += decoder.end()
    return events, error.value.failure.kind


def test_every_dialect_with_server_sent_events_is_here() -> None:
    framed = {name for name, dialect in DIALECTS.items() if isinstance(dialect.decoder(), SseDecoder)}
    assert framed == {*SAID, "azure", "mistral"}  # these two read as openai_chat does


@each
def test_a_whole_last_event_of_a_wrong_shape_is_a_protocol_error_without_a_blank_line_too(name: str) -> None:
    assert told(name, SAID[name].breaks + b"\n\n")[1] is FailureKind.PROTOCOL
    assert told(name, SAID[name].breaks)[1] is FailureKind.PROTOCOL


@each
def test_half_an_event_is_a_cut(name: str) -> None:
    good = SAID[name].good
    events, kind = told(name, good + b"\n\n" + good[:-9])
    assert kind is FailureKind.CUT
    assert events


@each
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"], ids=["LF", "CRLF"])
def test_an_error_loses_nothing_of_the_same_bytes_whatever_ends_its_lines(name: str, end: bytes) -> None:
    events, kind = told(name, SAID[name].good + b"\n\n" + b"data: {garbage" + end)
    assert kind is FailureKind.PROTOCOL
    assert isinstance(events[0], Start)


@each
def test_an_event_that_is_too_large_loses_nothing_of_what_came_before_it(name: str) -> None:
    events, kind = told(name, SAID[name].good + b"\n\ndata: " + b"x" * MAX_EVENT_BYTES)
    assert kind is FailureKind.PROTOCOL
    assert isinstance(events[0], Start)


@each
def test_an_error_is_told_again_to_who_asks_again(name: str) -> None:
    decoder = DIALECTS[name].decoder()
    asks: list[Callable[[], object]] = [partial(decoder.feed, b"data: {garbage\n\n"), partial(decoder.feed, b"")]
    for ask in (*asks, decoder.end):
        with pytest.raises(UpstreamError) as error:
            ask()
        assert error.value.failure.kind is FailureKind.PROTOCOL
