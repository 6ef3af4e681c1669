"""What a hostile or broken provider sends, over every dialect and answer.

The right failure or a sane answer; never another exception, never memory without bound. Through real
sockets: tests/integration/test_hostile_sockets.py.
"""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from binascii import crc32
from collections.abc import Iterator
from functools import partial
from itertools import islice

import pytest

from service.domain.events import VISIBLE, Event, Finish
from service.domain.failure import Failure, FailureKind
from service.domain.fold import fold
from tests.contract.answers import ANSWERS
from tests.contract.dialects import DIALECTS
from tests.contract.sample import DialectSample, cut_every, decode
from tests.support.hostile import as_json, documents, mutations, outcome

# No marker ends this wire: what repeats its last chunk repeats the text that stands in it.
WITHOUT_MARKER = {"gemini"}
PAIRS = [(sample, case) for sample in DIALECTS for case in ANSWERS if case not in sample.lacks]
ANSWERED = [pytest.param(sample, case, id=f"{sample.name}-{case}") for sample, case in PAIRS]
MARKED = [one for one, (sample, _) in zip(ANSWERED, PAIRS, strict=True) if sample.name not in WITHOUT_MARKER]
each_dialect = pytest.mark.parametrize("sample", DIALECTS, ids=lambda sample: sample.name)
each_answer = pytest.mark.parametrize(("sample", "case"), ANSWERED)
each_marked_answer = pytest.mark.parametrize(("sample", "case"), MARKED)

MEGABYTE = 1 << 20
MOST_MEMORY = 96 * MEGABYTE


def cases(sample: DialectSample) -> list[str]:
    return [case for case in ANSWERS if case not in sample.lacks]


def sane(result: list[Event] | Failure, where: str, *, whole: bool = False) -> None:
    if isinstance(result, Failure):
        assert result.message
        return
    # A whole answer that says something may leave its reason out, as some look-alikes do; a stream may not.
    ends = (Finish, *VISIBLE) if whole else Finish
    assert any(isinstance(event, ends) for event in result), f"{where}: a clean end without an end"
    fold(result)


def streamed(sample: DialectSample, pieces: list[bytes]) -> list[Event] | Failure:
    return outcome(lambda: decode(sample.dialect, pieces))


@each_dialect
def test_a_wrong_value_anywhere_in_an_answer_is_a_failure_or_a_sane_answer(sample: DialectSample) -> None:
    seen: set[tuple[str, ...]] = set()
    for case in cases(sample):
        for where, document in mutations(json.loads(sample.answer(case)), seen):
            body = as_json(document)
            sane(outcome(partial(sample.dialect.read, body)), f"{case}: {where}", whole=True)
    assert len(seen) > 10


@each_dialect
def test_a_wrong_value_anywhere_in_a_stream_is_a_failure_or_a_sane_answer(sample: DialectSample) -> None:
    seen: set[tuple[str, ...]] = set()
    for case in cases(sample):
        found = documents(sample, case)
        frames = [framed(document) for document, framed in found]
        rest = sample.frames(case)[len(frames) :]
        for at, (document, framed) in enumerate(found):
            before, after = frames[:at], frames[at + 1 :] + rest
            for where, wrong in mutations(document, seen):
                result = streamed(sample, [b"".join([*before, framed(wrong), *after])])
                sane(result, f"{case}, frame {at}: {where}")
    assert len(seen) > 10


@each_answer
def test_a_stream_cut_anywhere_within_a_frame_is_a_failure(sample: DialectSample, case: str) -> None:
    frames = sample.frames(case)
    for at, frame in enumerate(frames[:-1]):
        for part in (1, len(frame) // 2, len(frame) - 3):
            result = streamed(sample, [*frames[:at], frame[:part]])
            assert isinstance(result, Failure), f"frame {at} cut at {part}"
            assert result.kind is FailureKind.CUT


@each_answer
def test_a_frame_that_comes_twice_is_a_failure_or_a_sane_answer(sample: DialectSample, case: str) -> None:
    frames = sample.frames(case)
    for at in range(len(frames)):
        sane(streamed(sample, [*frames[: at + 1], *frames[at:]]), f"frame {at} twice")


@each_marked_answer
def test_what_comes_after_the_terminal_frame_changes_nothing_of_the_answer(
    sample: DialectSample, case: str
) -> None:
    frames = sample.frames(case)
    whole = streamed(sample, frames)
    again = streamed(sample, [*frames, frames[-1]])
    assert isinstance(whole, list)
    assert isinstance(again, list)
    assert fold(again) == fold(whole)


@each_answer
def test_frames_in_another_order_are_a_failure_or_a_sane_answer(sample: DialectSample, case: str) -> None:
    frames = sample.frames(case)
    for at in range(len(frames) - 1):
        swapped = [*frames[:at], frames[at + 1], frames[at], *frames[at + 2 :]]
        sane(streamed(sample, swapped), f"frames {at} and {at + 1} swapped")
    sane(streamed(sample, frames[::-1]), "backwards")
    sane(streamed(sample, frames[1:]), "without the first")
    for at in range(len(frames)):
        sane(streamed(sample, frames[:at] + frames[at + 1 :]), f"without frame {at}")


@each_dialect
@pytest.mark.parametrize(
    "junk",
    [b"\xff\xfe", b"\x00", b'{"a":"\xff"}', b'{"a":"\x00"}', b'{"a":"\\ud800"}', b"{" * 9999, b"[" * 200_000,
     b'{"a":' * 100_000, b"1e999", b"9" * 5000, b"NaN", b"-", b"\xef\xbb\xbf{}"],
    ids=lambda junk: junk[:10].hex(),
)  # fmt: skip
def test_bytes_that_are_no_text_or_no_json_are_a_failure(sample: DialectSample, junk: bytes) -> None:
    frames = sample.frames("text")
    for at in range(len(frames)):
        result = streamed(sample, [*frames[:at], sample.framed(junk), *frames[at:]])
        sane(result, f"before frame {at}")
        if at < len(frames) - 1 and junk[:1] in (b"\xff", b"\x00", b"-"):
            assert isinstance(result, Failure), f"before frame {at}"
            assert result.kind is FailureKind.PROTOCOL
    assert isinstance(outcome(lambda: sample.dialect.read(junk)), Failure)
    for status in (400, 429, 500):
        assert sample.dialect.classify(status, {}, junk).message


@each_dialect
def test_bytes_that_are_not_utf_8_inside_a_text_are_a_failure(sample: DialectSample) -> None:
    if sample.binary:
        text = sample.framed(b'{"contentBlockIndex":0,"delta":{"text":"\xff\xfe"}}')
        result = streamed(sample, [*sample.frames("text")[:1], text, *sample.frames("text")[2:]])
    else:
        result = streamed(sample, [sample.stream("text").replace("世界".encode(), b"\xff\xfe")])
    assert isinstance(result, Failure)
    assert result.kind is FailureKind.PROTOCOL
    broken = sample.answer("text").replace("世界".encode(), b"\xff\xfe")
    assert broken != sample.answer("text"), "the answer has these two characters as they are"
    assert isinstance(outcome(lambda: sample.dialect.read(broken)), Failure)


def endless(sample: DialectSample) -> dict[str, Iterator[bytes]]:
    """Streams that never come to the end of a frame, in pieces of a megabyte."""

    def forever(first: bytes, piece: bytes) -> Iterator[bytes]:
        yield first
        while True:
            yield piece

    if sample.binary:
        prelude = struct.pack("!II", 1 << 30, 16)
        largest = struct.pack("!II", 0xFFFFFFFF, 0xFFFFFFF0)
        return {
            "a frame of a gigabyte": forever(prelude + struct.pack("!I", crc32(prelude)), b"x" * MEGABYTE),
            "the largest frame": forever(largest + struct.pack("!I", crc32(largest)), b"x" * MEGABYTE),
            "nothing but zeros": forever(b"", b"\x00" * MEGABYTE),
        }
    return {
        "a line": forever(b"data: ", b"x" * MEGABYTE),
        "a line of another name": forever(b"junk: ", b"x" * MEGABYTE),
        "many lines of one event": forever(b"", (b"data: " + b"x" * 1000 + b"\n") * 1000),
        "one json document": forever(b'{"error": "', b"x" * MEGABYTE),
        "white space": forever(b"", b" " * MEGABYTE),
    }


@each_dialect
@pytest.mark.parametrize("opened", [False, True], ids=["from the start", "after a good frame"])
def test_a_frame_without_end_is_a_protocol_failure_in_bounded_memory(sample: DialectSample, opened: bool) -> None:
    for what, pieces in endless(sample).items():
        decoder = sample.dialect.decoder()
        if opened:
            decoder.feed(sample.frames("text")[0])

        def fed(decoder: object = decoder, pieces: Iterator[bytes] = pieces) -> list[Event]:
            return [e for piece in islice(pieces, 64) for e in decoder.feed(piece)]  # type: ignore[attr-defined]

        tracemalloc.start()
        try:
            result = outcome(fed)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert isinstance(result, Failure), what
        assert result.kind is FailureKind.PROTOCOL, what
        assert peak < MOST_MEMORY, f"{what}: {peak / MEGABYTE:.0f} MB"


@each_dialect
def test_a_stream_in_single_bytes_takes_time_in_proportion_to_its_length(sample: DialectSample) -> None:
    frames = sample.frames("text")
    took = []
    for size in (5_000, 20_000):
        long = [*frames[:1], sample.framed(b'{"x":"' + b"y" * size + b'"}')]
        began = time.process_time()
        outcome(partial(decode, sample.dialect, cut_every(b"".join(long), 1)))
        took.append(time.process_time() - began)
    # Four times the bytes: sixteen times the time would be a frame that is looked at anew with every byte.
    assert took[1] < 0.2 + 9 * took[0]
