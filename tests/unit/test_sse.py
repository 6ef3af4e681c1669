"""Framing of server-sent events, byte by byte."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.sse import SseEvent, SseParser
from service.domain.failure import FailureKind, UpstreamError


def parse(*pieces: bytes) -> list[tuple[bytes, bytes]]:
    parser = SseParser()
    events: list[SseEvent] = []
    for piece in pieces:
        events += parser.feed(piece)
    return [(event.event, event.data) for event in events + parser.end()]


def data(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"", value) for value in values]


@pytest.mark.parametrize("eol", [b"\n", b"\r\n", b"\r"])
def test_every_line_ending_counts(eol: bytes) -> None:
    stream = eol.join([b"data: a", b"", b"event: x", b"data: b", b"", b""])
    assert parse(stream) == [(b"", b"a"), (b"x", b"b")]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\ndata: b\ndata:\n\n", data(b"a\nb\n")),
        (b"data:a\n\n", data(b"a")),
        (b"data:  a\n\n", data(b" a")),
        (b"data\n\n", data(b"")),
        (b": ping\n\n: ping\ndata: a\n\n", data(b"a")),
        (b"\n\n\ndata: a\n\n\n\ndata: b\n\n", data(b"a", b"b")),
        (b"data: a", data(b"a")),
        (b"data: a\n", data(b"a")),
        (b"event: x\n\ndata: a\n\n", data(b"a")),
        (b"id: 7\nretry: 5\nfoo: bar\ndata: a\n\n", data(b"a")),
        (b"\xef\xbb\xbfdata: a\n\n", data(b"a")),
        (b"", []),
        (b"\n", []),
        (b"data: a\r\n\ndata: b\n\r\n", data(b"a", b"b")),
        (b"data: \n\ndata: b\n\n", data(b"", b"b")),
    ],
)
def test_a_stream_is_cut_into_events(stream: bytes, events: list[tuple[bytes, bytes]]) -> None:
    assert parse(stream) == events
    assert parse(*(bytes([byte]) for byte in stream)) == events


def test_unicode_line_separators_stay_inside_the_data() -> None:
    text = "a\u2028b\u2029c\x0bd\x0ce\x85f\x1cg".encode()
    assert parse(b"data: " + text + b"\n\n") == data(text)
    assert parse(b"event: x\r\ndata: " + text + b"\r\n\r\n") == [(b"x", text)]


def test_an_event_is_out_with_its_last_byte_even_when_that_is_a_cr() -> None:
    parser = SseParser()
    assert parser.feed(b"data: a\r\r") == [SseEvent(b"", b"a")]
    assert parser.feed(b"\ndata: b\r\n\r") == [SseEvent(b"", b"b")]
    assert parser.feed(b"\ndata: c\r\n\r\n") == [SseEvent(b"", b"c")]
    assert parser.end() == []


_LINES = st.sampled_from([b"data: {}", b"data: x", b"data:y", b"data", b"event: e", b": c", b"id: 1", b""])
_EOL = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(_LINES, _EOL), max_size=12), st.lists(st.integers(0, 200), max_size=6))
def test_any_split_gives_the_same_events(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(line + eol for line, eol in lines)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert parse(*(stream[a:b] for a, b in pairwise(edges))) == parse(*(bytes([b]) for b in stream))


@given(st.lists(st.sampled_from([b'{"a":1}', b"[DONE]", "é\u2028".encode()]), min_size=1), st.integers(0, 60))
def test_the_short_way_and_the_long_way_agree(values: list[bytes], cut: int) -> None:
    short = b"".join(b"data: " + value + b"\n\n" for value in values)
    long = b"".join(b"data: " + value + b"\r\n\r\n" for value in values)
    assert parse(short[:cut], short[cut:]) == parse(long) == data(*values)


_BLOCKS = st.sampled_from(
    [b"event: a\ndata: {}", b"event: b\ndata: x", b"event: c", b"event: d\ndata: 1\ndata: 2", b"data: y", b": z"]
)


@given(st.lists(_BLOCKS, min_size=1), st.integers(0, 120))
def test_events_with_names_are_the_same_the_short_way_and_the_long_way(blocks: list[bytes], cut: int) -> None:
    short = b"".join(block + b"\n\n" for block in blocks)
    long = short.replace(b"\n", b"\r\n")
    assert parse(short[:cut], short[cut:]) == parse(long) == parse(*(bytes([byte]) for byte in short))


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_an_event_over_the_limit_is_a_protocol_error(size: int) -> None:
    for stream in (b"data: " + b"x" * 3000 + b"\n\n", b"data: xxxx\n" * 400, b"{" + b"x" * 3000):
        parser = SseParser(max_event_bytes=2000)
        with pytest.raises(UpstreamError) as error:
            for at in range(0, len(stream), size):
                parser.feed(stream[at : at + size])
        assert error.value.failure.kind is FailureKind.PROTOCOL
        assert "2000" in error.value.failure.message


def test_the_limit_is_per_event_and_not_per_stream() -> None:
    for eol in (b"\n", b"\r\n"):
        parser = SseParser(max_event_bytes=2000)
        stream = (b"data: " + b"x" * 900 + eol + eol) * 50
        assert len(parser.feed(stream)) == 50
        assert sum(len(parser.feed(stream[at : at + 700])) for at in range(0, len(stream), 700)) == 50
        assert all(parser.feed(b": still here" + eol) == [] for _ in range(1000))


@pytest.mark.parametrize("body", [b'{"error": {\n"message": "no"}}\n', b'\n [{"error": 1}]', b"\xef\xbb\xbf{}"])
def test_a_json_body_is_no_stream_and_is_kept_whole(body: bytes) -> None:
    for size in (1, 100):
        parser = SseParser()
        for at in range(0, len(body), size):
            assert parser.feed(body[at : at + size]) == []
        assert parser.end() == []
        assert parser.body == body.removeprefix(b"\xef\xbb\xbf")


def test_a_stream_has_no_body() -> None:
    parser = SseParser()
    parser.feed(b"data: {}\n\n")
    assert parser.body is None


@pytest.mark.parametrize("line", [b"data: x\n", b"data:\n", b"event: x\n", b"data\n"])
def test_lines_without_end_of_one_event_are_refused_whatever_they_hold(line: bytes) -> None:
    parser = SseParser(max_event_bytes=1000)
    with pytest.raises(UpstreamError) as error:
        for _ in range(1000):
            parser.feed(line)
    assert error.value.failure.kind is FailureKind.PROTOCOL


@pytest.mark.parametrize("line", [b": ping\n", b"id: 7\n", b"retry: 1\n", b"other: x\n", b"\n", b"\r\n"])
def test_heartbeats_may_go_on_for_ever(line: bytes) -> None:
    parser = SseParser(max_event_bytes=1000)
    parser.feed(b"data: 1\n\n")
    for _ in range(1000):
        assert parser.feed(line) == []
    assert parser.feed(b"data: 2\n\n") == [SseEvent(b"", b"2")]
