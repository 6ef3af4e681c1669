"""The fast path for token chunks gives what the general way gives, whatever the provider sends."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.openai_chat import DIALECT
from adapters.providers.openai_chat.alike import AlikeChunks
from service.coalesce import merge
from service.domain.events import Event, TextDelta

HEAD = b'{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
FRAME = HEAD + b'"delta":{"content":%s},"finish_reason":null}]}'
END = HEAD + b'"delta":{},"finish_reason":"stop"}]}'


def stream(texts: list[bytes]) -> list[bytes]:
    """Chunks with these JSON strings as their text, then the end."""
    return [b"data: " + chunk + b"\n\n" for chunk in (*(FRAME % text for text in texts), END, b"[DONE]")]


def decode(pieces: list[bytes]) -> list[Event]:
    decoder = DIALECT.decoder()
    found = [event for piece in pieces for event in decoder.feed(piece)]
    return merge(found + decoder.end())


def said(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@given(st.lists(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])), min_size=2, max_size=8))
def test_text_is_read_alike_token_by_token_and_in_one_read(texts: list[str]) -> None:
    pieces = stream([orjson.dumps(text) for text in texts])
    one_by_one = decode(pieces)
    assert decode([b"".join(pieces)]) == one_by_one
    assert decode([pieces[0], pieces[1], b"".join(pieces[2:])]) == one_by_one
    assert said(one_by_one) == "".join(texts)


def test_escapes_that_orjson_would_not_write_are_read_all_the_same() -> None:
    texts = [b'"a"', b'"b"', b'"\\u0041\\/"', b'"\\ud83d\\ude00"', b'"c"']
    pieces = stream(texts)
    assert said(decode(pieces)) == said(decode([pieces[0], pieces[1], b"".join(pieces[2:])])) == "abA/\U0001f600c"


def known() -> AlikeChunks:
    alike = AlikeChunks()
    alike.learn(FRAME % b'"a"', TextDelta("a"))
    assert alike.known
    return alike


def test_a_text_that_is_no_json_string_is_never_taken_for_one() -> None:
    for body in (b'b","c', b"b\\", b'"', b"\n", b"\xff"):
        assert known().run([FRAME % b'"x"', (FRAME % b'"@"').replace(b"@", body)], 0) == (None, 0)


def test_two_wrong_texts_that_make_up_for_each_other_are_not_taken_either() -> None:
    wrong = [(FRAME % b'"@"').replace(b"@", body) for body in (b'b","c', b"d\\", b',"x')]
    assert known().run(wrong, 0) == (None, 0)


def test_a_run_ends_at_the_chunk_that_differs_in_more_than_its_text() -> None:
    other_choice = (FRAME % b'"b"').replace(b'"index":0', b'"index":1')
    assert known().run([END, FRAME % b'"b"', FRAME % b'"c"', END, FRAME % b'"d"'], 1) == (TextDelta("bc"), 3)
    assert known().run([FRAME % b'"b"', other_choice], 0) == (TextDelta("b"), 1)
    assert known().run([FRAME % b'"b"'], 0) == (TextDelta("b"), 1)
    assert known().run([END], 0) == (None, 0)
    assert known().run([FRAME % b'""'], 0) == (None, 0)


def test_padding_of_any_length_makes_no_difference() -> None:
    padded = [
        FRAME[:-1] % text + b',"obfuscation":"%s"}' % pad for text, pad in ((b'"a"', b"x1"), (b'"b"', b"yZ23"))
    ]
    alike = AlikeChunks()
    alike.learn(padded[0], TextDelta("a"))
    assert alike.run(padded, 0) == (TextDelta("ab"), 2)
    more = FRAME[:-1] % b'"c"' + b',"obfuscation":"x","usage":{"prompt_tokens":1}}'
    assert alike.run([*padded, more], 0) == (TextDelta("ab"), 2)
    assert alike.run([FRAME % b'"a"'], 0) == (None, 0)


@pytest.mark.parametrize("name", [b"obfuscation", b"p"])
@pytest.mark.parametrize("rest", [b"", b',"object":"chat.completion.chunk","usage":null'])
def test_padding_is_known_at_the_end_and_in_the_middle_of_a_chunk(name: bytes, rest: bytes) -> None:
    def padded(text: bytes, padding: bytes, rest: bytes = rest) -> bytes:
        return FRAME[:-1] % text + b',"%s":"%s"%s}' % (name, padding, rest)

    alike = AlikeChunks()
    alike.learn(padded(b'"a"', b"x1"), TextDelta("a"))
    run = [padded(b'"b"', b"yZ23"), padded(b'"c"', b""), padded(b'"d"', b"q")]
    assert alike.run(run, 0) == (TextDelta("bcd"), 3)
    for other in (padded(b'"e"', b"x", b',"usage":{}'), padded(b'"e"', b'x","y":"z'), FRAME % b'"e"'):
        assert alike.run([other], 0) == (None, 0)


def test_a_text_whose_place_is_not_found_at_once_teaches_nothing() -> None:
    alike = AlikeChunks()
    alike.learn(b'{"content":"other","choices":[{"delta":{"content":"a"}}]}', TextDelta("a"))
    assert not alike.known


def test_what_comes_after_the_end_is_ignored_however_it_is_split() -> None:
    pieces = stream([b'"a"', b'"b"'])
    late = b"data: " + FRAME % b'"late"' + b"\n\n"
    assert said(decode([*pieces, late])) == "ab"
    assert said(decode([b"".join([*pieces, late])])) == "ab"
