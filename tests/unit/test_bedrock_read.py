"""What comes back from Converse: one test per rule that gateways get wrong."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from adapters.providers.anthropic.messages import FORMAT
from adapters.providers.bedrock import DIALECT
from adapters.providers.bedrock.answer import STOP_REASONS
from adapters.providers.bedrock.errors import KINDS
from adapters.providers.bedrock.frames import MAX_FRAME_BYTES
from adapters.providers.bedrock.messages import REDACTED
from service.domain.events import (
    Event,
    Extra,
    Finish,
    FinishReason,
    Folded,
    OpaqueAnnotation,
    ReasoningSeal,
    Start,
    TextDelta,
    UrlCitation,
)
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold
from tests.contract.bedrock import SAMPLE
from tests.contract.sample import decode
from tests.support import bedrock_model, eventstream

USAGE = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}


def whole(*content: dict[str, Any], stop: str = "end_turn", **more: Any) -> Folded:
    answer = {"output": {"message": {"content": content}}, "stopReason": stop, "usage": USAGE, **more}
    return fold(DIALECT.read(json.dumps(answer).encode()))


def sent(kind: str, **payload: Any) -> bytes:
    (frame,) = eventstream.encode([{"event": kind, "payload": payload}])
    return frame


BEGIN = sent("messageStart", role="assistant")


def delta(index: int = 0, **delta: Any) -> bytes:
    return sent("contentBlockDelta", contentBlockIndex=index, delta=delta)


def ended(stop: str = "end_turn") -> bytes:
    return sent("messageStop", stopReason=stop) + sent("metadata", usage=USAGE, metrics={"latencyMs": 1})


def streamed(*frames: bytes, stop: str = "end_turn") -> list[Event]:
    return decode(DIALECT, [BEGIN, *frames, ended(stop)])


def failed(data: bytes) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        decode(DIALECT, [data])
    return caught.value


def test_every_stop_reason_that_the_service_model_lists_has_a_meaning() -> None:
    shape = bedrock_model.operation(stream=False).output_shape.members["stopReason"]
    assert set(shape.enum) == set(STOP_REASONS)


@pytest.mark.parametrize("reason", ["guardrail_intervened", "content_filtered"])
def test_guardrails_and_content_filters_end_as_content_filter(reason: str) -> None:
    finish = Finish(FinishReason.CONTENT_FILTER, reason)
    assert whole({"text": "Sorry."}, stop=reason).choices[0].finish == finish
    assert fold(streamed(delta(text="Sorry."), stop=reason)).choices[0].finish == finish


def test_an_unknown_stop_reason_does_not_fail_the_call_and_is_told() -> None:
    events = streamed(delta(text="a"), stop="out_of_ideas")
    assert Finish(FinishReason.STOP, "out_of_ideas") in events
    assert Extra("choice", (("native_finish_reason", '"out_of_ideas"'),)) in events
    assert fold(events).choices == whole({"text": "a"}, stop="out_of_ideas").choices


def test_an_answer_has_no_id_and_no_model_so_that_the_api_gives_its_own() -> None:
    assert whole({"text": "a"}).start == Start("", "") == fold(streamed(delta(text="a"))).start


def test_input_tokens_include_what_was_read_from_and_written_to_the_cache() -> None:
    counted = {"inputTokens": 11, "outputTokens": 264, "totalTokens": 1403}
    counted |= {"cacheReadInputTokens": 100, "cacheWriteInputTokens": 1028}
    usage = whole({"text": "a"}, usage=counted).usage
    assert usage is not None
    assert (usage.input_tokens, usage.total_tokens) == (1139, 1403)
    assert (usage.cached_tokens, usage.cache_write_tokens) == (100, 1028)


def test_tool_calls_are_counted_apart_from_the_blocks_around_them() -> None:
    start = {"toolUse": {"toolUseId": "b", "name": "n"}}
    events = streamed(
        delta(0, text="Hm."),
        sent("contentBlockStop", contentBlockIndex=0),
        sent("contentBlockStart", contentBlockIndex=1, start={"toolUse": {"toolUseId": "a", "name": "m"}}),
        # Blocks that run side by side keep to their index.
        sent("contentBlockStart", contentBlockIndex=2, start=start),
        delta(2, toolUse={"input": '{"x":'}),
        delta(1, toolUse={"input": ""}),
        delta(2, toolUse={"input": "1}"}),
        sent("contentBlockStop", contentBlockIndex=1),
        sent("contentBlockStop", contentBlockIndex=2),
        stop="tool_use",
    )
    calls = fold(events).choices[0].calls
    assert [(call.id, call.name, call.arguments) for call in calls] == [("a", "m", "{}"), ("b", "n", '{"x":1}')]


def test_tools_that_the_provider_ran_itself_are_no_calls() -> None:
    tool = {"toolUseId": "s", "name": "nova_grounding", "type": "server_tool_use", "input": {"q": 1}}
    result = {"toolResult": {"toolUseId": "s", "content": [], "type": "nova_grounding_result"}}
    assert whole({"toolUse": tool}, result, {"text": "a"}).choices[0].calls == ()
    events = streamed(
        sent("contentBlockStart", contentBlockIndex=0, start={"toolUse": tool}),
        delta(0, toolUse={"input": '{"q":1}'}),
        sent("contentBlockStop", contentBlockIndex=0),
        sent("contentBlockStart", contentBlockIndex=1, start={"toolResult": {"toolUseId": "s"}}),
        delta(1, toolResult=[{"text": "found"}]),
        delta(2, text="a"),
    )
    assert fold(events).choices[0].calls == ()
    assert fold(events).choices[0].text == "a"


def test_a_signature_seals_its_reasoning_and_redacted_reasoning_is_kept_as_it_is() -> None:
    folded = fold(
        streamed(
            delta(0, reasoningContent={"text": "Let me "}),
            delta(0, reasoningContent={"text": "see."}),
            delta(0, reasoningContent={"signature": "c2ln"}),
            sent("contentBlockStop", contentBlockIndex=0),
            delta(1, reasoningContent={"redactedContent": "b3BhcXVl"}),
            sent("contentBlockStop", contentBlockIndex=1),
            delta(2, text="Seven."),
        )
    )
    text = {"reasoningContent": {"reasoningText": {"text": "Let me see.", "signature": "c2ln"}}}
    assert folded == whole(text, {"reasoningContent": {"redactedContent": "b3BhcXVl"}}, {"text": "Seven."})
    seals = [piece.seal for piece in folded.choices[0].reasoning]
    assert seals == [ReasoningSeal(FORMAT, signature="c2ln"), ReasoningSeal(FORMAT, encrypted="b3BhcXVl")]


def test_redacted_reasoning_without_any_that_claude_signed_is_no_claudes() -> None:
    (piece,) = whole({"reasoningContent": {"redactedContent": "b3BhcXVl"}}, {"text": "a"}).choices[0].reasoning
    assert piece.seal == ReasoningSeal(REDACTED, encrypted="b3BhcXVl")


def test_redacted_reasoning_in_several_deltas_is_one_piece_of_all_its_bytes() -> None:
    pieces = [base64.b64encode(part).decode() for part in (b"opaque", b" ", b"bytes")]
    events = streamed(*(delta(0, reasoningContent={"redactedContent": piece}) for piece in pieces))
    (piece,) = fold(events).choices[0].reasoning
    assert piece.seal is not None
    assert base64.b64decode(piece.seal.encrypted or "") == b"opaque bytes"


def test_reasoning_without_a_signature_has_no_seal() -> None:
    (piece,) = whole({"reasoningContent": {"reasoningText": {"text": "Hm."}}}).choices[0].reasoning
    assert (piece.text, piece.seal) == ("Hm.", None)


def test_citations_stand_behind_the_text_that_they_are_about() -> None:
    web = {"title": "E", "location": {"web": {"url": "https://example.com", "domain": "example.com"}}}
    page = {"title": "Report", "location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 2}}}
    cited = {"citationsContent": {"content": [{"text": "So it is."}], "citations": [web, page]}}
    folded = whole({"text": "Well. "}, cited)
    notes = folded.choices[0].annotations
    assert notes[0] == UrlCitation("https://example.com", "E", 6, 15)
    assert isinstance(notes[1], OpaqueAnnotation)
    assert (notes[1].type, json.loads(notes[1].json)) == ("documentPage", page)
    first = (delta(0, text="Well. "), sent("contentBlockStop", contentBlockIndex=0))
    cites = (delta(1, citation=web), delta(1, citation=page))
    for second in ((*cites, delta(1, text="So it is.")), (delta(1, text="So "), delta(1, text="it is."), *cites)):
        events = streamed(*first, *second, sent("contentBlockStop", contentBlockIndex=1))
        assert fold(events) == folded


def test_blocks_and_events_to_come_are_not_refused() -> None:
    assert whole({"hologram": {}}, {"text": "a"}, {"image": {"format": "png"}}).choices[0].text == "a"
    events = streamed(
        sent("hologramStart", contentBlockIndex=0), delta(0, hologram={}), delta(1, text="a"), delta(2, image={})
    )
    assert fold(events).choices[0].text == "a"


def test_the_end_takes_both_the_stop_and_the_usage_behind_it() -> None:
    for frames in (BEGIN, BEGIN + sent("messageStop", stopReason="end_turn"), b""):
        assert failed(frames).failure.kind is FailureKind.CUT


def test_what_follows_the_end_is_of_no_answer() -> None:
    events = streamed(delta(text="a")) + []
    assert decode(DIALECT, [BEGIN, delta(text="a"), ended(), delta(text="b"), b"junk"]) == events
    stopped = sent("messageStop", stopReason="end_turn")
    more = decode(DIALECT, [BEGIN, delta(text="a"), stopped, delta(text="b"), ended("max_tokens")])
    assert more == events


def test_a_stream_that_does_not_begin_or_begins_a_block_twice_is_no_answer() -> None:
    start = sent("contentBlockStart", contentBlockIndex=0, start={"toolUse": {"toolUseId": "a", "name": "m"}})
    assert failed(delta(text="a")).failure.kind is FailureKind.PROTOCOL
    assert failed(BEGIN + start + start).failure.kind is FailureKind.PROTOCOL


def test_a_message_start_that_comes_again_starts_nothing_again() -> None:
    assert sum(isinstance(event, Start) for event in streamed(BEGIN, delta(text="a"))) == 1


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b"null", b"7", b'{"delta":7}', b'{"delta":{"text":7}}', b"\xff"]
)
def test_a_frame_whose_payload_is_not_the_protocol_is_a_protocol_error(payload: bytes) -> None:
    error = failed(BEGIN + eventstream.event("contentBlockDelta", payload))
    assert error.failure.kind is FailureKind.PROTOCOL


def test_a_body_in_a_streams_place_is_bounded_and_read_whole() -> None:
    assert fold(decode(DIALECT, [b" \n", SAMPLE.answer("text")])) == fold(DIALECT.read(SAMPLE.answer("text")))
    decoder = DIALECT.decoder()
    with pytest.raises(UpstreamError) as error:
        for _ in range(20):
            decoder.feed(b"{" * (MAX_FRAME_BYTES // 10))
    assert error.value.failure.kind is FailureKind.PROTOCOL
    with pytest.raises(UpstreamError):
        decoder.feed(b"more")


def test_every_exception_of_the_service_model_has_a_kind() -> None:
    model = bedrock_model.operation(stream=True)
    errors = {shape.name for shape in model.error_shapes}
    stream = model.output_shape.members["stream"].members
    errors |= {name for name in stream if name.endswith("Exception")}
    assert {name.removesuffix("Exception").lower() for name in errors} <= set(KINDS)
    for shape in model.error_shapes:
        status, _ = KINDS[shape.name.removesuffix("Exception").lower()]
        assert status == shape.metadata["error"]["httpStatusCode"], shape.name


@pytest.mark.parametrize(
    ("name", "message", "kind"),
    [
        ("throttlingException", "Too many requests", FailureKind.RATE_LIMITED),
        ("modelStreamErrorException", "The model broke", FailureKind.SERVER_ERROR),
        ("internalServerException", "Internal", FailureKind.SERVER_ERROR),
        ("serviceUnavailableException", "Later", FailureKind.OVERLOADED),
        ("modelTimeoutException", "Too late", FailureKind.TIMEOUT),
        ("validationException", "Bad", FailureKind.INVALID_REQUEST),
        ("validationException", "Input is too long for requested model.", FailureKind.CONTEXT_LENGTH),
        ("accessDeniedException", "No", FailureKind.AUTH),
        ("exceptionToCome", "New", FailureKind.SERVER_ERROR),
    ],
)
def test_an_exception_frame_after_a_good_start_is_its_kind_of_failure(
    name: str, message: str, kind: FailureKind
) -> None:
    frame = eventstream.exception(name, json.dumps({"message": message}).encode())
    decoder = DIALECT.decoder()
    assert decoder.feed(BEGIN + delta(text="a") + frame) == [Start("", ""), TextDelta("a")]
    with pytest.raises(UpstreamError) as error:
        decoder.feed(ended())
    failure = error.value.failure
    assert (failure.kind, failure.message, failure.status, failure.code) == (kind, message, 200, name)


def test_an_exception_without_a_readable_payload_still_has_its_kind() -> None:
    error = failed(BEGIN + eventstream.exception("throttlingException", b"not json"))
    assert error.failure.kind is FailureKind.RATE_LIMITED
    assert error.failure.message


def test_names_of_accounts_and_roles_are_not_told() -> None:
    said = "User: arn:aws:sts::123456789012:assumed-role/x is not authorized on resource: arn:aws-cn:bedrock:a:b:c"
    headers = {"x-amzn-errortype": "AccessDeniedException"}
    failure = DIALECT.classify(403, headers, json.dumps({"Message": said}).encode())
    assert failure.message == "User: arn:*** is not authorized on resource: arn:***"
    assert DIALECT.classify(403, headers, b"").kind is FailureKind.AUTH
