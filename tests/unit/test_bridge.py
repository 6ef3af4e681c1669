"""Tools as functions and their calls back again: the request's side and the answer's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.bridge import Bridged, bridge, tools_to_bridge
from service.domain.bridge_calls import CallMapper
from service.domain.events import Event, Finish, FinishReason, Start, TextDelta, ToolCallDelta, ToolCallStart
from service.domain.fields import Field
from service.domain.fold import fold
from service.domain.generation import (
    AllowedChoice,
    CustomTool,
    FunctionTool,
    Generation,
    Grammar,
    LocalTool,
    NamedChoice,
    Opaque,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)

ASK = Turn(Role.USER, (Text("go"),))
ALL = frozenset({Field.CUSTOM_TOOLS, Field.LOCAL_TOOLS})
F = FunctionTool("f", "A function", '{"type":"object"}')
SHELL, LOCAL_SHELL, PATCH = (
    LocalTool(kind, f'{{"type":"{kind}"}}') for kind in ("shell", "local_shell", "apply_patch")
)
TOOLS = {"exec": Bridged("custom", "exec"), "shell": Bridged("shell", "shell")}


def asking(
    *tools: Tool, turns: tuple[Turn, ...] = (), choice: ToolChoice | None = None, missing: frozenset[Field] = ALL
) -> tuple[Generation, Mapping[str, Bridged]]:
    return bridge(Generation((ASK, *turns), tools, tool_choice=choice), missing)


def function(tool: Tool) -> FunctionTool:
    assert isinstance(tool, FunctionTool)
    return tool


# --- the request ---


def test_what_needs_a_bridge_is_seen_in_tools_and_in_history() -> None:
    opaque = Opaque("openai_responses", "web_search", "{}")
    call = Turn(Role.ASSISTANT, (Text("x"), ToolCall("c", "exec", "ls", "custom")))
    result = Turn(Role.TOOL, (ToolResult("c", (Text("ok"),), kind="apply_patch"),))
    plain = Turn(Role.ASSISTANT, (ToolCall("c", "f", "{}"),))
    assert tools_to_bridge(Generation((ASK, plain), (F, opaque))) == frozenset()
    assert tools_to_bridge(Generation((ASK,), (F, CustomTool("exec")))) == {Field.CUSTOM_TOOLS}
    assert tools_to_bridge(Generation((ASK,), (SHELL,))) == {Field.LOCAL_TOOLS}
    assert tools_to_bridge(Generation((ASK, call))) == {Field.CUSTOM_TOOLS}
    assert tools_to_bridge(Generation((ASK, result))) == {Field.LOCAL_TOOLS}


def test_a_custom_tool_becomes_a_function_with_one_text() -> None:
    generation, stands_for = asking(F, CustomTool("exec", "Runs code"))
    assert generation.tools[0] is F
    written = function(generation.tools[1])
    assert (written.name, written.description) == ("exec", "Runs code")
    schema = json.loads(written.parameters or "")
    assert schema["properties"]["input"]["type"] == "string"
    assert (list(schema["properties"]), schema["required"]) == (["input"], ["input"])
    assert stands_for == {"exec": Bridged("custom", "exec")}


def test_a_grammar_is_told_in_the_description() -> None:
    grammar = Grammar("start: NUMBER", "lark")
    described = function(asking(CustomTool("math", "Computes", grammar))[0].tools[0]).description or ""
    assert described.startswith("Computes\n\n")
    assert "lark grammar" in described
    assert described.endswith("start: NUMBER")
    assert function(asking(CustomTool("math", None, "text"))[0].tools[0]).description is None


def test_local_tools_become_functions_with_the_fields_of_their_action() -> None:
    tools = [function(tool) for tool in asking(SHELL, LOCAL_SHELL, PATCH)[0].tools]
    properties = {tool.name: sorted(json.loads(tool.parameters or "")["properties"]) for tool in tools}
    assert properties == {
        "shell": ["commands", "max_output_length", "timeout_ms"],
        "local_shell": ["command", "env", "timeout_ms", "user", "working_directory"],
        "apply_patch": ["diff", "path", "type"],
    }


def test_a_name_that_is_taken_gets_a_number_and_one_that_does_not_fit_is_made_to() -> None:
    taken = (FunctionTool("shell"), FunctionTool("shell_2"), CustomTool("apply_patch"), CustomTool("ä b" * 40))
    generation, stands_for = asking(*taken, SHELL, PATCH)
    names = [function(tool).name for tool in generation.tools]
    assert names[:3] == ["shell", "shell_2", "apply_patch"]
    assert names[4:] == ["shell_3", "apply_patch_2"]
    assert len(names[3]) == 64
    assert names[3].startswith("__b__b")
    assert stands_for["shell_3"] == Bridged("shell", "shell")
    assert stands_for[names[3]] == Bridged("custom", "ä b" * 40)


def test_a_tool_that_the_endpoint_can_say_stays_and_keeps_its_name() -> None:
    custom = CustomTool("shell")
    generation, stands_for = asking(custom, SHELL, missing=frozenset({Field.LOCAL_TOOLS}))
    assert generation.tools[0] is custom
    assert function(generation.tools[1]).name == "shell_2"
    assert list(stands_for) == ["shell_2"]


def test_earlier_calls_and_their_results_become_those_of_the_function() -> None:
    turns = (
        Turn(
            Role.ASSISTANT,
            (
                Text("Let me see"),
                ToolCall("c1", "exec", 'print("ä")', "custom", '{"namespace":"n"}'),
                ToolCall(
                    "c2", "shell", '{"commands":["ls"],"timeout_ms":null,"max_output_length":null}', "shell", "{}"
                ),
                ToolCall("c3", "f", "{}"),
            ),
            items=("item_1",),
        ),
        Turn(Role.TOOL, (ToolResult("c1", (Text("ä"),), "exec", "custom"),)),
        Turn(Role.TOOL, (ToolResult("c2", (Text('[{"stdout":"a"}]'),), kind="shell", details="{}"),)),
        Turn(Role.TOOL, (ToolResult("c3", (Text("ok"),)),)),
    )
    generation, _ = asking(FunctionTool("shell"), F, CustomTool("exec"), SHELL, turns=turns)
    assert generation.turns[1].parts == (
        Text("Let me see"),
        ToolCall("c1", "exec", '{"input":"print(\\"ä\\")"}', details='{"namespace":"n"}'),
        ToolCall("c2", "shell_2", '{"commands":["ls"]}'),
        ToolCall("c3", "f", "{}"),
    )
    assert generation.turns[1].items == ("item_1",)
    assert generation.turns[2].parts == (ToolResult("c1", (Text("ä"),), "exec"),)
    assert generation.turns[3].parts == (ToolResult("c2", (Text('[{"stdout":"a"}]'),)),)
    assert generation.turns[4] is turns[3]


def test_a_call_of_a_tool_that_is_declared_no_longer_still_gets_a_name_of_its_own() -> None:
    call = Turn(Role.ASSISTANT, (ToolCall("c1", "f", "x", "custom"),))
    generation, _ = asking(F, turns=(call,))
    assert generation.turns[1].parts == (ToolCall("c1", "f_2", '{"input":"x"}'),)


def test_the_choice_follows_its_tool() -> None:
    assert asking(CustomTool("exec"), choice=NamedChoice("exec", "custom"))[0].tool_choice == NamedChoice("exec")
    taken = FunctionTool("shell")
    assert asking(taken, SHELL, choice=NamedChoice("shell", "shell"))[0].tool_choice == NamedChoice("shell_2")
    assert asking(taken, SHELL, choice=NamedChoice("shell"))[0].tool_choice == NamedChoice("shell")
    assert asking(SHELL, choice="required")[0].tool_choice == "required"


def test_a_choice_among_several_names_their_functions() -> None:
    entries: list[Any] = [
        {"type": "function", "function": {"name": "f"}},
        {"type": "custom", "custom": {"name": "exec"}},
        {"type": "custom", "name": "exec"},
        {"type": "shell"},
        {"type": "web_search"},
        7,
    ]
    tools = (F, FunctionTool("shell"), CustomTool("exec"), SHELL)
    chosen = asking(*tools, choice=AllowedChoice("auto", json.dumps(entries)))[0].tool_choice
    assert isinstance(chosen, AllowedChoice)
    assert json.loads(chosen.tools) == [
        entries[0],
        {"type": "function", "function": {"name": "exec"}},
        {"type": "function", "function": {"name": "exec"}},
        {"type": "function", "function": {"name": "shell_2"}},
        {"type": "web_search"},
        7,
    ]
    plain = AllowedChoice("required", json.dumps(entries[:1]))
    assert asking(*tools, choice=plain)[0].tool_choice is plain


# --- the answer ---


def mapped(*batches: Sequence[Event]) -> list[list[Event]]:
    mapper = CallMapper(TOOLS)
    return [mapper.map(batch) for batch in batches] + [mapper.end()]


def call(index: int, name: str, *fragments: str, choice: int = 0) -> list[Event]:
    start = ToolCallStart(index, f"c{index}", name, choice=choice)
    return [start, *(ToolCallDelta(index, fragment, choice) for fragment in fragments)]


STOP = Finish(FinishReason.TOOL_CALLS, "tool_calls")


def test_a_custom_tools_text_streams_under_its_own_kind() -> None:
    events: list[Event] = [TextDelta("Hm"), *call(0, "exec", '{"inp', 'ut":"pri', 'nt()"}'), STOP]
    assert mapped(*([event] for event in events)) == [
        [TextDelta("Hm")],
        [ToolCallStart(0, "c0", "exec", "custom")],
        [],
        [ToolCallDelta(0, "pri")],
        [ToolCallDelta(0, "nt()")],
        [STOP],
        [],
    ]


def test_a_local_tools_action_comes_when_its_arguments_are_whole() -> None:
    after = [*call(0, "shell", '{"commands"', ':["ls"]}', "\n"), TextDelta("x"), STOP]
    shown = '{"commands":["ls"],"timeout_ms":null,"max_output_length":null}'
    assert mapped(*([event] for event in after)) == [
        [ToolCallStart(0, "c0", "shell", "shell")],
        [],
        [ToolCallDelta(0, shown)],
        [],
        [TextDelta("x")],
        [STOP],
        [],
    ]


def test_arguments_that_never_become_an_object_are_given_when_the_choice_ends() -> None:
    for text in ("ls } {", '{"commands":["l', '{"a":]} b'):
        events, last = mapped(call(0, "shell", text), [STOP])[:2]
        assert events == [ToolCallStart(0, "c0", "shell", "shell")]
        held, finish = last
        assert isinstance(held, ToolCallDelta)
        assert text.replace('"', '\\"') in held.arguments
        assert finish == STOP


def test_what_is_held_comes_at_the_end_of_an_answer_that_never_said_it_finished() -> None:
    (_, *_), end = mapped(call(0, "exec", '{"command":"x"'))
    assert end == [ToolCallDelta(0, '{"command":"x"')]


def test_functions_of_the_callers_own_pass_untouched_and_choices_do_not_mix() -> None:
    own = call(0, "f", '{"input":"x"}')
    one, two = call(1, "exec", '{"input":"a"}'), call(1, "exec", '{"input":"b"}', choice=1)
    events = mapped([*own, one[0], two[0], two[1], one[1]])[0]
    assert events[:2] == own
    assert events[4:] == [ToolCallDelta(1, "b", 1), ToolCallDelta(1, "a")]


ARGUMENTS = st.sampled_from(
    [
        '{"input":"h\\u00e9 \\ud83d\\ude00"}',
        '{"x":{"input":1},"input":""}',
        "{}",
        "",
        "plain",
        ' {"commands":["ls","}"]} ',
        '{"commands":["ls"',
        '{"commands":7} {',
    ]
)


@given(
    calls=st.lists(st.tuples(st.sampled_from(["exec", "shell", "f"]), ARGUMENTS), max_size=4),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    finishes=st.booleans(),
)
def test_a_stream_folds_to_what_the_whole_answer_folds_to(
    calls: list[tuple[str, str]], cuts: list[int], finishes: bool
) -> None:
    start = Start("id", "m")
    end: list[Event] = [STOP] if finishes else []
    whole: list[Event] = [start]
    split: list[Event] = [start]
    for index, (name, arguments) in enumerate(calls):
        edges = [0, *sorted(cut % (len(arguments) + 1) for cut in cuts), len(arguments)]
        whole += call(index, name, arguments)
        split += call(index, name, *(arguments[a:b] for a, b in pairwise(edges)))
    mapper = CallMapper(TOOLS)
    streamed = [event for batch in ([one] for one in [*split, *end]) for event in mapper.map(batch)] + mapper.end()
    assert fold(streamed) == fold(CallMapper(TOOLS).whole([*whole, *end]))


@given(st.text())
def test_a_text_goes_to_the_function_and_comes_back_the_same(text: str) -> None:
    history = Turn(Role.ASSISTANT, (ToolCall("c", "exec", text, "custom"),))
    part = asking(CustomTool("exec"), turns=(history,))[0].turns[1].parts[0]
    assert isinstance(part, ToolCall)
    whole: list[Event] = [Start("id", "m"), *call(0, "exec", part.arguments)]
    assert fold(CallMapper(TOOLS).whole(whole)).choices[0].calls[0].arguments == text


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_long_patch_is_read_in_time_that_grows_with_its_length(size: int) -> None:
    diff = "\n".join(f'+line {number} {{ "}}" \\ }}' for number in range(3000))
    arguments = json.dumps({"type": "create_file", "path": "a", "diff": diff})
    mapper = CallMapper({"apply_patch": Bridged("apply_patch", "apply_patch")})
    fragments = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    out = mapper.map(call(0, "apply_patch", *fragments))
    assert len(out) == 2
    assert isinstance(out[1], ToolCallDelta)
    assert json.loads(out[1].arguments)["diff"] == diff
