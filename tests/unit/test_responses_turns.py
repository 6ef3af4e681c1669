"""Items of a conversation become turns: which belong together, and which output answers which call."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from eurouter.v1 import response_items_pb2 as items_pb

from service.api.responses.ids import as_kept
from service.api.responses.items import READERS
from service.api.responses.read_request import conversation
from service.api.responses.sealed import OPENAI, Seal, seal, unseal
from service.domain.fields import Field
from service.domain.generation import (
    Audio,
    File,
    Image,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)
from tests.support.response_requests import complaints, items, read, turns, whole

USER = {"role": "user", "content": "hello"}
NATIVE = "openai_responses"


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}], **more}


def call(call_id: str = "call_1", arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": arguments, **more}


def output(call_id: str = "call_1", text: str = "done", **more: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text, **more}


def result(call_id: str = "call_1", text: str = "done") -> ToolResult:
    return ToolResult(call_id, (Text(text),))


def shapes(made: tuple[Turn, ...]) -> list[tuple[str, tuple[Part, ...]]]:
    return [(turn.role.value, turn.parts) for turn in made]


def test_a_reader_stands_for_every_kind_of_item() -> None:
    assert set(READERS) == {field.name for field in items_pb.ResponseItem.DESCRIPTOR.fields}


def test_a_string_is_one_message_of_the_users() -> None:
    assert whole(input="hi")[0].turns == (Turn(Role.USER, (Text("hi"),), items=("input[0]",)),)


def test_instructions_are_the_first_system_turn_and_not_inherited() -> None:
    """Line 21: what an earlier response was told is not among its items, so nothing of it comes back."""
    history = ({"role": "user", "content": "a", "id": "msg_a"}, said("b", id="msg_b"))
    told = whole(input="c", instructions="Be brief.", history=history)[0].turns
    assert told[0] == Turn(Role.SYSTEM, (Text("Be brief."),), items=("instructions",))
    assert [turn.items for turn in told] == [("instructions",), ("msg_a",), ("msg_b",), ("input[0]",)]
    assert [turn.role for turn in whole(input="c", history=history)[0].turns] == ["user", "assistant", "user"]
    assert len(whole(instructions="")[0].turns) == 1


def test_every_role_of_a_message_has_its_turn() -> None:
    roles = ("system", "developer", "user", "assistant")
    made = turns(*({"role": role, "content": "x"} for role in roles))
    assert [turn.role.value for turn in made] == list(roles)
    assert all(turn.parts == (Text("x"),) for turn in made)


def test_an_assistant_message_and_the_calls_next_to_it_are_one_turn_and_parallel_calls_keep_their_order() -> None:
    """Line 22."""
    made = turns(USER, said("Let me see."), call("a"), call("b"), output("b", "B"), output("a", "A"))
    assert shapes(made[1:]) == [
        ("assistant", (Text("Let me see."), ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"))),
        ("tool", (result("b", "B"),)),
        ("tool", (result("a", "A"),)),
    ]
    assert made[1].items == ("input[1]", "input[2]", "input[3]")
    assert made[2].items == ("input[4]",)
    behind = turns(USER, call(), said("Let me see."), output())
    assert behind[1].parts == (ToolCall("call_1", "f", "{}"), Text("Let me see."))


def test_calls_after_an_output_are_a_turn_of_their_own() -> None:
    made = turns(USER, call("a"), output("a"), call("b"), output("b"), said("Done."))
    assert [turn.role.value for turn in made] == ["user", "assistant", "tool", "assistant", "tool", "assistant"]


def test_an_output_stands_behind_the_turn_of_its_call_wherever_the_caller_put_it() -> None:
    made = turns(call("a"), {"role": "user", "content": "and?"}, output("a"))
    assert [turn.role.value for turn in made] == ["assistant", "tool", "user"]
    assert [turn.items for turn in made] == [("input[0]",), ("input[2]",), ("input[1]",)]


def test_two_messages_of_the_assistants_in_a_row_stay_two() -> None:
    made = turns(USER, said("a", phase="commentary"), said("b", phase="final_answer"))
    assert [(turn.parts, turn.phase) for turn in made[1:]] == [
        ((Text("a"),), "commentary"),
        ((Text("b"),), "final_answer"),
    ]
    between = turns(USER, said("a"), call(), said("b"), output())
    assert between[1].parts == (Text("a"), ToolCall("call_1", "f", "{}"), Text("b"))
    apart = turns(USER, said("a", phase="commentary"), call(), said("b", phase="final_answer"), output())
    assert [turn.role.value for turn in apart] == ["user", "assistant", "tool", "assistant"]


def test_reasoning_belongs_to_the_turn_that_it_went_before_in_order() -> None:
    thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    made = turns(USER, thought, said("a"), thought, call(), output(), thought, said("b"))
    hm = Reasoning("Hm.")
    assert made[1].parts == (hm, Text("a"), hm, ToolCall("call_1", "f", "{}"))
    assert made[3].parts == (hm, Text("b"))


def test_reasoning_keeps_its_text_its_summary_and_what_its_provider_wants_back() -> None:
    def one(**item: Any) -> Part:
        return turns(USER, {"type": "reasoning", "summary": [], **item}, said("a"))[1].parts[0]

    texts = [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}]
    assert one(id="rs_1", summary=texts) == Reasoning(summary="One.\n\nTwo.", id="rs_1")
    assert one(id="rs_1", encrypted_content="gAAA") == Reasoning(
        encrypted="gAAA", format=OPENAI, id="rs_1", details=True
    )
    signed = seal(Seal("anthropic-claude-v1", "c2ln"))
    content = [{"type": "reasoning_text", "text": "a"}, {"type": "reasoning_text", "text": "b"}]
    assert one(id="rs_ours", content=content, encrypted_content=signed) == Reasoning(
        "ab", signature="c2ln", format="anthropic-claude-v1", id="rs_ours", details=True
    )
    theirs = seal(Seal(OPENAI, None, "gAAA", "rs_theirs"))
    assert one(id="rs_ours", encrypted_content=theirs) == Reasoning(
        encrypted="gAAA", format=OPENAI, id="rs_theirs", details=True
    )


def test_reasoning_of_which_only_the_envelope_came_back_has_its_text_again() -> None:
    def one(**item: Any) -> Part:
        return turns(USER, {"type": "reasoning", "id": "rs_1", "summary": [], **item}, said("a"))[1].parts[0]

    plain = seal(Seal("", text="hm"))
    assert one(encrypted_content=plain) == Reasoning("hm", id="rs_1")
    signed = seal(Seal("anthropic-claude-v1", "c2ln", text="hm"))
    assert one(encrypted_content=signed) == Reasoning(
        "hm", signature="c2ln", format="anthropic-claude-v1", id="rs_1", details=True
    )
    # Whoever sends both says it once.
    assert one(encrypted_content=plain, content=[{"type": "reasoning_text", "text": "hm"}]) == Reasoning(
        "hm", id="rs_1"
    )


@pytest.mark.parametrize(
    "garbage", ["", "eurouter1.", "eurouter1.!", "eurouter1.W10", "eurouter1.eyJmIjoxfQ", "\udc80"]
)
def test_what_is_no_envelope_of_ours_is_openais_own_and_never_an_exception(garbage: str) -> None:
    assert unseal(garbage) == Seal(OPENAI, encrypted=garbage)


def test_an_envelope_gives_back_what_went_in() -> None:
    for sealed in (
        Seal("f", "s"),
        Seal("f", None, "e"),
        Seal("f", None, "e" * 9999, "i"),
        Seal("ä", "ö", "ü", "ß", "hm\n"),
        Seal("", text="nothing but text"),
    ):
        text = seal(sealed)
        assert unseal(text) == sealed
        assert text.isascii()
        assert not set(text) & set("+/= ")


def test_outputs_bind_by_call_id_and_never_by_the_items_id() -> None:
    """Line 22."""
    made = turns(USER, call("call_1", id="fc_1"), output("call_1", id="fco_9"))
    assert made[2].parts == (result("call_1"),)
    assert "input[2].call_id" in complaints(input=[USER, call("call_1", id="fc_1"), output("fc_1")])


def test_an_output_of_nothing_is_an_empty_text() -> None:
    assert turns(USER, call(), output(text=""))[2].parts == (result(text=""),)
    assert turns(USER, call(), output(text=[]))[2].parts == (result(text=""),)  # type: ignore[arg-type]


def test_outputs_with_images_and_files_ask_for_an_endpoint_that_takes_them_there() -> None:
    image = {"type": "input_image", "image_url": "https://a.example/b.png"}
    made, needs = whole(input=[USER, call(), output(text=[{"type": "input_text", "text": "see"}, image])])  # type: ignore[arg-type]
    assert made.turns[2].parts == (ToolResult("call_1", (Text("see"), Image("https://a.example/b.png"))),)
    assert needs.fields[Field.TOOL_MEDIA] == "input[2].output"
    assert needs.fields[Field.IMAGE_INPUT] == "input[2].output[1].image_url"


def test_blank_arguments_are_an_empty_object() -> None:
    assert turns(USER, call(arguments=" \n"), output())[1].parts == (ToolCall("call_1", "f", "{}"),)


def test_custom_and_local_calls_have_their_kind_and_results_that_of_their_call() -> None:
    action = {"type": "exec", "command": ["ls"], "env": {}}
    shell = {"commands": ["ls"]}
    patch = {"type": "delete_file", "path": "a"}
    ran = [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]
    made = turns(
        USER,
        {"type": "custom_tool_call", "call_id": "c1", "name": "g", "input": "free text"},
        {"type": "local_shell_call", "id": "lsh_2", "call_id": "c2", "action": action},
        {"type": "shell_call", "call_id": "c3", "action": shell},
        {"type": "apply_patch_call", "call_id": "c4", "operation": patch, "status": "completed"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"},
        {"type": "local_shell_call_output", "id": "lsh_2", "output": "{}"},
        {"type": "shell_call_output", "call_id": "c3", "output": ran, "max_output_length": 9},
        {"type": "apply_patch_call_output", "call_id": "c4", "status": "failed"},
    )
    assert made[1].parts == (
        ToolCall("c1", "g", "free text", "custom"),
        ToolCall("c2", "local_shell", orjson.dumps(action).decode(), "local_shell"),
        ToolCall("c3", "shell", orjson.dumps(shell).decode(), "shell"),
        ToolCall("c4", "apply_patch", orjson.dumps(patch).decode(), "apply_patch"),
    )
    assert [turn.parts[0] for turn in made[2:]] == [
        ToolResult("c1", (Text("ok"),), kind="custom"),
        ToolResult("c2", (Text("{}"),), kind="local_shell"),
        ToolResult("c3", (Text(orjson.dumps(ran).decode()),), kind="shell", details='{"max_output_length":9}'),
        ToolResult("c4", (Text("failed"),), kind="apply_patch", details='{"status":"failed"}'),
    ]


def test_a_local_shell_call_may_be_answered_as_agents_do_by_a_function_output() -> None:
    ran = {"type": "local_shell_call", "id": "lsh_1", "call_id": "c1", "action": {"command": ["ls"]}}
    made = turns(USER, ran, output("c1", "a.txt"))
    assert made[2].parts == (ToolResult("c1", (Text("a.txt"),), kind="local_shell"),)


def test_what_only_this_api_says_of_a_call_is_kept_beside_it_as_a_hint() -> None:
    made, needs = whole(
        input=[USER, call(namespace="crm", caller={"type": "direct"}), output(name="f", namespace="crm")]
    )
    assert made.turns[1].parts == (
        ToolCall("call_1", "f", "{}", details='{"namespace":"crm","caller":{"type":"direct"}}'),
    )
    assert made.turns[2].parts == (ToolResult("call_1", (Text("done"),), "f", details='{"namespace":"crm"}'),)
    assert needs.fields[Field.TOOL_DETAILS] == "input[1].namespace"
    assert needs.fields[Field.AUTHOR_NAME] == "input[2].name"


def test_a_call_id_is_free_again_once_its_call_is_answered() -> None:
    made = turns(USER, call("call_0"), output("call_0", "a"), call("call_0"), output("call_0", "b"))
    assert [turn.parts for turn in made if turn.role is Role.TOOL] == [
        (result("call_0", "a"),),
        (result("call_0", "b"),),
    ]


def test_content_of_every_kind_becomes_its_part_and_names_what_an_endpoint_needs() -> None:
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    content = [
        {"type": "input_text", "text": "a", **mark},
        {"type": "input_image", "image_url": "https://a.example/b.png", "detail": "low", **mark},
        {"type": "input_file", "filename": "a.pdf", "file_data": "AAAA", "detail": "high", **mark},
        {"type": "input_file", "file_url": "https://a.example/b.pdf"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "input_video", "url": "x"},
    ]
    made, needs = whole(input=[{"role": "user", "content": content}])
    assert made.turns[0].parts == (
        Text("a", cache_breakpoint=True),
        Image("https://a.example/b.png", "low", cache_breakpoint=True),
        File("AAAA", "a.pdf", cache_breakpoint=True, detail="high"),
        File(url="https://a.example/b.pdf"),
        Audio("AAAA", "wav"),
        Opaque(NATIVE, "input_video", '{"type":"input_video","url":"x"}'),
    )
    assert needs.fields == {
        Field.PROMPT_CACHE_BREAKPOINT: "input[0].content[0].prompt_cache_breakpoint",
        Field.IMAGE_INPUT: "input[0].content[1].image_url",
        Field.IMAGE_URL: "input[0].content[1].image_url",
        Field.IMAGE_DETAIL: "input[0].content[1].detail",
        Field.FILE_INPUT: "input[0].content[2]",
        Field.FILE_DETAIL: "input[0].content[2].detail",
        Field.FILE_URL: "input[0].content[3].file_url",
        Field.AUDIO_INPUT: "input[0].content[4].input_audio",
        Field.OPAQUE_INPUT: "input[0].content[5]",
    }
    assert needs.dialects == {NATIVE: "input[0].content[5]"}
    assert needs.addresses == {
        (Field.IMAGE_URL, "https://a.example/b.png"): "input[0].content[1].image_url",
        (Field.FILE_URL, "https://a.example/b.pdf"): "input[0].content[3].file_url",
    }


def test_refusals_and_sources_of_an_earlier_answer_are_kept() -> None:
    cited = {"type": "url_citation", "start_index": 0, "end_index": 1, "url": "https://a.example", "title": "A"}
    path = {"type": "file_path", "file_id": "file-1", "index": 0}
    content = [
        {"type": "output_text", "text": "a", "annotations": [cited, path], "logprobs": []},
        {"type": "refusal", "refusal": "no"},
    ]
    made, needs = whole(input=[USER, {"type": "message", "role": "assistant", "content": content}])
    assert made.turns[1].parts == (Text("a"), Refusal("no", in_content=True))
    body = {key: cited[key] for key in ("start_index", "end_index", "url", "title")}
    assert orjson.loads(made.turns[1].annotations or "") == [{"type": "url_citation", "url_citation": body}, path]
    assert needs.fields[Field.ANNOTATION_HISTORY] == "input[1].content[0].annotations[0]"


def test_the_items_to_store_are_the_callers_with_assistant_texts_as_output() -> None:
    call_ = read(input=[USER, {"role": "assistant", "content": "a", "id": "msg_1"}, {"type": "message", **USER}])
    kinds = [item.message.content[0].WhichOneof("part") for item in call_.items]
    assert kinds == ["input_text", "output_text", "input_text"]
    assert call_.items[1].message.content[0].output_text.text == "a"
    assert call_.items[1].message.id == "msg_1"
    marked = [{"type": "input_text", "text": "a", "prompt_cache_breakpoint": {}}]
    kept = read(input=[USER, {"role": "assistant", "content": marked}])
    assert kept.items[1].message.content[0].HasField("input_text")


def test_normalising_leaves_the_callers_message_as_it_was() -> None:
    from tests.support.response_requests import request

    message = request(input=[USER, {"role": "assistant", "content": "a"}])
    before = message.SerializeToString(deterministic=True)
    read(message)
    assert message.SerializeToString(deterministic=True) == before


TRACES: list[dict[str, Any]] = [
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
    {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["q"]},
    {"type": "code_interpreter_call", "id": "ci_1", "status": "completed", "code": "1"},
    {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AAAA"},
    {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "s", "tools": []},
    {"type": "mcp_call", "id": "mcp_1", "server_label": "s", "name": "n", "arguments": "{}", "output": "o"},
    {"type": "tool_search_call", "id": "ts_1", "arguments": {}},
]


@pytest.mark.parametrize("trace", TRACES, ids=lambda item: item["type"])
def test_a_trace_of_what_a_provider_ran_stays_whole_and_may_be_left_out_elsewhere(trace: dict[str, Any]) -> None:
    made, needs = whole(input=[USER, trace, said("a")])
    part = made.turns[1].parts[0]
    assert isinstance(part, Opaque)
    assert (part.dialect, part.type) == (NATIVE, trace["type"])
    assert trace.items() <= orjson.loads(part.json).items()
    assert made.turns[1].parts[1] == Text("a")
    assert needs.server_tools == {"input[1]": NATIVE}
    assert not needs.dialects


BINDING: list[dict[str, Any]] = [
    {"type": "computer_call", "id": "cu_1", "call_id": "c", "action": {"type": "wait"}, "status": "completed"},
    {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "image_url": "x"}},
    {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "s", "name": "n", "arguments": "{}"},
    {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
    {"type": "compaction", "encrypted_content": "gAAA"},
    {"type": "something_new", "id": "x_1"},
]


@pytest.mark.parametrize("item", BINDING, ids=lambda item: item["type"])
def test_what_the_next_answer_depends_on_binds_the_dialect(item: dict[str, Any]) -> None:
    """Line 23: it can't be bridged, so only a native endpoint is eligible."""
    made, needs = whole(input=[USER, item])
    part = made.turns[1].parts[0]
    assert isinstance(part, Opaque)
    assert item.items() <= orjson.loads(part.json).items()
    callers = item["type"] in ("computer_call_output", "mcp_approval_response")
    assert made.turns[1].role is (Role.USER if callers else Role.ASSISTANT)
    assert needs.dialects == {NATIVE: "input[1]"}


def test_commands_that_ran_in_a_providers_container_are_its_trace_with_their_output() -> None:
    place = {"type": "container_reference", "container_id": "cntr_1"}
    ran = {
        "type": "shell_call",
        "id": "sh_1",
        "call_id": "c",
        "action": {"commands": ["ls"]},
        "environment": place,
    }
    gave = {"type": "shell_call_output", "id": "sho_1", "call_id": "c", "output": []}
    made, needs = whole(input="go on", history=[ran, gave])
    assert [type(part) for part in made.turns[0].parts] == [Opaque, Opaque]
    assert set(needs.server_tools) == {"previous_response_id[sh_1]"}
    assert "input[1].environment" in complaints(input=[USER, ran, gave])


def test_a_reference_is_resolved_and_unknown_ones_are_named() -> None:
    """Line 23."""
    stored = [said("a", id="msg_a"), call(id="fc_b")]
    refs = [{"type": "item_reference", "id": "msg_a"}, {"id": "fc_b"}]
    made = turns(USER, *refs, output(), stored=stored)
    assert made[1] == Turn(
        Role.ASSISTANT, (Text("a"), ToolCall("call_1", "f", "{}")), items=("input[1]", "input[2]")
    )
    assert read(input=[USER, *refs]).references == {"input[1]": "msg_a", "input[2]": "fc_b"}
    found = complaints(input=[USER, *refs, output()], stored=stored[:1])
    assert "no item 'fc_b' of yours is stored here" in found["input[2].id"]


def test_an_item_is_in_a_conversation_once() -> None:
    history = [{"id": "msg_a", **USER}, said("b", id="msg_b")]
    found = complaints(input=[{"id": "msg_b"}, said("b", id="msg_b")], history=history)
    assert set(found) == {"input[0].id", "input[1].id"}
    assert "part of the conversation already" in found["input[0].id"]


def test_an_output_may_answer_a_call_of_an_earlier_response() -> None:
    made = turns(output(), history=[{"id": "msg_a", **USER}, call(id="fc_b")])
    assert [turn.items for turn in made] == [("msg_a",), ("fc_b",), ("input[0]",)]


def test_an_earlier_call_without_its_output_is_asked_for_where_it_can_be_given() -> None:
    found = complaints(input="and?", history=[{"id": "msg_a", **USER}, call(id="fc_b")])
    assert set(found) == {"input"}
    assert "a function_call_output with the call_id 'call_1'" in found["input"]


def test_a_call_that_an_earlier_answer_ended_in_is_left_out_because_nobody_can_answer_it() -> None:
    cut = call(arguments='{"a": [1,', id="fc_b", status="incomplete")
    made = turns(
        {"role": "user", "content": "go on"}, history=[{"id": "msg_a", **USER}, said("b", id="msg_b"), cut]
    )
    assert [turn.items for turn in made] == [("msg_a",), ("msg_b",), ("input[0]",)]
    assert "input[1].arguments" in complaints(input=[USER, cut])


@pytest.mark.parametrize(
    "cut",
    [
        {"type": "custom_tool_call", "name": "c", "input": "a", "status": "incomplete"},
        {"type": "local_shell_call", "action": {"type": "exec", "command": [], "env": {}}, "status": "incomplete"},
        {"type": "shell_call", "action": {"commands": []}, "status": "incomplete"},
        {"type": "apply_patch_call", "operation": {"type": "update_file"}, "status": "in_progress"},
    ],
    ids=lambda cut: str(cut["type"]),
)
def test_any_kind_of_call_that_an_answer_ended_in_may_go_unanswered(cut: dict[str, Any]) -> None:
    said_before = {"id": "msg_a", **USER}
    made = turns(USER, history=[said_before, {**cut, "id": "it_b", "call_id": "call_1"}])
    assert [turn.items for turn in made] == [("msg_a",), ("input[0]",)]


def test_what_a_listing_fills_in_asks_for_nothing_when_the_conversation_goes_on() -> None:
    image = {"type": "input_image", "image_url": "https://a.example/b.png"}
    kept = as_kept(items({"role": "user", "content": [image]}), "resp_" + "0" * 36)
    assert kept[0].message.content[0].input_image.detail == "auto"
    assert set(conversation(read(input="and?"), kept, {})[1].fields) == {Field.IMAGE_INPUT, Field.IMAGE_URL}


def test_a_call_that_was_whole_when_its_answer_ended_can_be_answered() -> None:
    cut = call(id="fc_b", status="incomplete")
    once = [{"id": "msg_a", **USER}, cut]
    made = turns(output(), history=once)
    assert [turn.items for turn in made] == [("msg_a",), ("fc_b",), ("input[0]",)]
    later = turns(USER, history=[*once, output(id="fco_c")])
    assert [turn.items for turn in later] == [("msg_a",), ("fc_b",), ("fco_c",), ("input[0]",)]
    again = turns(output(), history=[*once, {"id": "msg_c", **USER}, call(id="fc_d")])
    assert [turn.items for turn in again] == [("msg_a",), ("msg_c",), ("fc_d",), ("input[0]",)]


def test_what_is_wrong_in_an_earlier_response_is_told_with_the_items_id() -> None:
    history = [{"id": "msg_a", **USER}, call(id="fc_b", arguments="{")]
    found = complaints(input=[output()], history=history)
    assert set(found) == {"previous_response_id[fc_b].arguments"}


def test_what_history_holds_counts_for_the_choice_of_an_endpoint() -> None:
    image = {"type": "input_image", "image_url": "https://a.example/b.png"}
    history = [{"id": "msg_a", "role": "user", "content": [image]}, {**TRACES[0], "id": "ws_b"}]
    needs = whole(input="and?", history=history)[1]
    path = "previous_response_id[msg_a].content[0].image_url"
    assert needs.fields == {Field.IMAGE_INPUT: path, Field.IMAGE_URL: path}
    assert needs.addresses == {(Field.IMAGE_URL, "https://a.example/b.png"): path}
    assert needs.server_tools == {"previous_response_id[ws_b]": NATIVE}


def test_judging_a_conversation_changes_nothing_of_the_call() -> None:
    made = read(input=[USER, TRACES[0]])
    from service.api.responses.read_request import conversation
    from tests.support.response_requests import items

    history = items({"id": "cmp_1", "type": "compaction", "encrypted_content": "x"})
    before = (dict(made.needs.fields), dict(made.needs.dialects), dict(made.needs.server_tools))
    assert conversation(made, history, {})[1].dialects
    assert (made.needs.fields, made.needs.dialects, made.needs.server_tools) == before
    assert made.generation.turns == ()
