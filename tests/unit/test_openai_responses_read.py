"""What servers that speak the Responses API send beyond the golden cases, and what we make of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from adapters.providers.openai_responses import DIALECT
from service.domain.events import (
    NATIVE_FINISH_REASON,
    Event,
    FinishReason,
    Folded,
    FoldedCall,
    FoldedChoice,
    FoldedReasoning,
    MessageStart,
    OpaqueAnnotation,
    OpaqueItem,
    OpaqueProgress,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    Start,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    TopToken,
    UrlCitation,
    Usage,
)
from service.domain.failure import Failure, FailureKind, UpstreamError
from service.domain.fold import fold
from tests.contract.sample import cut_every, decode

FORMAT = "openai-responses-v1"
Item = dict[str, Any]


def response(*output: Item, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "created_at": 5, "model": "m", "status": status, "output": list(output)} | more


def message(*texts: str, **more: Any) -> Item:
    content = [{"type": "output_text", "text": text} for text in texts]
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": content} | more


def reasoning(*summary: str, **more: Any) -> Item:
    parts = [{"type": "summary_text", "text": text} for text in summary]
    return {"type": "reasoning", "id": "rs_1", "summary": parts} | more


def function(arguments: str = "{}", **more: Any) -> Item:
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "f",
        "arguments": arguments,
    } | more


CREATED = {"type": "response.created", "response": response(status="in_progress")}


def added(item: Item, at: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": at, "item": item}


def done(item: Item, at: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": at, "item": item}


def delta(kind: str, text: str, at: int = 0, **more: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "output_index": at, "delta": text} | more


def completed(*output: Item, **more: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": response(*output, **more)}


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), orjson.dumps(e)) for e in events)


def stream(*events: dict[str, Any]) -> list[Event]:
    data = sse(CREATED, *events)
    told = decode(DIALECT, [data])
    assert fold(decode(DIALECT, cut_every(data, 7))) == fold(told)
    return told


def read(*output: Item, **more: Any) -> Folded:
    return fold(DIALECT.read(orjson.dumps(response(*output, **more))))


def only(folded: Folded) -> FoldedChoice:
    (choice,) = folded.choices
    return choice


def failure(*events: dict[str, Any]) -> Failure:
    with pytest.raises(UpstreamError) as error:
        decode(DIALECT, [sse(CREATED, *events)])
    return error.value.failure


def failure_of(document: dict[str, Any]) -> Failure:
    with pytest.raises(UpstreamError) as error:
        DIALECT.read(orjson.dumps(document))
    return error.value.failure


# Messages.


def test_each_message_after_the_first_begins_where_it_stands() -> None:
    events = stream(
        added(message(id="msg_1", phase="commentary")),
        delta("output_text", "Looking."),
        done(message("Looking.", id="msg_1", phase="commentary")),
        added(function(), 1),
        done(function(), 1),
        added(message(id="msg_2", phase="final_answer"), 2),
        delta("output_text", "Found.", 2),
        completed(message("Looking.", phase="commentary"), function(), message("Found.", phase="final_answer")),
    )
    assert [e for e in events if isinstance(e, MessageStart | TextDelta | ToolCallStart)] == [
        MessageStart("commentary"),
        TextDelta("Looking."),
        ToolCallStart(0, "call_1", "f"),
        MessageStart("final_answer"),
        TextDelta("Found."),
    ]
    assert only(fold(events)).messages == (("commentary", 0), ("final_answer", 8))


def test_a_lone_message_without_a_phase_needs_no_beginning() -> None:
    assert only(read(message("Hi"))).messages == ()
    assert only(read(message("a"), message("b"))).messages == ((None, 1),)


def test_sources_count_from_the_beginning_of_the_whole_text() -> None:
    note = {"type": "url_citation", "url": "https://example.com", "title": "E", "start_index": 0, "end_index": 2}
    file = {"type": "file_citation", "file_id": "file_1", "filename": "a", "index": 1}
    cited = message("Hello ", "you")
    cited["content"][1]["annotations"] = [note, file]
    place = {"output_index": 0, "content_index": 1}
    events = stream(
        added(message()),
        delta("output_text", "Hello ", content_index=0),
        delta("output_text", "you", content_index=1),
        {"type": "response.output_text.annotation.added", **place, "annotation_index": 0, "annotation": note},
        completed(cited),
    )
    choice = only(fold(events))
    assert choice == only(read(cited))
    assert choice.annotations[0] == UrlCitation("https://example.com", "E", 6, 8)
    assert isinstance(choice.annotations[1], OpaqueAnnotation)
    assert orjson.loads(choice.annotations[1].json) == file


def test_log_probabilities_that_come_only_with_the_finished_part_are_told() -> None:
    token = {
        "token": "Hi",
        "logprob": -0.5,
        "bytes": [72, 105],
        "top_logprobs": [{"token": "Ho", "logprob": -1.0}],
    }
    whole = message("Hi")
    whole["content"][0]["logprobs"] = [token]
    expected = (TokenLogprob("Hi", -0.5, (72, 105), (TopToken("Ho", -1.0),)),)
    late = stream(added(message()), delta("output_text", "Hi", logprobs=[]), done(whole), completed(whole))
    assert only(fold(late)) == only(read(whole))
    assert only(fold(late)).text_logprobs == expected
    soon = stream(added(message()), delta("output_text", "Hi", logprobs=[token]), completed(whole))
    assert only(fold(soon)).text_logprobs == expected


def test_a_refusal_is_none_of_the_text() -> None:
    refused = {"type": "message", "content": [{"type": "refusal", "refusal": "I can't."}]}
    events = stream(
        added({"type": "message", "content": []}),
        delta("refusal", "I "),
        {"type": "response.refusal.done", "output_index": 0, "refusal": "I can't."},
        completed(refused),
    )
    assert [e.text for e in events if isinstance(e, RefusalDelta)] == ["I ", "can't."]
    assert only(fold(events)) == only(read(refused))
    assert only(fold(events)).text is None


def test_content_of_an_unknown_kind_survives() -> None:
    odd = message("Hi")
    odd["content"].append({"type": "output_smell", "smell": "roses"})
    (note,) = only(read(odd)).annotations
    assert isinstance(note, OpaqueAnnotation)
    assert (note.type, orjson.loads(note.json)["smell"]) == ("output_smell", "roses")


# Reasoning.


def test_paragraphs_of_a_summary_stay_apart_and_encrypted_content_comes_last() -> None:
    item = reasoning("One.", "Two.", encrypted_content="gAAA==")
    events = stream(
        # What an item shows of its encrypted content before its end may be cut off.
        added(reasoning(encrypted_content="gA")),
        delta("reasoning_summary_text", "One.", summary_index=0),
        delta("reasoning_summary_text", "Two.", summary_index=1),
        done(item),
        completed(item),
    )
    assert [e for e in events if isinstance(e, ReasoningDelta | ReasoningSeal)] == [
        ReasoningDelta("One.", kind="summary", part=0),
        ReasoningDelta("Two.", kind="summary", part=1),
        ReasoningSeal(FORMAT, encrypted="gAAA==", id="rs_1"),
    ]
    assert only(fold(events)).reasoning == only(read(item)).reasoning
    assert only(read(item)).reasoning[0] == FoldedReasoning("One.Two.", "summary", None, ("One.", "Two."))


def test_reasoning_without_a_word_is_still_a_piece_with_an_end() -> None:
    item = reasoning(encrypted_content="", content=None)
    assert only(read(item, message("Hi"))).reasoning == (FoldedReasoning(seal=ReasoningSeal(FORMAT, id="rs_1")),)
    assert only(fold(stream(added(item), done(item), completed(item)))).text is None


@pytest.mark.parametrize("name", ["reasoning_text", "reasoning"])
def test_readable_reasoning_comes_under_either_specifications_name(name: str) -> None:
    item = reasoning(content=[{"type": "reasoning_text", "text": "Hmm, seven."}])
    events = stream(
        added(reasoning()),
        delta(name, "Hmm, ", content_index=0),
        {"type": f"response.{name}.done", "output_index": 0, "content_index": 0, "text": "Hmm, seven."},
        done(item),
        completed(item),
    )
    assert [e.text for e in events if isinstance(e, ReasoningDelta)] == ["Hmm, ", "seven."]
    assert only(fold(events)) == only(read(item))


# Calls.


def test_custom_tools_get_their_input_as_it_is() -> None:
    item = {"type": "custom_tool_call", "call_id": "call_1", "name": "math", "input": "4 + 4"}
    events = stream(
        added(item | {"input": ""}), delta("custom_tool_call_input", "4 +"), done(item), completed(item)
    )
    assert [e.arguments for e in events if isinstance(e, ToolCallDelta)] == ["4 +", " 4"]
    assert only(fold(events)).calls == (FoldedCall("call_1", "math", "4 + 4", "custom"),)
    assert only(read(item)).calls == only(fold(events)).calls


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {"type": "local_shell_call", "call_id": "c", "action": {"type": "exec", "command": ["ls"], "env": {}}},
            FoldedCall("c", "local_shell", '{"type":"exec","command":["ls"],"env":{}}', "local_shell"),
        ),
        (
            {
                "type": "shell_call",
                "call_id": "c",
                "action": {"commands": ["ls"]},
                "environment": {"type": "local"},
            },
            FoldedCall("c", "shell", '{"commands":["ls"]}', "shell"),
        ),
        (
            {"type": "apply_patch_call", "call_id": "c", "operation": {"type": "delete_file", "path": "a"}},
            FoldedCall("c", "apply_patch", '{"type":"delete_file","path":"a"}', "apply_patch"),
        ),
    ],
)
def test_local_tools_are_calls_with_their_action_as_json(item: Item, expected: FoldedCall) -> None:
    begun = {name: value for name, value in item.items() if name not in ("action", "operation")}
    news = {"type": "response.shell_call_command.delta", "output_index": 0, "command_index": 0, "delta": "l"}
    events = stream(added(begun), news, done(item), completed(item))
    choice = only(fold(events))
    assert choice.calls == (expected,)
    assert choice.finish is not None
    assert choice.finish.reason is FinishReason.TOOL_CALLS
    assert choice == only(read(item))


def test_a_shell_in_the_providers_container_is_no_call_of_the_callers() -> None:
    item = {
        "type": "shell_call",
        "call_id": "c",
        "action": {"commands": ["ls"]},
        "environment": {"type": "container_reference", "container_id": "cntr_1"},
    }
    choice = only(read(item, {"type": "shell_call_output", "call_id": "c", "output": []}, message("Done.")))
    assert choice.calls == ()
    assert [entry.type for entry in choice.items] == ["shell_call", "shell_call_output"]
    assert choice.finish is not None
    assert choice.finish.reason is FinishReason.STOP


def test_parallel_calls_are_counted_apart_from_other_items() -> None:
    events = stream(
        added(reasoning()),
        done(reasoning()),
        added(function(id="fc_1"), 1),
        added(function(id="fc_2", call_id="call_2"), 2),
        delta("function_call_arguments", '{"a":', 1),
        delta("function_call_arguments", '{"b":', 2),
        delta("function_call_arguments", "1}", 1),
        delta("function_call_arguments", "2}", 2),
        completed(reasoning(), function('{"a":1}', id="fc_1"), function('{"b":2}', id="fc_2", call_id="call_2")),
    )
    assert only(fold(events)).calls == (
        FoldedCall("call_1", "f", '{"a":1}', "function"),
        FoldedCall("call_2", "f", '{"b":2}', "function"),
    )


def test_a_call_that_shows_its_name_only_at_the_end_is_whole_then() -> None:
    bare = {"type": "function_call", "id": "fc_1"}
    events = stream(added(bare), delta("function_call_arguments", "{}"), done(function()), completed(function()))
    assert [e for e in events if isinstance(e, ToolCallStart | ToolCallDelta)] == [
        ToolCallStart(0, "call_1", "f"),
        ToolCallDelta(0, "{}"),
    ]


def test_a_call_without_a_name_is_a_protocol_error() -> None:
    bare = {"type": "function_call", "id": "fc_1", "arguments": "{}"}
    assert failure(added(bare), completed(bare)).kind is FailureKind.PROTOCOL


def test_a_call_without_an_id_gets_one_that_is_the_same_whole_or_streamed() -> None:
    bare = function(call_id=None)
    (call,) = only(read(bare)).calls
    assert call.id.startswith("call_")
    assert only(fold(stream(added(bare), done(bare), completed(bare)))).calls == (call,)


# Items that the provider made.


def test_an_item_that_the_provider_made_is_shown_at_its_begin_on_its_way_and_at_its_end() -> None:
    begun = {"type": "web_search_call", "id": "ws_1", "status": "in_progress"}
    ended = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}
    news = {"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_1"}
    events = stream(added(begun), news, done(ended), added(message(), 1), completed(ended, message("Hi")))
    shown = [e for e in events if isinstance(e, OpaqueItem | OpaqueProgress)]
    kinds = [(type(e).__name__, e.index, getattr(e, "done", None), orjson.loads(e.json)) for e in shown]
    assert kinds == [
        ("OpaqueItem", 0, False, begun),
        ("OpaqueProgress", 0, None, news),
        ("OpaqueItem", 0, True, ended),
    ]
    assert only(fold(events)) == only(read(ended, message("Hi")))


def test_items_of_a_kind_that_nobody_named_are_not_lost() -> None:
    odd = {"type": "dream_call", "id": "d_1", "dream": "sheep"}
    (item,) = only(read(odd)).items
    assert (item.dialect, item.type, orjson.loads(item.json)) == ("openai_responses", "dream_call", odd)


# Servers that tell less than they should.


def test_what_was_never_streamed_is_taken_from_the_whole_answer_at_the_end() -> None:
    whole = (reasoning("Hm."), message("Hello"), function('{"a":1}'))
    assert only(fold(stream(completed(*whole)))) == only(read(*whole))
    partly = stream(added(message(), 1), delta("output_text", "Hel", 1), completed(*whole))
    assert only(fold(partly)) == only(read(*whole))


def test_an_item_with_another_id_in_the_end_is_not_told_twice() -> None:
    # vLLM was seen to make new ids for the last event.
    events = stream(
        added(message(id="msg_a")), delta("output_text", "Hello"), completed(message("Hello", id="msg_b"))
    )
    assert only(fold(events)).text == "Hello"


def test_a_last_event_without_the_output_takes_nothing_back() -> None:
    end = completed()
    end["response"]["output"] = None
    events = stream(added(message()), delta("output_text", "Hel"), done(message("Hello")), end)
    assert only(fold(events)).text == "Hello"
    arguments = {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"a":1}'}
    assert only(fold(stream(added(function("")), arguments, end))).calls[0].arguments == '{"a":1}'


def test_a_stream_that_does_not_announce_its_items_is_read_all_the_same() -> None:
    events = stream(
        delta("reasoning_summary_text", "Hm.", 0, summary_index=0, item_id="rs_1"),
        delta("output_text", "Hi", 1, item_id="msg_1"),
        completed(reasoning("Hm."), message("Hi")),
    )
    assert only(fold(events)) == only(read(reasoning("Hm."), message("Hi")))


def test_null_is_absent_everywhere() -> None:
    part = {"type": "output_text", "text": "Hi", "annotations": None, "logprobs": None}
    item = {"type": "message", "id": None, "phase": None, "content": [part]}
    text = {"type": "response.output_text.delta", "output_index": 0, "content_index": None, "delta": None}
    end = completed(item, usage=None, error=None, incomplete_details=None, service_tier=None)
    assert only(fold(stream(added(item | {"content": None}), text, text | {"delta": "Hi"}, end))).text == "Hi"


def test_events_of_unknown_kinds_say_nothing() -> None:
    news = {"type": "response.weather.changed", "output_index": 0, "delta": "rain"}
    events = stream(news, added(message()), news, delta("output_text", "Hi"), completed(message("Hi")))
    assert only(fold(events)) == only(read(message("Hi")))


def test_nothing_is_read_after_the_terminal_event() -> None:
    data = sse(CREATED, completed(message("Hi")))
    events = decode(DIALECT, [data])
    more = sse(added(message("more"), 1), {"type": "error", "code": "server_error", "message": "late"})
    assert decode(DIALECT, [data + b"data: [DONE]\n\n" + more + b"data: {not json\n\n"]) == events
    assert decode(DIALECT, [data, b"data: [DONE]\n\n", more]) == events


def test_done_without_a_terminal_event_is_a_cut() -> None:
    with pytest.raises(UpstreamError) as error:
        decode(DIALECT, [sse(CREATED, added(message()), delta("output_text", "Hi")) + b"data: [DONE]\n\n"])
    assert error.value.failure.kind is FailureKind.CUT


def test_an_event_whose_type_stands_only_beside_its_data_is_read() -> None:
    events = [CREATED, added(message()), delta("output_text", "Hi"), completed(message("Hi"))]
    bare = b"".join(
        b"event: %b\ndata: %b\n\n"
        % (event["type"].encode(), orjson.dumps({key: value for key, value in event.items() if key != "type"}))
        for event in events
    )
    assert decode(DIALECT, [bare]) == decode(DIALECT, [sse(*events)])


# The end.


@pytest.mark.parametrize(
    ("word", "reason"),
    [("max_output_tokens", FinishReason.LENGTH), ("content_filter", FinishReason.CONTENT_FILTER)],
)
def test_an_incomplete_answer_says_why(word: str, reason: FinishReason) -> None:
    more: dict[str, Any] = {"status": "incomplete", "incomplete_details": {"reason": word}}
    events = stream({"type": "response.incomplete", "response": response(message("Hi"), **more)})
    for choice in (only(read(message("Hi"), **more)), only(fold(events))):
        assert choice.finish is not None
        assert (choice.finish.reason, choice.finish.raw, choice.extra) == (reason, word, None)


def test_an_unknown_reason_is_told_beside_the_nearest() -> None:
    choice = only(read(message("Hi"), status="incomplete", incomplete_details={"reason": "bored"}))
    assert choice.finish is not None
    assert choice.finish.reason is FinishReason.LENGTH
    assert choice.extra == {NATIVE_FINISH_REASON: '"bored"'}


def test_a_stream_begins_without_the_tier_that_is_not_known_yet() -> None:
    begun = {"type": "response.created", "response": response(status="in_progress", service_tier="auto")}
    first = decode(DIALECT, [sse(begun, completed(message("Hi")))])[0]
    assert first == Start("resp_1", "m", 5)
    assert read(message("Hi"), service_tier="flex").start.service_tier == "flex"


def test_fields_that_a_provider_adds_survive() -> None:
    folded = read(message("Hi"), billing={"payer": "developer"}, kv_transfer_params=None)
    assert folded.extra == {"billing": '{"payer":"developer"}'}


def test_further_counts_keep_their_names() -> None:
    usage = {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 1, "image_tokens": 2},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3, "per_turn": [7]},
        "total_tokens": 12,
        "cost": 0.5,
    }
    found = read(message("Hi"), usage=usage).usage
    assert found is not None
    assert (found.cached_tokens, found.reasoning_tokens) == (1, 3)
    assert found.details == (("prompt.image_tokens", 2),)
    assert found.extra == (("completion_tokens_details.per_turn", "[7]"), ("cost", "0.5"))


def test_reasoning_that_only_the_total_includes_is_told_as_output() -> None:
    counts = {"input_tokens": 10, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 20}}
    expected = Usage(10, 25, 35, reasoning_tokens=20)
    assert read(message("Hi"), usage=counts | {"total_tokens": 35}).usage == expected


# Failures.

CODES = [
    ("server_error", FailureKind.SERVER_ERROR),
    ("rate_limit_exceeded", FailureKind.RATE_LIMITED),
    ("context_length_exceeded", FailureKind.CONTEXT_LENGTH),
    ("insufficient_quota", FailureKind.QUOTA),
    ("invalid_prompt", FailureKind.INVALID_REQUEST),
    ("image_too_large", FailureKind.INVALID_REQUEST),
    ("bio_policy", FailureKind.CONTENT_POLICY),
    ("vector_store_timeout", FailureKind.TIMEOUT),
    ("data_residency_mismatch", FailureKind.AUTH),
    ("server_is_overloaded", FailureKind.OVERLOADED),
    ("never_heard_of", FailureKind.SERVER_ERROR),
]


@pytest.mark.parametrize(("code", "kind"), CODES)
def test_a_failed_answer_is_an_error_of_its_kind(code: str, kind: FailureKind) -> None:
    failed = response(status="failed", error={"code": code, "message": "It went wrong."})
    event = {"type": "response.failed", "response": failed}
    flat = {"type": "error", "code": code, "message": "It went wrong.", "param": None}
    nested = {"type": "error", "error": {"type": "x", "code": code, "message": "It went wrong."}}
    for found in (failure(event), failure_of(failed), failure(flat), failure(nested)):
        assert (found.kind, found.code, found.message, found.status) == (kind, code, "It went wrong.", 200)


def test_open_responses_types_of_errors_are_understood_where_no_code_is() -> None:
    limited = {"type": "error", "error": {"type": "too_many_requests", "code": None, "message": "Slow down."}}
    assert failure(limited).kind is FailureKind.RATE_LIMITED


def test_an_answer_that_failed_without_a_reason_is_the_providers_fault() -> None:
    found = failure({"type": "response.failed", "response": response(status="failed", error=None)})
    assert found.kind is FailureKind.SERVER_ERROR
    assert found.message


def test_a_cancelled_answer_is_a_failure() -> None:
    assert failure_of(response(status="cancelled")).kind is FailureKind.SERVER_ERROR


def test_an_answer_that_is_not_finished_is_none() -> None:
    assert failure_of(response(status="in_progress")).kind is FailureKind.PROTOCOL


def test_an_error_after_text_waits_until_the_text_is_taken() -> None:
    decoder = DIALECT.decoder()
    told = decoder.feed(
        sse(CREATED, added(message()), delta("output_text", "Hi"), {"type": "error", "code": "server_error"})
    )
    assert told[-1] == TextDelta("Hi")
    with pytest.raises(UpstreamError):
        decoder.feed(b"")
