"""Checks of tools, of the choice among them and of calls in history, for every API that has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, assert_never

from eurouter.v1 import response_items_pb2
from eurouter.v1 import tools_pb2 as pb

from service.api.problems import NAME_RULE, Problems, is_name, json_complaint, shown
from service.domain.generation import CustomTool, FunctionTool, Grammar, LocalTool, Tool

MAX_TOOLS: Final = 128

MODES: Final[dict[int, Literal["none", "auto", "required"]]] = {
    pb.TOOL_CHOICE_MODE_NONE: "none",
    pb.TOOL_CHOICE_MODE_AUTO: "auto",
    pb.TOOL_CHOICE_MODE_REQUIRED: "required",
}

CustomForm: TypeAlias = Grammar | Literal["text"]

_SYNTAXES: Final = ("lark", "regex")


def check_name(problems: Problems, at: str, name: str) -> None:
    """That a tool may have this name."""
    if not is_name(name):
        problems.add(f"{at}.name", f"{NAME_RULE}; got {shown(name)}")


def read_function(
    problems: Problems, at: str, function: pb.FunctionDefinition | response_items_pb2.ResponseFunctionTool
) -> FunctionTool:
    """A function, without what only one API says of it."""
    check_name(problems, at, function.name)
    parameters = None
    if function.HasField("parameters"):
        parameters = function.parameters
        complaint = json_complaint(parameters, dict, "a JSON Schema object")
        if complaint is not None:
            problems.add(f"{at}.parameters", complaint)
    return FunctionTool(
        name=function.name,
        description=function.description if function.HasField("description") else None,
        parameters=parameters,
        strict=function.strict if function.HasField("strict") else None,
    )


def read_custom_form(
    problems: Problems,
    at: str,
    form: pb.CustomToolFormat | response_items_pb2.ResponseCustomToolFormat,
    grammar_at: str,
) -> CustomForm | None:
    """The form of a custom tool's input at `at`, a grammar's own fields at `grammar_at`."""
    kind = form.WhichOneof("format")
    match kind:
        case "text":
            return "text"
        case "grammar":
            return _grammar(problems, grammar_at, form.grammar)
        case None:
            problems.add(at, "is empty: give it the type text or grammar")
            return None
        case _:
            assert_never(kind)


def _grammar(problems: Problems, at: str, grammar: pb.GrammarDefinition) -> Grammar:
    if not grammar.definition:
        problems.add(f"{at}.definition", "must not be empty")
    if grammar.syntax not in _SYNTAXES:
        problems.add(f"{at}.syntax", f"must be lark or regex; got {shown(grammar.syntax)}")
    return Grammar(grammar.definition, grammar.syntax)


def no_duplicates(problems: Problems, tools: Sequence[Tool], places: Sequence[str]) -> None:
    """That each tool can be told by its name; `places` are the tools' paths."""
    names: set[str] = set()
    local: set[str] = set()
    for at, tool in zip(places, tools, strict=True):
        if isinstance(tool, FunctionTool | CustomTool) and tool.name:
            if tool.name in names:
                problems.add(
                    f"{at}.name", f"{shown(tool.name)} is declared twice: each tool needs a name of its own"
                )
            names.add(tool.name)
        elif isinstance(tool, LocalTool):
            if tool.kind in local:
                problems.add(at, f"{tool.kind} is declared twice: leave one out")
            local.add(tool.kind)


def must_exist(problems: Problems, path: str, kind: str, name: str, tools: Sequence[Tool]) -> None:
    """That a function or custom tool of this name is among `tools`."""
    wanted = CustomTool if kind == "custom" else FunctionTool
    if not any(isinstance(tool, wanted) and tool.name == name for tool in tools):
        problems.add(path, f"must name a declared {kind} tool; got {shown(name)}")


def read_arguments(problems: Problems, at: str, name: str, arguments: str) -> str:
    """A function call's arguments in history: a JSON object; nothing at all counts as an empty one."""
    if not arguments or arguments.isspace():
        return "{}"
    complaint = json_complaint(arguments, dict, "a JSON object")
    if complaint is not None:
        problems.add(f"{at}.arguments", f"of the call of {shown(name)} {complaint}")
    return arguments
