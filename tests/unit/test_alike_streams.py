"""Streams that come many events at a time say what they say one by one: anthropic, openai_responses, bedrock."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.providers.dialect import Dialect
from adapters.providers.openai_responses.alike import AlikeDeltas
from adapters.providers.registry import DIALECTS
from adapters.providers.simulator import Reason, Script, ToolCall
from adapters.providers.simulator.anthropic import AnthropicMessages
from adapters.providers.simulator.bedrock import BedrockConverse
from adapters.providers.simulator.frames import event
from adapters.providers.simulator.openai_responses import OpenAIResponses
from adapters.providers.simulator.wire import Encoded, Form, WireFormat
from service.coalesce import merge
from service.domain.events import Event, TextDelta
from service.domain.failure import FailureKind, UpstreamError

FORM = Form(model="m", stream=True, obfuscation=True, echoed="{}")
WIRES: dict[str, WireFormat] = {
    "anthropic": AnthropicMessages(),
    "openai_responses": OpenAIResponses(),
    "bedrock": BedrockConverse(),
}
NAMES = pytest.mark.parametrize("name", WIRES)
TEXTS = st.lists(
    st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(["\\", '"', '","', "1"]),
    min_size=1,
    max_size=9,
)


def stream(name: str, script: Script) -> list[bytes]:
    encoded = WIRES[name].stream(script, FORM)
    assert isinstance(encoded, Encoded)
    return [piece for piece in (encoded.head, *encoded.tokens, encoded.tail) if piece]


def decode(dialect: Dialect, pieces: list[bytes]) -> list[Event]:
    decoder = dialect.decoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return merge(events + decoder.end())


def said(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@NAMES
@given(texts=TEXTS, reasoning=TEXTS, size=st.integers(1, 400))
def test_any_text_is_read_the_same_event_by_event_and_in_any_reads(
    name: str, texts: list[str], reasoning: list[str], size: int
) -> None:
    call = ToolCall("call_1", "get_weather", '{"text": "delta"}')
    script = Script(text=tuple(texts), reasoning=tuple(reasoning), tool_calls=(call,))
    pieces = stream(name, script)
    one_by_one = decode(DIALECTS[name], pieces)
    whole = b"".join(pieces)
    assert said(one_by_one) == "".join(texts)
    assert decode(DIALECTS[name], [whole]) == one_by_one
    assert decode(DIALECTS[name], [whole[:size], whole[size:]]) == one_by_one


@NAMES
def test_an_error_behind_a_run_of_tokens_comes_after_all_of_them(name: str) -> None:
    pieces = stream(name, Script(tokens=20))
    broken = b"".join(pieces[:-1]) + WIRES[name].error_event(Reason.OVERLOADED, None)
    decoder = DIALECTS[name].decoder()
    assert said(decoder.feed(broken)) == said(decode(DIALECTS[name], pieces))
    with pytest.raises(UpstreamError) as caught:
        decoder.end()
    # OpenAI has no word of its own for it.
    assert caught.value.failure.kind in (FailureKind.OVERLOADED, FailureKind.SERVER_ERROR)


def anthropic_delta(text: bytes) -> bytes:
    data = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":%b}}' % text
    return b"event: content_block_delta\ndata: %b\n\n" % data


def responses_delta(text: bytes) -> bytes:
    place = b'"sequence_number":9,"item_id":"msg_1","output_index":0,"content_index":0,'
    rest = b'"delta":%b,"logprobs":[],"obfuscation":"ab"}' % text
    return (
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",' + place + rest + b"\n\n"
    )


def bedrock_delta(text: bytes) -> bytes:
    return event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":%b},"p":"abc"}' % text)


DELTAS: dict[str, Callable[[bytes], bytes]] = {
    "anthropic": anthropic_delta,
    "openai_responses": responses_delta,
    "bedrock": bedrock_delta,
}


@NAMES
def test_a_text_that_is_no_json_string_among_many_is_a_protocol_error_after_what_came_before(name: str) -> None:
    delta = DELTAS[name]
    begun = stream(name, Script(text=("x",)))[0]
    for bad in (b'"b","c"', b'"b\\"', b'"""', b'"\xff"'):
        good = b"".join(delta(orjson.dumps(text)) for text in "abcdef")
        decoder = DIALECTS[name].decoder()
        events = decoder.feed(begun + good + delta(bad) + delta(b'"never"'))
        assert said(events) == "abcdef", bad
        with pytest.raises(UpstreamError) as caught:
            decoder.end()
        assert caught.value.failure.kind is FailureKind.PROTOCOL


@NAMES
def test_escapes_that_orjson_would_not_write_are_read_all_the_same(name: str) -> None:
    delta = DELTAS[name]
    texts = [b'"a"', b'"b"', b'"c"', b'"d"', b'"\\u0041\\/"', b'"\\ud83d\\ude00"', b'"e"', b'""']
    begun = stream(name, Script(text=("x",)))[0]
    pieces = [begun, *(delta(text) for text in texts)]
    at_once, one_by_one = DIALECTS[name].decoder(), DIALECTS[name].decoder()
    together = at_once.feed(b"".join(pieces))
    apart = [each for piece in pieces for each in one_by_one.feed(piece)]
    assert said(together) == said(apart) == "abcdA/\U0001f600e"


# OpenAI's documented order of keys, and that of its recorded answers.
ORDERS = (
    '{{"sequence_number":{number},"item_id":"{item}","delta":"{text}","logprobs":[],"obfuscation":"{padding}"}}',
    '{{"delta":"{text}","item_id":"{item}","obfuscation":"{padding}","output_index":0,"sequence_number":{number}}}',
    '{{"delta": "{text}", "item_id": "{item}", "obfuscation": "{padding}", "sequence_number": {number}}}',
)


@pytest.mark.parametrize("order", ORDERS)
def test_the_places_of_what_changes_are_learned_in_any_order(order: str) -> None:
    def delta(text: str, number: object, padding: str = "", item: str = "msg_1") -> bytes:
        return order.format(text=text, number=number, padding=padding, item=item).encode()

    alike = AlikeDeltas()
    first = delta("a", 9, "xyz")
    alike.learn(first, orjson.loads(first))
    assert alike.event is not None
    chunks = [delta("b", 10, "q"), delta("c", 11), delta("12", 123456, "0a")]
    assert alike.run(chunks, 0) == ("bc12", 3)
    assert alike.run(chunks[:2], 0) == ("", 0), "too few"
    for other in (delta("d", 12, "q", "msg_2"), delta("d", "null"), delta("d", 12, "é"), delta("d", "")):
        assert alike.run([*chunks, other], 0) == ("bc12", 3)


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"t","delta":"a","obfuscation":"x"}',
        b'{"type":"t","delta":"a","sequence_number":1}',
        b'{"type":"t","delta":null,"sequence_number":1,"obfuscation":"x"}',
        b'{"type":"t","delta":"\\u0041","sequence_number":1,"obfuscation":"x"}',
    ],
)
def test_what_has_another_form_is_not_learned(data: bytes) -> None:
    alike = AlikeDeltas()
    alike.learn(data, orjson.loads(data))
    assert alike.event is None
