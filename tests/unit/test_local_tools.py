"""Local tools as functions: their schemas, their actions, and arguments that models get wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.generation import LocalToolKind
from service.domain.local_tools import NOWHERE, action_of, arguments_of, as_function

KINDS: tuple[LocalToolKind, ...] = ("local_shell", "shell", "apply_patch")
ACTIONS: list[tuple[LocalToolKind, dict[str, Any]]] = [
    ("local_shell", {"type": "exec", "command": ["ls", "-la"], "env": {}}),
    (
        "local_shell",
        {
            "type": "exec",
            "command": ["make"],
            "env": {"A": "1"},
            "timeout_ms": 5,
            "working_directory": "/tmp",
            "user": "me",
        },
    ),
    ("shell", {"commands": ["ls", "pwd"], "timeout_ms": None, "max_output_length": None}),
    ("shell", {"commands": ["ls"], "timeout_ms": 9, "max_output_length": 100}),
    ("apply_patch", {"type": "create_file", "path": "ä.txt", "diff": "+a"}),
    ("apply_patch", {"type": "update_file", "path": "a.txt", "diff": "@@\n-a\n+b"}),
    ("apply_patch", {"type": "delete_file", "path": "a.txt"}),
]
SCHEMAS = {
    "local_shell": "LocalShellExecAction",
    "shell": "FunctionShellAction",
    "apply_patch": "ApplyPatchOperationParam",
}


def action(kind: LocalToolKind, arguments: object) -> Any:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return json.loads(action_of(kind, text))


@pytest.fixture(scope="module")
def official(shared: Path) -> dict[str, jsonschema.Draft202012Validator]:
    document = json.loads((shared / "specs" / "openai-slice.json").read_text(encoding="utf-8"))
    return {
        kind: jsonschema.Draft202012Validator(
            {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        )
        for kind, name in SCHEMAS.items()
    }


@pytest.mark.parametrize(("kind", "done"), ACTIONS)
def test_an_action_comes_back_the_same_from_its_functions_arguments(
    kind: LocalToolKind, done: dict[str, Any]
) -> None:
    arguments = arguments_of(kind, json.dumps(done))
    jsonschema.validate(json.loads(arguments), json.loads(as_function(kind, "f").parameters or ""))
    assert json.loads(action_of(kind, arguments)) == done


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_model_writes_becomes_an_action_by_openais_schema(
    kind: LocalToolKind, official: dict[str, jsonschema.Draft202012Validator]
) -> None:
    names = st.sampled_from(
        ["command", "commands", "env", "timeout_ms", "user", "type", "path", "diff", "operation"]
    )
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    values = st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4)
    )

    @given(st.dictionaries(names, values, max_size=5).map(json.dumps) | st.text())
    def check(arguments: str) -> None:
        official[kind].validate(action(kind, arguments))
        json.loads(arguments_of(kind, arguments))

    check()


def test_a_command_that_is_one_text_goes_to_a_shell() -> None:
    assert action("local_shell", {"command": "ls | wc"})["command"] == ["bash", "-lc", "ls | wc"]
    assert action("shell", {"commands": "ls | wc"})["commands"] == ["ls | wc"]


def test_numbers_in_disguise_count_and_what_is_none_is_left_out() -> None:
    given = {"command": ["x"], "timeout_ms": "500", "user": 7, "env": {"A": 1, "B": True, "C": "c"}}
    assert action("local_shell", given) == {
        "type": "exec",
        "command": ["x"],
        "env": {"A": "1", "B": "true", "C": "c"},
        "timeout_ms": 500,
    }
    assert action("shell", {"commands": ["x"], "timeout_ms": 500.0})["timeout_ms"] == 500
    assert action("shell", {"commands": ["x"], "timeout_ms": True})["timeout_ms"] is None


def test_an_operation_may_stand_in_a_box_of_its_own() -> None:
    operation = {"type": "create_file", "path": "a", "diff": "+x"}
    assert action("apply_patch", {"operation": operation}) == operation


@pytest.mark.parametrize("broken", ['{"command": ["rm", "$(reboot)"', "rm -rf `pwd`; $(reboot)", "{}", "[]", ""])
def test_arguments_that_are_not_understood_are_handed_over_whole_and_no_shell_expands_them(broken: str) -> None:
    assert action("local_shell", broken) == {"type": "exec", "command": [broken], "env": {}}
    (command,) = action("shell", broken)["commands"]
    # One word in quotes: the shell looks for a program of that name and expands nothing.
    assert command.startswith("'")
    assert command.endswith("'")
    assert broken in command
    assert action("apply_patch", broken) == {"type": "update_file", "path": NOWHERE, "diff": broken}


def test_an_operation_without_its_diff_touches_no_file() -> None:
    assert action("apply_patch", {"type": "update_file", "path": "a.txt"})["path"] == NOWHERE


def test_an_earlier_call_that_is_no_action_is_shown_as_what_it_was_made() -> None:
    assert json.loads(arguments_of("local_shell", "not json")) == {"command": ["not json"]}
    assert json.loads(arguments_of("shell", "not json")) == {"commands": ["'not json'"]}


def test_half_of_a_surrogate_pair_spoils_no_action() -> None:
    command = json.loads(action_of("local_shell", '{"command":["\\ud800", "\\ud83d\\ude00", "ä"]}'))["command"]
    assert command == ["\ufffd", "\U0001f600", "ä"]
