"""The contract of every dialect, the same list for each of them."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.coalesce import merge
from service.domain.errors import ServiceError
from service.domain.events import VISIBLE, Folded, Start
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fields import Field
from service.domain.fold import fold
from service.domain.generation import Generation
from tests.contract.answers import ANSWERS, Meaning
from tests.contract.dialects import DIALECTS
from tests.contract.sample import DialectSample, ErrorSample, cut_every, decode, endpoint_for
from tests.golden.requests import CASES, everything

ANSWERED = [
    pytest.param(sample, case, id=f"{sample.name}-{case}")
    for sample in DIALECTS
    for case in ANSWERS
    if case not in sample.lacks
]
FAILED = [
    pytest.param(sample, error, id=f"{sample.name}-{error.status}-{error.kind.value}")
    for sample in DIALECTS
    for error in sample.errors
]
each_dialect = pytest.mark.parametrize("sample", DIALECTS, ids=lambda sample: sample.name)
each_answer = pytest.mark.parametrize(("sample", "case"), ANSWERED)


def says(folded: Folded, meaning: Meaning) -> None:
    (choice,) = folded.choices
    assert choice.text == meaning.text
    assert choice.refusal == meaning.refusal
    assert "".join(piece.text for piece in choice.reasoning) == meaning.reasoning
    assert [(call.name, json.loads(call.arguments or "{}")) for call in choice.calls] == list(meaning.calls)
    assert choice.finish is not None
    assert choice.finish.reason is meaning.finish
    assert folded.usage is not None
    usage = folded.usage
    assert (usage.input_tokens, usage.output_tokens) == meaning.tokens[:2]
    assert (usage.cached_tokens or 0) == (meaning.tokens[2] or 0)
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


@each_dialect
def test_a_dialect_has_a_whole_answer_and_a_stream_for_every_case_it_has_words_for(sample: DialectSample) -> None:
    assert set(sample.lacks) <= set(ANSWERS)
    assert all(sample.lacks.values()), "a missing case needs its reason"
    for case in set(ANSWERS) - set(sample.lacks):
        assert sample.answer(case)
        assert sample.stream(case)


@each_answer
def test_a_whole_answer_says_what_it_means(sample: DialectSample, case: str) -> None:
    says(fold(sample.dialect.read(sample.answer(case))), ANSWERS[case])


@each_answer
def test_a_stream_says_what_it_means(sample: DialectSample, case: str) -> None:
    says(fold(decode(sample.dialect, [sample.stream(case)])), ANSWERS[case])


@each_answer
@pytest.mark.parametrize("size", [1, 7, 64, None])
def test_folding_a_stream_equals_folding_the_whole_answer(
    sample: DialectSample, case: str, size: int | None
) -> None:
    stream = sample.stream(case)
    pieces = [stream] if size is None else cut_every(stream, size)
    assert fold(decode(sample.dialect, pieces)) == fold(sample.dialect.read(sample.answer(case)))


@each_answer
def test_any_split_of_a_stream_gives_the_same_events(sample: DialectSample, case: str) -> None:
    stream = sample.stream(case)
    expected = merge(decode(sample.dialect, [stream]))

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.integers(0, len(stream)), max_size=12))
    def check(cuts: list[int]) -> None:
        edges = [0, *sorted(cuts), len(stream)]
        assert merge(decode(sample.dialect, [stream[a:b] for a, b in pairwise(edges)])) == expected

    check()


@each_answer
def test_the_start_comes_once_and_first(sample: DialectSample, case: str) -> None:
    for events in (sample.dialect.read(sample.answer(case)), decode(sample.dialect, [sample.stream(case)])):
        assert isinstance(events[0], Start)
        assert sum(isinstance(event, Start) for event in events) == 1


@each_answer
def test_a_cut_stream_is_an_error_never_a_clean_end(sample: DialectSample, case: str) -> None:
    events = sample.frames(case)
    for count in range(len(events)):
        decoder = sample.dialect.decoder()
        decoder.feed(b"".join(events[:count]))
        with pytest.raises(UpstreamError) as error:
            decoder.end()
        assert error.value.failure.kind is FailureKind.CUT


@each_dialect
def test_a_stream_cut_within_an_event_is_an_error_too(sample: DialectSample) -> None:
    stream = sample.stream("text")
    terminal = len(stream) - len(sample.frames("text")[-1])
    for at in range(1, terminal, 5):
        decoder = sample.dialect.decoder()
        decoder.feed(stream[:at])
        with pytest.raises(UpstreamError) as error:
            decoder.end()
        assert error.value.failure.kind is FailureKind.CUT


@each_dialect
def test_nothing_is_visible_before_the_first_content(sample: DialectSample) -> None:
    # The first event of a stream is a role or a message start: it must not commit the call to its endpoint.
    decoder = sample.dialect.decoder()
    first = decoder.feed(sample.frames("text")[0])
    assert not any(isinstance(event, VISIBLE) for event in first)


@pytest.mark.parametrize(("sample", "error"), FAILED)
def test_an_error_answer_is_taken_for_what_it_is(sample: DialectSample, error: ErrorSample) -> None:
    failure = sample.dialect.classify(error.status, error.headers, error.body)
    assert failure.kind is error.kind
    assert failure.status == error.status
    assert failure.retry_after == error.retry_after
    assert error.says in failure.message
    assert failure.message
    assert "secret" not in failure.message


@each_dialect
def test_the_list_of_error_answers_covers_every_status_that_matters(sample: DialectSample) -> None:
    needed = {400, 401, 402, 403, 404, 408, 413, 429, 500, 503, 529}
    assert needed <= {error.status for error in sample.errors}
    assert any(error.status == 429 and error.retry_after for error in sample.errors)


@each_dialect
def test_an_error_in_a_200_answer_is_an_error(sample: DialectSample) -> None:
    body, kind = sample.error_in_200
    with pytest.raises(UpstreamError) as error:
        sample.dialect.read(body)
    assert error.value.failure.kind is kind


@each_dialect
def test_an_error_body_in_place_of_a_stream_is_an_error(sample: DialectSample) -> None:
    body, kind = sample.error_in_200
    for size in (1, len(body)):
        with pytest.raises(UpstreamError) as error:
            decode(sample.dialect, cut_every(body, size))
        assert error.value.failure.kind is kind


@each_dialect
def test_an_error_in_a_stream_is_an_error_and_loses_nothing_before_it(sample: DialectSample) -> None:
    stream, kind = sample.error_in_stream
    seen = []
    for size in (1, 9, len(stream)):
        decoder = sample.dialect.decoder()
        events = []
        with pytest.raises(UpstreamError) as error:
            for piece in cut_every(stream, size):
                events += decoder.feed(piece)
            decoder.end()
        assert error.value.failure.kind is kind
        seen.append(events)
    assert seen[0]
    assert seen[0] == seen[1] == seen[2]


@each_dialect
@pytest.mark.parametrize("junk", [b"", b"<html>", b"null", b"[]", b'"text"', b"{}", b'{"choices":7}', b"\xff\xfe"])
def test_junk_is_a_protocol_error(sample: DialectSample, junk: bytes) -> None:
    with pytest.raises(UpstreamError) as error:
        sample.dialect.read(junk)
    assert error.value.failure.kind is FailureKind.PROTOCOL


@each_dialect
@given(junk=st.binary(max_size=300))
def test_random_bytes_never_raise_anything_but_an_upstream_error(sample: DialectSample, junk: bytes) -> None:
    try:
        sample.dialect.read(junk)
    except UpstreamError:
        pass
    for stream in (junk, sample.framed(junk)):
        try:
            decode(sample.dialect, [stream])
        except UpstreamError:
            pass
    assert sample.dialect.classify(500, {}, junk).kind is FailureKind.SERVER_ERROR


@each_dialect
@pytest.mark.parametrize("case", CASES)
def test_building_twice_gives_the_same_bytes(sample: DialectSample, case: str) -> None:
    if not CASES[case].fits(sample.dialect):
        return
    endpoint = endpoint_for(sample.dialect)
    for stream in (False, True):
        first = sample.dialect.build(CASES[case].generation, endpoint, stream=stream)
        assert first == sample.dialect.build(CASES[case].generation, endpoint, stream=stream)
        assert first.path.startswith("/")
        assert dict(first.headers)["content-type"] == "application/json"
        assert all(name == name.lower() for name, _ in first.headers)


@each_dialect
def test_nothing_that_the_endpoint_refuses_is_ever_written(sample: DialectSample) -> None:
    table = sorted(sample.dialect.expressible)

    @settings(max_examples=150, deadline=None)
    @given(
        refused=st.sets(st.sampled_from(table)),
        generation=st.sampled_from(everything(sample.name)),
        stream=st.booleans(),
    )
    def check(refused: set[Field], generation: Generation, stream: bool) -> None:
        endpoint = endpoint_for(sample.dialect, sample.dialect.expressible - refused)
        try:
            request = sample.dialect.build(generation, endpoint, stream=stream)
        except ServiceError as error:
            # A part that can't be left out without changing what is asked: refused by name.
            assert error.violations
            assert error.violations[0].path
            return
        assert not sample.carried(json.loads(request.body)) & refused

    check()


@each_dialect
def test_the_probe_for_refused_fields_sees_them_when_they_are_allowed(sample: DialectSample) -> None:
    seen: set[Field] = set()
    for generation in everything(sample.name):
        try:
            request = sample.dialect.build(generation, endpoint_for(sample.dialect), stream=True)
        except ServiceError:
            continue
        seen |= sample.carried(json.loads(request.body))
    assert seen == sample.dialect.expressible
