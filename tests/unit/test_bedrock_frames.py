"""Binary frames: the same as botocore's own buffer reads, whatever the split, and bounded."""

from __future__ import annotations

import struct
import time
from binascii import crc32
from itertools import pairwise

import pytest
from botocore.eventstream import EventStreamBuffer, ParserError
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.providers.bedrock.frames import MAX_FRAME_BYTES, Frame, Frames, Kind
from service.domain.failure import FailureKind, UpstreamError
from tests.contract.answers import ANSWERS
from tests.contract.bedrock import SAMPLE
from tests.support import eventstream

CASES = [case for case in ANSWERS if case not in SAMPLE.lacks]


def read(pieces: list[bytes]) -> list[Frame]:
    frames = Frames()
    return [frame for piece in pieces for frame in frames.feed(piece)]


def botocores(data: bytes) -> list[Frame]:
    """The same by botocore's buffer. Raises ParserError."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [
        (
            Kind(message.headers[":message-type"], message.headers[f":{message.headers[':message-type']}-type"]),
            message.payload,
        )
        for message in buffer
    ]


@pytest.mark.parametrize("case", CASES)
def test_frames_are_what_botocores_buffer_reads(case: str) -> None:
    stream = SAMPLE.stream(case)
    assert read([stream]) == botocores(stream)
    assert len(read([stream])) == len(SAMPLE.frames(case))


@given(st.lists(st.integers(0, 4000), max_size=12))
def test_any_split_gives_the_same_frames(cuts: list[int]) -> None:
    stream = SAMPLE.stream("parallel_tool_calls")
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert read([stream[a:b] for a, b in pairwise(edges)]) == read([stream])


@settings(max_examples=300)
@given(st.data())
def test_a_changed_byte_is_found_wherever_botocore_finds_it(data: st.DataObject) -> None:
    stream = bytearray(SAMPLE.stream("tool_call"))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    changed = bytes(stream)
    try:
        expected: list[Frame] | None = botocores(changed)
    except ParserError:
        expected = None
    assert expected is None, "every byte is under a checksum"
    with pytest.raises(UpstreamError) as error:
        read([changed])
    assert error.value.failure.kind is FailureKind.PROTOCOL


@given(st.binary(max_size=200))
def test_junk_gives_no_frame_and_no_other_error(junk: bytes) -> None:
    try:
        assert read([junk]) == []
    except UpstreamError as error:
        assert error.failure.kind is FailureKind.PROTOCOL


def test_frames_before_a_broken_one_are_given_first() -> None:
    first, second = SAMPLE.frames("text")[:2]
    frames = Frames().feed(first + second[:-1] + b"\x00")
    assert next(frames)[0] == Kind("event", "messageStart")
    with pytest.raises(UpstreamError):
        next(frames)


def prelude(total: int, headers: int) -> bytes:
    lengths = struct.pack("!II", total, headers)
    return lengths + struct.pack("!I", crc32(lengths))


@pytest.mark.parametrize(
    ("total", "headers"),
    [(MAX_FRAME_BYTES + 1, 0), (2**32 - 1, 0), (200_000, 150_000), (20, 5), (15, 0), (0, 0)],
)
def test_lengths_that_no_frame_has_are_refused_before_anything_is_gathered(total: int, headers: int) -> None:
    with pytest.raises(UpstreamError) as error:
        read([prelude(total, headers)])
    assert error.value.failure.kind is FailureKind.PROTOCOL


def test_a_frame_in_very_many_pieces_takes_linear_time() -> None:
    payload = b'"' + b"x" * (4 * 1024 * 1024) + b'"'
    whole = eventstream.event("metadata", payload)
    pieces = [whole[at : at + 64] for at in range(0, len(whole), 64)]
    started = time.process_time()
    (frame,) = read(pieces)
    assert frame[1] == payload
    # Copying what has come with each of 65,536 pieces would move 128 GB.
    assert time.process_time() - started < 5


def test_headers_of_every_type_are_read_and_broken_ones_refused() -> None:
    # Types 0 to 9: two booleans, four integers, bytes, a string, a time, a UUID (botocore's header parser).
    typed = (
        b"\x01a\x00" + b"\x01b\x01" + b"\x01c\x02\x01" + b"\x01d\x03\x00\x01" + b"\x01e\x04\x00\x00\x00\x01"
        b"\x01f\x05" + bytes(8) + b"\x01g\x06\x00\x01x" + b"\x01h\x08" + bytes(8) + b"\x01i\x09" + bytes(16)
    )
    named = b"\x0d:message-type\x07\x00\x05event" + b"\x0b:event-type\x07\x00\x04ping"

    def framed(headers: bytes) -> bytes:
        head = prelude(16 + len(headers) + 2, len(headers)) + headers + b"{}"
        return head + struct.pack("!I", crc32(head))

    assert read([framed(typed + named)]) == [(Kind("event", "ping"), b"{}")]
    for broken in (named + named, b"\x01a\x63", b"\x05ab", b"\x01\xff\x00", b"\x01a\x07\x00\x05ab\xff\xfe\xfd"):
        with pytest.raises(UpstreamError) as error:
            read([framed(broken)])
        assert error.value.failure.kind is FailureKind.PROTOCOL


def test_headers_too_long_to_be_remembered_are_read_all_the_same() -> None:
    message = "m" * 5000
    (frame,) = read([eventstream.error("InternalFailure", message)])
    assert frame[0] == Kind("error", "InternalFailure", message)
