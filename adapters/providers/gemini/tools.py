"""Functions and the choice between them, as functionDeclarations and functionCallingConfig."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from adapters.providers.schema_text import parameters_of
from service.domain.errors import ServiceError, invalid
from service.domain.fields import Field
from service.domain.generation import AllowedChoice, FunctionTool, Generation, NamedChoice, Opaque, ToolChoice

# SDK `google-genai` 3.4: FunctionDeclaration.name.
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_MODES: Final = {"none": "NONE", "auto": "AUTO", "required": "ANY"}


def write_tools(body: dict[str, Any], generation: Generation, can: frozenset[Field]) -> None:
    """Puts `tools` and `toolConfig` into the body.

    Raises:
        ServiceError: INVALID_REQUEST for a tool that is no function, a name outside Gemini's alphabet, a choice
            of something else than functions.
    """
    if Field.TOOLS not in can:
        return
    declared = [
        _declaration(tool, f"tools[{at}]")
        for at, tool in enumerate(generation.tools)
        # Tools that a provider runs are of other dialects: the plan has named them as ignored.
        if not isinstance(tool, Opaque)
    ]
    if not declared:
        return
    choice = generation.tool_choice if Field.TOOL_CHOICE in can else None
    if isinstance(choice, AllowedChoice):
        choice = _allowed(choice, declared, body) if Field.TOOL_CHOICE_ALLOWED in can else None
    if not declared:
        return
    if choice is not None:
        body["toolConfig"] = {"functionCallingConfig": _calling(choice)}
    body["tools"] = [{"functionDeclarations": declared}]


def _declaration(tool: object, path: str) -> dict[str, Any]:
    if not isinstance(tool, FunctionTool):
        raise invalid(path, "this endpoint takes function tools only")
    if not _NAME.fullmatch(tool.name):
        raise invalid(
            f"{path}.function.name",
            "this endpoint takes a letter or an underscore, then up to 127 letters, digits, _ . : and -",
        )
    written: dict[str, Any] = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    if tool.parameters is not None:
        written["parametersJsonSchema"] = parameters_of(tool.parameters)
    return written


def _calling(choice: ToolChoice) -> dict[str, Any]:
    if isinstance(choice, NamedChoice) and choice.kind == "function":
        return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    if isinstance(choice, str):
        return {"mode": _MODES[choice]}
    raise _no_choice()


def _allowed(choice: AllowedChoice, declared: list[dict[str, Any]], body: dict[str, Any]) -> ToolChoice | None:
    """Keeps the model to some of the functions.

    The wire can name them only where one must be called; where none must be, the others are not declared.
    """
    entries = orjson.loads(choice.tools)
    if any(entry.get("type") != "function" for entry in entries):
        raise _no_choice()
    names = [entry["function"]["name"] for entry in entries]
    if choice.mode == "required":
        body["toolConfig"] = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": names}}
        return None
    declared[:] = [function for function in declared if function["name"] in names]
    return "auto"


def _no_choice() -> ServiceError:
    return invalid("tool_choice", "this endpoint takes none, auto, required and functions by their names")
