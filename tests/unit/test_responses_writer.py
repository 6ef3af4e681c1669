"""Events of a response: what text, reasoning, refusals and sources are told as, and in which order."""

from __future__ import annotations

import json

import pytest

from service.api.responses.sealed import Seal, unseal
from service.api.responses.writer import shown
from service.domain.events import (
    Event,
    MessageStart,
    OpaqueAnnotation,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallStart,
    TopToken,
    UrlCitation,
    Usage,
)
from tests.support.response_events import (
    CALLS,
    CREATED,
    NOW,
    RESPONSE_ID,
    START,
    STOP,
    as_json,
    made,
    place,
    streamed,
    told,
    types,
    writer,
)


def test_a_text_is_told_as_one_message_with_one_part() -> None:
    events = told(START, TextDelta("Hel"), TextDelta("lo"), STOP, Usage(3, 2, 5))
    message_id = f"msg_{place(1)}"
    where = {"item_id": message_id, "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    full = {**empty, "text": "Hello"}
    message = {"type": "message", "id": message_id, "role": "assistant"}
    assert events[2:-1] == [
        {
            "type": "response.output_item.added",
            "sequence_number": 2,
            "output_index": 0,
            "item": {**message, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", "sequence_number": 3, **where, "part": empty},
        {"type": "response.output_text.delta", "sequence_number": 4, **where, "delta": "Hel", "logprobs": []},
        {"type": "response.output_text.delta", "sequence_number": 5, **where, "delta": "lo", "logprobs": []},
        {"type": "response.output_text.done", "sequence_number": 6, **where, "text": "Hello", "logprobs": []},
        {"type": "response.content_part.done", "sequence_number": 7, **where, "part": full},
        {
            "type": "response.output_item.done",
            "sequence_number": 8,
            "output_index": 0,
            "item": {**message, "status": "completed", "content": [full]},
        },
    ]
    assert types(events)[-1] == "completed"


def test_the_first_two_events_show_the_response_without_output_and_the_last_all_of_it() -> None:
    events = told(START, TextDelta("Hello"), STOP, Usage(3, 2, 5, 1, None, 2))
    for event in events[:2]:
        response = event["response"]
        assert (response["status"], response["output"], response["usage"]) == ("in_progress", [], None)
        assert (response["id"], response["created_at"]) == (RESPONSE_ID, CREATED)
        assert response["completed_at"] is None
    last = events[-1]["response"]
    assert (last["status"], last["model"], last["service_tier"]) == ("completed", "model-1", "flex")
    assert (last["created_at"], last["completed_at"]) == (CREATED, NOW)
    assert last["output"] == [events[-2]["item"]]
    assert last["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 5,
    }


def test_reasoning_comes_before_the_message_and_shifts_it() -> None:
    given = (START, ReasoningDelta("I "), ReasoningDelta("think"), TextDelta("Hi"), STOP)
    events = told(*given, show_encrypted=False)
    assert types(events) == [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert events[2]["item"] == {
        "type": "reasoning",
        "id": f"rs_{place(1)}",
        "summary": [],
        "status": "in_progress",
    }
    reasoning, message = events[-1]["response"]["output"]
    assert reasoning == {
        "type": "reasoning",
        "id": f"rs_{place(1)}",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "I think"}],
        "status": "completed",
    }
    assert message["id"] == f"msg_{place(2)}"
    assert {e["output_index"] for e in events if e.get("item_id") == message["id"]} == {1}


def test_each_paragraph_of_a_summary_is_a_part_of_its_own() -> None:
    first, second = ReasoningDelta("One", 0, "summary", 0), ReasoningDelta("Two", 0, "summary", 1)
    events = told(START, first, second, ReasoningSeal("openai-responses-v1", encrypted="gAAA"), TextDelta("x"))
    assert types(events)[:11] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
    ]
    assert [e["summary_index"] for e in events[3:11]] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert not any("status" in e for e in events if e["type"] == "response.reasoning_summary_part.done")
    item = events[-1]["response"]["output"][0]
    assert [part["text"] for part in item["summary"]] == ["One", "Two"]
    assert item["encrypted_content"] == "gAAA"


@pytest.mark.parametrize(
    "given",
    [
        ReasoningSeal("anthropic-claude-v1", signature="sig"),
        ReasoningSeal("anthropic-claude-v1", encrypted="redacted"),
        ReasoningSeal("openai-responses-v1", encrypted="gAAA", id="rs_theirs"),
    ],
)
def test_what_a_provider_wants_back_travels_in_the_encrypted_content(given: ReasoningSeal) -> None:
    (reasoning,) = made(START, ReasoningDelta("hm"), given, STOP).output
    seal = unseal(reasoning.reasoning.encrypted_content)
    assert seal == Seal(given.format, given.signature, given.encrypted, given.id)


def test_a_seal_without_reasoning_before_it_is_an_item_of_its_own() -> None:
    events = told(START, ReasoningSeal("anthropic", encrypted="xx"), ReasoningSeal("anthropic"), STOP)
    assert types(events) == ["output_item.added", "output_item.done"] * 2 + ["completed"]
    with_content, empty = events[-1]["response"]["output"]
    assert "encrypted_content" in with_content
    assert empty == {"type": "reasoning", "id": f"rs_{place(2)}", "summary": [], "status": "completed"}


@pytest.mark.parametrize("said", [(TextDelta("Hi"),), (RefusalDelta("No"),), (ToolCallStart(0, "c", "f"),)])
def test_a_seal_that_says_nothing_begins_no_item_behind_the_answer(said: tuple[Event, ...]) -> None:
    thought = ReasoningDelta("hm")
    late = made(START, thought, *said, ReasoningSeal("unknown", id="r1"), STOP)
    assert late == made(START, thought, ReasoningSeal("unknown", id="r1"), *said, STOP)
    told_late = told(START, *said, ReasoningSeal("unknown"), STOP)
    assert types(told_late) == types(told(START, *said, STOP))
    signed = made(START, *said, ReasoningSeal("unknown", "sig"), STOP)
    assert signed.output[-1].HasField("reasoning"), "what the provider wants back is never lost"


def test_reasoning_after_a_seal_is_a_new_item() -> None:
    answer = made(
        START, ReasoningDelta("a"), ReasoningSeal("x", "s"), ReasoningDelta("b"), ReasoningSeal("x"), STOP
    )
    assert [item.reasoning.content[0].reasoning_text.text for item in answer.output] == ["a", "b"]
    assert [item.reasoning.HasField("encrypted_content") for item in answer.output] == [True, False]


def test_what_providers_want_back_is_stored_and_shown_only_to_those_who_ask() -> None:
    events: list[Event] = [START, ReasoningDelta("hm"), ReasoningSeal("anthropic", "sig"), TextDelta("Hi"), STOP]
    asked, unasked = told(*events), told(*events, show_encrypted=False)
    assert "encrypted_content" in json.dumps(asked)
    assert "encrypted_content" not in json.dumps(unasked)
    writing = writer(show_encrypted=False)
    writing.write(events)
    writing.finish()
    stored = writing.response
    assert stored.output[0].reasoning.encrypted_content
    assert as_json(writing.shown()) == unasked[-1]["response"]
    assert as_json(shown(stored, {"reasoning.encrypted_content"})) == asked[-1]["response"]
    assert as_json(shown(stored, ())) == unasked[-1]["response"]
    assert stored.output[0].reasoning.encrypted_content


def test_who_asks_for_what_providers_want_back_gets_the_text_in_it() -> None:
    """Agents that keep their conversations send back that alone."""
    signed = made(START, ReasoningDelta("h"), ReasoningDelta("m"), ReasoningSeal("anthropic", "sig"), STOP)
    plain = made(START, ReasoningDelta("hm"), ReasoningSeal("openai_chat"), TextDelta("Hi"), STOP)
    theirs = made(START, ReasoningDelta("hm"), ReasoningSeal("openai-responses-v1", encrypted="gAAA"), STOP)
    for response, sealed in (
        (signed, Seal("anthropic", "sig", text="hm")),
        (plain, Seal("", text="hm")),
        (theirs, Seal("openai-responses-v1", encrypted="gAAA")),
    ):
        before = response.SerializeToString(deterministic=True)
        item = shown(response, {"reasoning.encrypted_content"}).output[0]
        assert unseal(item.reasoning.encrypted_content) == sealed
        assert item.reasoning.content[0].reasoning_text.text == "hm"
        assert response.SerializeToString(deterministic=True) == before, "the stored one holds the text once"


def test_a_refusal_is_a_part_of_its_own() -> None:
    events = told(START, TextDelta("Well."), RefusalDelta("I "), RefusalDelta("won't"), STOP)
    assert types(events) == [
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "content_part.added",
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [e["content_index"] for e in events[3:12]] == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    (message,) = events[-1]["response"]["output"]
    assert message["content"][1] == {"type": "refusal", "refusal": "I won't"}


def test_messages_that_a_provider_tells_apart_are_items_of_their_own_with_their_phase() -> None:
    events = told(
        START, MessageStart("commentary"), TextDelta("a"), MessageStart("final_answer"), TextDelta("b"), STOP
    )
    first, second = events[-1]["response"]["output"]
    assert [(m["phase"], m["content"][0]["text"]) for m in (first, second)] == [
        ("commentary", "a"),
        ("final_answer", "b"),
    ]


def test_log_probabilities_stand_in_deltas_and_in_the_whole() -> None:
    token = TokenLogprob("He", -0.25, (72, 101), (TopToken("He", -0.25), TopToken("Yo", -2.0)))
    events = told(START, TextDelta("He", logprobs=(token,)), TextDelta("y"), STOP)
    told_token = {
        "token": "He",
        "logprob": -0.25,
        "bytes": [72, 101],
        "top_logprobs": [
            {"token": "He", "logprob": -0.25, "bytes": []},
            {"token": "Yo", "logprob": -2.0, "bytes": []},
        ],
    }
    assert [e["logprobs"] for e in events if "logprobs" in e] == [[told_token], [], [told_token]]
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == [told_token]


def test_sources_are_told_and_kept_also_those_that_come_late_or_without_text() -> None:
    cited = UrlCitation("https://a.example", "A", 0, 2)
    file = OpaqueAnnotation("file_path", '{"type":"file_path","file_id":"f","index":3}')
    new = OpaqueAnnotation("hologram", '{"type":"hologram","x":1.0}')
    events = [
        as_json(e) for e in streamed([START, TextDelta("Hi"), cited, ToolCallStart(0, "c", "f"), file, new, CALLS])
    ]
    added = [e for e in events if e["type"] == "response.output_text.annotation.added"]
    assert [(e["annotation_index"], e["content_index"], e["output_index"]) for e in added] == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 0, 0),
    ]
    assert events[-1]["response"]["output"][0]["content"][0]["annotations"] == [e["annotation"] for e in added]
    assert added[1]["annotation"] == {"type": "file_path", "file_id": "f", "index": 3}
    assert added[2]["annotation"] == {"type": "hologram", "x": 1.0}
    assert made(START, cited).output[0].message.content[0].output_text.annotations[0].url_citation.title == "A"


def test_a_source_belongs_to_the_text_that_it_cites_by_that_texts_own_characters() -> None:
    answer = made(
        START,
        TextDelta("One."),
        UrlCitation("https://a.example", "A", 0, 3),
        RefusalDelta("no"),
        TextDelta("Two."),
        MessageStart("final_answer"),
        TextDelta("Three."),
        UrlCitation("https://c.example", "C", 8, 13),
        UrlCitation("https://b.example", "B", 4, 7),
        STOP,
    )
    parts = [part for item in answer.output for part in item.message.content if part.HasField("output_text")]
    cited = [
        (a.url_citation.title, part.output_text.text[a.url_citation.start_index : a.url_citation.end_index])
        for part in parts
        for a in part.output_text.annotations
    ]
    assert cited == [("A", "One"), ("B", "Two"), ("C", "Three")]
