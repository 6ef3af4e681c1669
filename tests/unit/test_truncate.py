"""What is left out of a request that is too long, and what never is."""

from __future__ import annotations

import dataclasses
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from service.domain.generation import (
    Audio,
    CustomTool,
    File,
    FunctionTool,
    Generation,
    Grammar,
    Image,
    JsonSchema,
    LocalTool,
    Opaque,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)
from service.domain.truncate import MEDIA_TOKENS, TURN_TOKENS, by_bytes, estimate, truncate


def said(role: Role, text: str, name: str = "") -> Turn:
    return Turn(role, (Text(text),), items=(name or text,))


def calls(*ids: str) -> Turn:
    return Turn(
        Role.ASSISTANT, tuple(ToolCall(name, "f", "x" * 30) for name in ids), items=tuple(f"fc_{i}" for i in ids)
    )


def result(call_id: str) -> Turn:
    return Turn(Role.TOOL, (ToolResult(call_id, (Text("y" * 30),)),), items=(f"out_{call_id}",))


def system(text: str = "s") -> Turn:
    return said(Role.SYSTEM, text)


def user(text: str) -> Turn:
    return said(Role.USER, text)


def assistant(text: str) -> Turn:
    return said(Role.ASSISTANT, text)


def left(*turns: Turn, budget: int = 0) -> tuple[list[str], tuple[str, ...]]:
    """The names of what stays and of what goes."""
    generation, dropped = truncate(Generation(turns), budget)
    return [name for turn in generation.turns for name in turn.items], dropped


def test_a_text_counts_a_third_of_its_bytes() -> None:
    assert [by_bytes(text) for text in ("", "a", "abc", "abcd", "ä", "日本", "😀")] == [0, 1, 1, 2, 1, 2, 2]


def test_everything_that_a_model_reads_counts() -> None:
    def tokens(*parts: object) -> int:
        return estimate(Generation((Turn(Role.USER, parts),))) - TURN_TOKENS  # type: ignore[arg-type]

    assert tokens(Text("abc"), Text("abcdef")) == 3
    assert tokens(ToolCall("id", "abc", "abc"), Opaque("d", "t", "abc")) == 3
    assert tokens(ToolResult("id", (Text("abcdef"), Image("data:image/png;base64,AAAA")))) == 2 + MEDIA_TOKENS
    assert tokens(Reasoning("abc", summary="abc", encrypted="abcdef")) == 4
    assert tokens(Audio("A" * 9999, "wav"), File("A" * 9999)) == 2 * MEDIA_TOKENS
    tools = (
        FunctionTool("abc", "abc", "abc"),
        CustomTool("abc", None, Grammar("abc", "lark")),
        LocalTool("shell", "abc"),
        Opaque("d", "web_search", "abc"),
    )
    assert estimate(Generation((), tools, output=JsonSchema("n", "abc"))) == 3 + 2 + 1 + 1 + 1


def test_the_oldest_question_goes_with_all_that_followed_it() -> None:
    turns = (system(), user("one"), assistant("a1"), user("two"), assistant("a2"), user("three"))
    whole = estimate(Generation(turns))
    assert left(*turns, budget=whole) == (["s", "one", "a1", "two", "a2", "three"], ())
    assert left(*turns, budget=whole - 1) == (["s", "two", "a2", "three"], ("one", "a1"))
    assert left(*turns) == (["s", "three"], ("one", "a1", "two", "a2"))


def test_what_fits_or_can_not_be_shortened_is_the_same_object() -> None:
    for turns in ((user("one"), user("two")), (system(), user("x" * 99), assistant("y"))):
        generation = Generation(turns)
        assert truncate(generation, 9999)[0] is generation
    assert truncate(generation, 0) == (generation, ())
    assert truncate(generation, 0)[0] is generation
    assert truncate(Generation(()), 0) == (Generation(()), ())


def test_system_and_developer_turns_stay_where_they_stand() -> None:
    late = said(Role.DEVELOPER, "late")
    assert left(system(), user("one"), late, assistant("a"), user("two"))[0] == ["s", "late", "two"]


def test_turns_before_the_first_question_are_a_group_too() -> None:
    assert left(assistant("hello"), user("one"))[0] == ["one"]


def test_an_agents_loop_loses_its_earlier_steps_and_keeps_question_and_last_step() -> None:
    turns = (
        user("one"),
        assistant("a"),
        user("do it"),
        calls("1", "2"),
        result("1"),
        result("2"),
        assistant("so far"),
        calls("3"),
        result("3"),
    )
    assert left(*turns) == (
        ["do it", "fc_3", "out_3"],
        ("one", "a", "fc_1", "fc_2", "out_1", "out_2", "so far"),
    )


def test_a_call_and_its_result_are_never_parted_however_far_apart() -> None:
    turns = (user("one"), calls("1"), user("two"), result("1"), assistant("a"), user("three"), assistant("b"))
    budget = estimate(Generation(turns)) - 1
    assert left(*turns, budget=budget) == (["three", "b"], ("one", "fc_1", "two", "out_1", "a"))
    pending = (user("one"), calls("1", "2"), result("1"), assistant("a"), user("two"), result("2"))
    assert left(*pending)[1] == ()


def test_what_only_a_dialect_can_call_and_answer_is_not_parted_either() -> None:
    def step(number: int) -> tuple[Turn, Turn]:
        call, reply = f"call_{number}", f"reply_{number}"
        return (
            Turn(Role.ASSISTANT, (Opaque("d", "computer_call", "{}"),), items=(call,)),
            Turn(Role.USER, (Opaque("d", "computer_call_output", "{}"),), items=(reply,)),
        )

    turns = (user("one"), *step(0), user("do it"), *step(1), *step(2), *step(3))
    budget = estimate(Generation(turns)) - 1
    assert left(*turns, budget=budget)[1] == ("one", "call_0", "reply_0")
    assert left(*turns)[0] == ["do it", "call_3", "reply_3"]


def test_only_the_turns_change() -> None:
    generation = Generation((user("one"), user("two")), temperature=0.5, truncate=True)
    assert truncate(generation, 0)[0] == dataclasses.replace(generation, turns=generation.turns[1:])


def test_a_tokenizer_takes_the_place_of_the_bytes() -> None:
    generation = Generation((user("a b c"), user("d e")))
    assert estimate(generation, lambda text: len(text.split())) == 5 + 2 * TURN_TOKENS
    assert len(truncate(generation, 4 + TURN_TOKENS, lambda text: len(text.split()))[0].turns) == 1


ROLES = st.sampled_from(["user", "assistant", "calls", "result", "result", "system"])


@st.composite
def histories(draw: st.DrawFn) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    waiting: list[str] = []
    for number, kind in enumerate(draw(st.lists(ROLES, max_size=25))):
        if kind == "calls":
            ids = [f"{number}{letter}" for letter in "ab"[: draw(st.integers(1, 2))]]
            waiting += ids
            turns.append(calls(*ids))
        elif kind == "result":
            if waiting:
                turns.append(result(waiting.pop(draw(st.integers(0, len(waiting) - 1)))))
        else:
            text = f"{number}" + "z" * draw(st.integers(0, 60))
            turns.append(said(Role(kind), text))
    turns += [result(name) for name in waiting]
    return tuple(turns)


def results_and_calls(turns: tuple[Turn, ...]) -> tuple[Counter[str], Counter[str]]:
    parts = [part for turn in turns for part in turn.parts]
    return (
        Counter(part.call_id for part in parts if isinstance(part, ToolResult)),
        Counter(part.id for part in parts if isinstance(part, ToolCall)),
    )


@given(histories(), st.integers(0, 600))
def test_whatever_the_history_the_rules_hold(turns: tuple[Turn, ...], budget: int) -> None:
    generation = Generation(turns)
    cut, dropped = truncate(generation, budget)
    places = {id(turn): place for place, turn in enumerate(turns)}
    kept = [places[id(turn)] for turn in cut.turns]
    gone = [turn for place, turn in enumerate(turns) if place not in kept]
    assert kept == sorted(kept)
    assert dropped == tuple(name for turn in gone for name in turn.items)
    assert not [turn for turn in gone if turn.role in (Role.SYSTEM, Role.DEVELOPER)]
    answered, called = results_and_calls(cut.turns)
    assert answered == called
    questions = [turn for turn in turns if turn.role is Role.USER]
    assert not questions or any(turn is questions[-1] for turn in cut.turns)
    if estimate(generation) <= budget:
        assert cut is generation
    elif estimate(cut) > budget:
        assert cut == truncate(generation, 0)[0], "something could still have gone"


@given(histories(), st.integers(0, 400), st.integers(0, 400))
def test_a_smaller_budget_never_keeps_more(turns: tuple[Turn, ...], one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert set(truncate(Generation(turns), large)[1]) <= set(truncate(Generation(turns), small)[1])
