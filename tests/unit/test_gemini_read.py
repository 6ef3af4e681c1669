"""What comes back from Gemini: one test per rule that gateways get wrong."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.providers.gemini import DIALECT
from adapters.providers.gemini.candidate import FINISH, MOST_KEPT
from adapters.providers.gemini.errors import failure_in
from service.coalesce import merge
from service.domain.events import (
    Event,
    Extra,
    FinishReason,
    Folded,
    OpaqueAnnotation,
    ReasoningSeal,
    TextDelta,
    TokenLogprob,
    ToolCallStart,
    TopToken,
    UrlCitation,
)
from service.domain.failure import Failure, FailureKind, UpstreamError
from service.domain.fold import fold
from tests.contract.gemini import error
from tests.contract.sample import cut_every, decode

Json = dict[str, Any]


def candidate(*parts: Json, finish: str | None = None, index: int = 0, **more: Any) -> Json:
    ended = {"finishReason": finish} if finish else {}
    return {"content": {"parts": list(parts), "role": "model"}, **ended, "index": index, **more}


def chunk(*candidates: Json, answer_id: str = "r-1", **more: Any) -> Json:
    return {"candidates": list(candidates), "modelVersion": "m", "responseId": answer_id, **more}


def say(text: str) -> Json:
    return {"text": text}


def call(name: str, **more: Any) -> Json:
    return {"functionCall": {"name": name, "args": {}}, **more}


def whole(document: Any) -> Folded:
    return fold(DIALECT.read(json.dumps(document).encode()))


def sse(*documents: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)


def streamed(*documents: Any) -> Folded:
    return fold(decode(DIALECT, [sse(*documents)]))


def failure_of(body: bytes) -> Failure:
    with pytest.raises(UpstreamError) as caught:
        DIALECT.read(body)
    return caught.value.failure


def failure_of_stream(data: bytes, size: int | None = None) -> tuple[list[Event], Failure]:
    decoder = DIALECT.decoder()
    events: list[Event] = []
    with pytest.raises(UpstreamError) as caught:
        for piece in cut_every(data, size or len(data)):
            events += decoder.feed(piece)
        events += decoder.end()
    return events, caught.value.failure


@pytest.mark.parametrize("word", FINISH)
def test_each_finish_reason_is_taken_for_what_it_is_once_something_was_said(word: str) -> None:
    for answer in (
        whole(chunk(candidate(say("Hi"), finish=word))),
        streamed(chunk(candidate(say("Hi"), finish=word))),
    ):
        (choice,) = answer.choices
        assert choice.finish is not None
        assert (choice.finish.reason, choice.finish.raw) == (FINISH[word], word)
        assert choice.text == "Hi"


def test_a_finish_reason_that_nobody_knows_does_not_fail_the_call_and_is_told() -> None:
    (choice,) = whole(chunk(candidate(say("Hi"), finish="TOO_BORED"))).choices
    assert choice.finish is not None
    assert (choice.finish.reason, choice.finish.raw) == (FinishReason.STOP, "TOO_BORED")
    assert choice.extra == {"native_finish_reason": '"TOO_BORED"'}


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", FinishReason.TOOL_CALLS),
        ("TOO_BORED", FinishReason.TOOL_CALLS),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("SAFETY", FinishReason.CONTENT_FILTER),
    ],
)
def test_a_turn_with_calls_that_stops_has_ended_for_its_calls(word: str, reason: FinishReason) -> None:
    (choice,) = whole(chunk(candidate(call("look"), finish=word))).choices
    assert choice.finish is not None
    assert choice.finish.reason is reason


def test_a_model_that_breaks_off_before_a_word_is_a_failure_that_another_endpoint_may_make_good() -> None:
    broken = chunk(candidate(finish="MALFORMED_FUNCTION_CALL", finishMessage="Malformed function call: secret"))
    _, of_stream = failure_of_stream(sse(broken))
    for failure in (failure_of(json.dumps(broken).encode()), of_stream):
        assert (failure.kind, failure.code) == (FailureKind.SERVER_ERROR, "MALFORMED_FUNCTION_CALL")
        assert "secret" not in failure.message


def test_a_filtered_answer_without_a_word_is_an_answer() -> None:
    (choice,) = whole(chunk({"finishReason": "SAFETY", "index": 0})).choices
    assert choice.text == ""
    assert choice.finish is not None
    assert choice.finish.reason is FinishReason.CONTENT_FILTER


def test_a_blocked_prompt_is_refused_as_content_policy_before_the_first_token() -> None:
    blocked = {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "secret prompt"},
        "usageMetadata": {"promptTokenCount": 4},
        "responseId": "r-1",
    }
    events, of_stream = failure_of_stream(sse(blocked))
    assert not events
    for failure in (failure_of(json.dumps(blocked).encode()), of_stream):
        assert (failure.kind, failure.code) == (FailureKind.CONTENT_POLICY, "PROHIBITED_CONTENT")
        assert "secret" not in failure.message


def test_feedback_on_a_prompt_that_was_not_blocked_is_told() -> None:
    answer = whole(chunk(candidate(say("Hi"), finish="STOP"), promptFeedback={"safetyRatings": []}))
    assert answer.extra == {"promptFeedback": '{"safetyRatings":[]}'}


def test_an_answer_without_candidates_is_none() -> None:
    assert failure_of(b'{"usageMetadata":{"promptTokenCount":3},"responseId":"r"}').kind is FailureKind.PROTOCOL


def ids(answer: Folded) -> list[str]:
    return [call.id for choice in answer.choices for call in choice.calls]


def test_calls_without_ids_get_one_that_is_the_same_in_every_reading() -> None:
    document = chunk(candidate(call("look"), call("look"), finish="STOP"))
    first = ids(whole(document))
    assert first == ids(whole(document))
    assert first == ids(streamed(chunk(candidate(call("look"))), chunk(candidate(call("look"), finish="STOP"))))
    assert len(set(first)) == 2


def test_calls_without_ids_are_told_apart_from_those_of_other_turns_and_other_candidates() -> None:
    def asked(answer_id: str, prompt: int) -> list[str]:
        both = (candidate(call("look"), finish="STOP", index=index) for index in (0, 1))
        return ids(whole(chunk(*both, answer_id=answer_id, usageMetadata={"promptTokenCount": prompt})))

    seen = [*asked("r-1", 10), *asked("r-2", 10)]
    # Servers that give no id of the answer still count the prompt, which grows with every turn.
    seen += [*asked("", 10), *asked("", 25)]
    assert len(set(seen)) == 8


def test_an_id_that_gemini_gives_a_call_stays() -> None:
    document = chunk(candidate({"functionCall": {"id": "x-1", "name": "look", "args": {"a": 1}}}, finish="STOP"))
    assert ids(whole(document)) == ["x-1"]


def test_a_calls_signature_is_told_right_before_it_with_its_id() -> None:
    document = chunk(candidate(call("look", thoughtSignature="QQ=="), call("hear"), finish="STOP"))
    events = DIALECT.read(json.dumps(document).encode())
    kinds = [event for event in events if isinstance(event, ReasoningSeal | ToolCallStart)]
    first = kinds[1]
    assert isinstance(first, ToolCallStart)
    assert kinds[0] == ReasoningSeal("google-gemini-v1", encrypted="QQ==", id=first.id)
    assert [type(event) for event in kinds[1:]] == [ToolCallStart, ToolCallStart]


def test_thoughts_are_reasoning_and_never_content() -> None:
    thought = {"text": "Hm.", "thought": True}
    for answer in (
        whole(chunk(candidate(thought, say("Seven."), finish="STOP"))),
        streamed(chunk(candidate(thought)), chunk(candidate(say("Seven."), finish="STOP"))),
    ):
        (choice,) = answer.choices
        assert choice.text == "Seven."
        assert [(piece.text, piece.kind) for piece in choice.reasoning] == [("Hm.", "summary")]


def test_several_candidates_are_choices_of_their_own_and_each_must_end() -> None:
    opening = chunk(candidate(say("a")), candidate(say("b"), index=1))
    ends = (chunk(candidate(say("A"), finish="STOP")), chunk(candidate(say("B"), finish="MAX_TOKENS", index=1)))
    answer = streamed(opening, *ends)
    assert [(choice.text, choice.finish and choice.finish.raw) for choice in answer.choices] == [
        ("aA", "STOP"),
        ("bB", "MAX_TOKENS"),
    ]
    _, failure = failure_of_stream(sse(opening, ends[0]))
    assert failure.kind is FailureKind.CUT


def test_log_probabilities_go_with_the_text_of_their_chunk() -> None:
    logprobs = {
        "chosenCandidates": [{"token": "Hi", "tokenId": 7, "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "Hi", "logProbability": -0.5}, {"token": "Ho"}]}],
    }
    (choice,) = streamed(
        chunk(candidate(say("Hi"), logprobsResult=logprobs)), chunk(candidate(say("!"), finish="STOP"))
    ).choices
    assert choice.text == "Hi!"
    assert choice.text_logprobs == (TokenLogprob("Hi", -0.5, top=(TopToken("Hi", -0.5), TopToken("Ho", 0.0))),)


def test_sources_are_told_by_characters_though_google_counts_bytes() -> None:
    text = "Grüße 🌍: Oslo ist kalt."
    said = "Oslo ist kalt."
    start = len(text[: text.index(said)].encode())
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}, {"retrievedContext": {}}],
        "groundingSupports": [
            {
                "segment": {"startIndex": start, "endIndex": start + len(said), "text": said},
                "groundingChunkIndices": [0, 1, 7],
            }
        ],
        "webSearchQueries": ["oslo"],
    }
    cited = {"citations": [{"startIndex": 0, "endIndex": 7, "uri": "https://b.example"}, {"license": "mit"}]}
    more: Json = {"groundingMetadata": grounding, "citationMetadata": cited}
    for answer in (
        whole(chunk(candidate(say(text), finish="STOP", **more))),
        streamed(
            chunk(candidate(say(text[:4]))),
            chunk(candidate(say(text[4:9]))),
            chunk(candidate(say(text[9:]), finish="STOP", **more)),
        ),
    ):
        (choice,) = answer.choices
        assert choice.annotations == (
            UrlCitation("https://b.example", "", 0, 5),
            OpaqueAnnotation("citation", '{"license":"mit"}'),
            UrlCitation("https://a.example", "A", text.index(said), len(text)),
        )
        assert choice.extra is not None
        assert json.loads(choice.extra["groundingMetadata"]) == grounding


@given(
    st.text(alphabet="aß世🌍", max_size=12),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=5),
)
def test_a_citations_bytes_are_the_characters_that_are_whole_before_them(
    text: str, ranges: list[tuple[int, int]]
) -> None:
    cited = [{"startIndex": start, "endIndex": end, "uri": "https://a.example"} for start, end in ranges]
    answer = whole(chunk(candidate(say("x" + text), finish="STOP", citationMetadata={"citations": cited})))

    def characters(offset: int) -> int:
        return len(("x" + text).encode()[:offset].decode(errors="ignore"))

    expected = tuple(UrlCitation("https://a.example", "", characters(a), characters(b)) for a, b in ranges)
    assert answer.choices[0].annotations == expected


def test_thousands_of_citations_of_a_long_answer_take_linear_time() -> None:
    text = "世" * 300_000
    cited = [{"startIndex": at, "endIndex": at + 90, "uri": "https://a.example"} for at in range(0, 900_000, 90)]
    body = json.dumps(chunk(candidate(say(text), finish="STOP", citationMetadata={"citations": cited}))).encode()
    started = time.process_time()
    (choice,) = fold(DIALECT.read(body)).choices
    assert choice.annotations[-1] == UrlCitation("https://a.example", "", 299_970, 300_000)
    # From its start on for each of 10,000 citations the text would be 9 GB.
    assert time.process_time() - started < 2


def test_text_beyond_any_models_longest_answer_is_not_kept_and_its_citations_are_told_without_a_place() -> None:
    decoder = DIALECT.decoder()
    piece = sse(chunk(candidate(say("x" * 65_536))))
    cited = {"citations": [{"startIndex": 0, "endIndex": 1, "uri": "https://a.example"}]}
    grounding = {"groundingSupports": [{"segment": {"endIndex": 1}, "groundingChunkIndices": [0]}]}
    grounding |= {"groundingChunks": [{"web": {"uri": "https://b.example"}}]}
    for _ in range(MOST_KEPT // 65_536 + 1):
        decoder.feed(piece)
    tracemalloc.start()
    for _ in range(100):
        decoder.feed(piece)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 1024 * 1024
    more: Json = {"citationMetadata": cited, "groundingMetadata": grounding}
    events = [*decoder.feed(sse(chunk(candidate(say("."), finish="STOP", **more)))), *decoder.end()]
    (note,) = [event for event in events if isinstance(event, UrlCitation | OpaqueAnnotation)]
    assert note == OpaqueAnnotation("citation", json.dumps(cited["citations"][0], separators=(",", ":")))
    assert any(isinstance(event, Extra) and event.fields[0][0] == "groundingMetadata" for event in events)


def test_usage_counts_thoughts_as_output_and_what_tools_brought_in_as_input() -> None:
    counts = {
        "promptTokenCount": 100,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 30,
        "toolUsePromptTokenCount": 5,
        "cachedContentTokenCount": 64,
        "totalTokenCount": 155,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 90}, {"modality": "AUDIO", "tokenCount": 10}],
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 20}],
        "toolUsePromptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
        "trafficType": "ON_DEMAND",
    }
    usage = whole(chunk(candidate(say("Hi"), finish="STOP"), usageMetadata=counts)).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (105, 50, 155)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (64, 30)
    assert dict(usage.details) == {
        "prompt.text_tokens": 95,
        "prompt.audio_tokens": 10,
        "completion.text_tokens": 20,
        "prompt.tool_use_tokens": 5,
    }
    assert usage.extra == (("trafficType", '"ON_DEMAND"'),)


def test_counts_are_totals_so_far_and_one_that_is_left_out_later_stays() -> None:
    usage = streamed(
        chunk(candidate(say("a")), usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 1}),
        chunk(candidate(say("b")), usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 2}),
        chunk(candidate(say("c"), finish="STOP"), usageMetadata={"candidatesTokenCount": 3}),
        {"usageMetadata": {"thoughtsTokenCount": 4}},
    ).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (9, 7, 4)


@pytest.mark.parametrize(
    "empty",
    [
        {"content": {"role": "model"}, "index": 0},
        {"content": {"role": "model", "parts": None}, "index": 0},
        {"content": {}, "index": 0},
        {"content": None, "index": 0},
        {"index": 0},
        {},
    ],
)
def test_a_chunk_without_parts_says_nothing_but_its_counts_wherever_it_comes(empty: Json) -> None:
    said = [chunk(candidate(say("Hello "))), chunk(candidate(say("world"))), chunk(candidate(finish="STOP"))]
    counted = chunk(empty, usageMetadata={"promptTokenCount": 3})
    for at in range(len(said)):
        folded = streamed(*said[:at], counted, *said[at:])
        assert folded.choices[0].text == "Hello world"
        assert folded.usage is not None
        assert folded.usage.input_tokens == 3


def test_a_finish_reason_in_every_chunk_ends_nothing_before_the_end() -> None:
    chunks = [chunk(candidate(say(piece), finish="STOP")) for piece in ("one ", "two ", "three")]
    events = decode(DIALECT, [sse(*chunks)])
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["one ", "two ", "three"]
    (choice,) = fold(events).choices
    assert choice.finish is not None
    assert choice.finish.raw == "STOP"


def test_a_stream_with_carriage_returns_and_without_a_last_blank_line_is_whole() -> None:
    data = sse(chunk(candidate(say("Hi"))), chunk(candidate(say("!"), finish="STOP"))).replace(b"\n", b"\r\n")
    (choice,) = fold(decode(DIALECT, cut_every(data[:-4], 3))).choices
    assert choice.text == "Hi!"


PIECES = st.lists(
    st.tuples(
        st.text(alphabet=st.sampled_from(list('ab"\\\n,{}[]7é🌍\u2028')), max_size=5),
        st.integers(0, 2),
        st.integers(1, 2000),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=150)
@given(pieces=PIECES, compact=st.booleans())
def test_chunks_that_are_read_at_a_go_say_what_they_say_one_by_one(
    pieces: list[tuple[str, int, int]], compact: bool
) -> None:
    documents = [
        chunk(
            candidate(say(text), index=index), usageMetadata={"promptTokenCount": 5, "candidatesTokenCount": count}
        )
        for text, index, count in pieces
    ]
    ends = [candidate(say("."), finish="STOP", index=index) for index in range(3)]
    spaces = (",", ":") if compact else (", ", ": ")
    frames = [
        b"data: " + json.dumps(document, separators=spaces, ensure_ascii=False).encode() + b"\n\n"
        for document in [*documents, chunk(*ends)]
    ]
    at_a_go, one_by_one = decode(DIALECT, [b"".join(frames)]), decode(DIALECT, frames)
    assert merge(at_a_go) == merge(one_by_one)
    texts = ["".join(text for text, index, _ in pieces if index == of) for of in range(3)]
    assert [choice.text for choice in fold(at_a_go).choices] == [text + "." for text in texts]


def test_a_run_of_chunks_that_differ_in_text_and_counts_only_is_one_event() -> None:
    frames = [
        sse(chunk(candidate(say(f"{n} ")), usageMetadata={"candidatesTokenCount": n, "promptTokenCount": 4}))
        for n in range(95, 105)
    ]
    end = sse(chunk(candidate(say("end"), finish="STOP")))
    events = decode(DIALECT, [*frames[:1], b"".join(frames[1:]), end])
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    assert texts == ["95 ", "96 ", "97 98 99 100 101 102 103 104 ", "end"]
    usage = fold(events).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (4, 104)


def test_a_chunk_of_another_shape_ends_a_run_and_nothing_of_it_is_lost() -> None:
    plain = [chunk(candidate(say(text)), usageMetadata={"promptTokenCount": 4}) for text in "abcdefgh"]
    other = chunk(candidate(call("look")), usageMetadata={"promptTokenCount": 4})
    (choice,) = streamed(*plain, other, *plain, chunk(candidate(say("."), finish="STOP"))).choices
    assert choice.text == "abcdefghabcdefgh."
    assert [made.name for made in choice.calls] == ["look"]


LIST = [chunk(candidate(say("Hi"))), chunk(candidate(say("!"), finish="STOP"))]


@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_a_list_of_chunks_in_the_place_of_events_is_read(size: int) -> None:
    data = json.dumps(LIST, indent=2).encode()
    (choice,) = fold(decode(DIALECT, cut_every(data, size))).choices
    assert choice.text == "Hi!"
    assert fold(DIALECT.read(data)).choices == (choice,)


def test_a_list_of_chunks_that_breaks_off_is_cut() -> None:
    data = json.dumps(LIST, indent=2).encode()
    for at in range(1, len(data), 7):
        assert failure_of_stream(data[:at])[1].kind is FailureKind.CUT
    short = json.dumps(LIST[:1]).encode()
    assert failure_of_stream(short)[1].kind is FailureKind.CUT
    assert failure_of(short).kind is FailureKind.CUT


def test_an_error_in_a_list_of_chunks_is_an_error() -> None:
    data = b"[" + json.dumps(LIST[0]).encode() + b"," + error(503, "UNAVAILABLE", "Overloaded") + b"]"
    assert failure_of_stream(data)[1].kind is FailureKind.OVERLOADED
    assert failure_of(data).kind is FailureKind.OVERLOADED


BARE = json.dumps(json.loads(error(429, "RESOURCE_EXHAUSTED", "Slow down")), indent=2).encode()


@settings(deadline=None, max_examples=60)
@given(size=st.integers(1, 400), crlf=st.booleans())
def test_an_error_that_stands_bare_in_a_running_stream_is_an_error_and_loses_nothing(
    size: int, crlf: bool
) -> None:
    data = sse(chunk(candidate(say("Hi"))), chunk(candidate(say("!")))) + BARE
    data = data.replace(b"\n", b"\r\n") if crlf else data
    events, failure = failure_of_stream(data, size)
    assert failure.kind is FailureKind.RATE_LIMITED
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hi!"


def test_a_chunk_of_which_a_read_begins_is_no_bare_error() -> None:
    first, second = sse(chunk(candidate(say("Hi")))), sse(chunk(candidate(say("!"), finish="STOP")))
    # The first chunk's blank line comes with the second one's `data: `, whose document begins the last read.
    (choice,) = fold(decode(DIALECT, [first[:-1], b"\n" + second[:6], second[6:]])).choices
    assert choice.text == "Hi!"


def test_half_a_bare_error_is_a_cut_stream() -> None:
    data = sse(chunk(candidate(say("Hi")))) + BARE[:-9]
    assert failure_of_stream(data)[1].kind is FailureKind.CUT


def test_a_bare_error_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    decoder = DIALECT.decoder()
    decoder.feed(sse(chunk(candidate(say("Hi")))) + b"{")
    with pytest.raises(UpstreamError) as caught:
        for _ in range(30):
            decoder.feed(b" " * 10_000)
    assert caught.value.failure.kind is FailureKind.PROTOCOL


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}, FailureKind.RATE_LIMITED),
        ({"error": {"code": 504, "message": "late"}}, FailureKind.TIMEOUT),
        ({"error": {"status": "A_NEW_ONE", "code": 400}}, FailureKind.SERVER_ERROR),
        ({"error": {"details": 7}}, FailureKind.SERVER_ERROR),
        ({"error": "overloaded"}, FailureKind.SERVER_ERROR),
    ],
)
def test_an_error_after_status_200_is_known_by_its_status_or_its_code(body: Json, kind: FailureKind) -> None:
    failure = failure_in(body)
    assert (failure.kind, failure.status) == (kind, 200)


def test_parts_that_are_no_content_of_a_chat_are_told_beside_it() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    (choice,) = whole(chunk(candidate(code, say("One."), finish="STOP"))).choices
    assert choice.text == "One."
    assert choice.message_extra is not None
    assert json.loads(choice.message_extra["parts"]) == [code]


def test_the_start_has_the_answers_time_where_it_is_told() -> None:
    told = whole(chunk(candidate(finish="STOP"), createTime="2026-11-22T10:00:00.123456789Z"))
    assert (told.start.id, told.start.model, told.start.created) == ("r-1", "m", 1795341600)
    assert whole(chunk(candidate(finish="STOP"), createTime="soon")).start.created == 0


@pytest.mark.parametrize(
    "broken",
    [
        {"content": {"parts": [7]}},
        {"content": 7},
        {"content": {"parts": [{"text": 7}]}},
        {"content": {"parts": [call("look", thoughtSignature=7)]}},
        {"content": {"parts": [{"functionCall": {"name": 7}}]}},
    ],
)
def test_a_candidate_of_another_shape_is_a_protocol_error_whole_and_streamed(broken: Json) -> None:
    document = chunk({**broken, "finishReason": "STOP"})
    assert failure_of(json.dumps(document).encode()).kind is FailureKind.PROTOCOL
    events, failure = failure_of_stream(sse(chunk(candidate(say("Hi"))), document))
    assert failure.kind is FailureKind.PROTOCOL
    assert [event for event in events if isinstance(event, TextDelta)] == [TextDelta("Hi")]


def test_a_retry_delay_beyond_all_measure_is_a_day() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "9999999999999s"}
    body = {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": [info]}}
    assert DIALECT.classify(429, {}, json.dumps(body).encode()).retry_after == 86_400.0
