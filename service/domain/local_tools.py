"""Tools that callers run themselves, said as functions: their schemas, and calls there and back again.

The shapes of actions and operations are OpenAI's (the schemas LocalShellExecAction, FunctionShellAction and
ApplyPatchOperationParam of its OpenAPI description). Pure; which endpoint needs this is decided elsewhere.
"""

from __future__ import annotations

import json
import shlex
from typing import Final

from service.domain.generation import FunctionTool, Json, LocalToolKind

_TEXTS: Final[dict[str, Json]] = {"type": "array", "items": {"type": "string"}}
_PROPERTIES: Final[dict[LocalToolKind, tuple[str, dict[str, Json], list[Json]]]] = {
    "local_shell": (
        "Runs one command on the user's machine and returns its output.",
        {
            "command": {
                **_TEXTS,
                "description": 'The program and its arguments, such as ["bash", "-lc", "ls -la"].',
            },
            "timeout_ms": {"type": "integer", "description": "Stop the command after so many milliseconds."},
            "working_directory": {"type": "string", "description": "The directory to run the command in."},
            "env": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "Environment variables for the command.",
            },
            "user": {"type": "string", "description": "The user to run the command as."},
        },
        ["command"],
    ),
    "shell": (
        "Runs shell commands and returns the output of each.",
        {
            "commands": {**_TEXTS, "description": "Shell commands, run in this order."},
            "timeout_ms": {"type": "integer", "description": "Stop the commands after so many milliseconds."},
            "max_output_length": {"type": "integer", "description": "Return at most so many characters."},
        },
        ["commands"],
    ),
    "apply_patch": (
        "Creates, updates or deletes one file.",
        {
            "type": {
                "type": "string",
                "enum": ["create_file", "update_file", "delete_file"],
                "description": "What to do with the file.",
            },
            "path": {"type": "string", "description": "The file, relative to the workspace."},
            "diff": {
                "type": "string",
                "description": "The change to the file as a diff; left out only for delete_file.",
            },
        },
        ["type", "path"],
    ),
}

NOWHERE: Final = "(arguments not understood)"
"""The path of an apply_patch operation whose arguments were none: no such file, so nothing is changed."""


def as_function(kind: LocalToolKind, name: str) -> FunctionTool:
    """The declaration of a local tool as a function called `name`."""
    description, properties, required = _PROPERTIES[kind]
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return FunctionTool(name, description, _dumps(schema))


def arguments_of(kind: LocalToolKind, action: str) -> str:
    """An earlier call's action or operation (JSON text) as the function's arguments."""
    given = _object(action)
    if not given:
        given = _object(action_of(kind, action))
    if kind == "local_shell":
        given.pop("type", None)
    return _dumps({name: value for name, value in given.items() if value is not None and value != {}})


def action_of(kind: LocalToolKind, arguments: str) -> str:
    """A call's arguments, as the model wrote them, as the tool's action or operation.

    Nothing is lost and nothing raised. Arguments that are not the declared object are handed over whole in
    the same shape, as the name of a program to run or as a change to a file that does not exist: who runs
    that is told that there is none, and tells the model. No shell gets to expand them: half a JSON text would
    run whatever it quotes.
    """
    given = _object(arguments)
    match kind:
        case "local_shell":
            action = _exec(given, arguments)
        case "shell":
            action = _commands(given, arguments)
        case "apply_patch":
            action = _operation(given, arguments)
    text = _dumps(action)
    # Half of a surrogate pair has no place in a text that is sent: it becomes U+FFFD.
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_object(text: str) -> bool:
    """Whether `text` is a whole JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _exec(given: dict[str, Json], arguments: str) -> dict[str, Json]:
    command = given.get("command")
    words = _texts(command)
    if isinstance(command, str) and command:
        words = ["bash", "-lc", command]
    env = given.get("env")
    action: dict[str, Json] = {"type": "exec", "command": words or [arguments], "env": {}}
    if isinstance(env, dict):
        action["env"] = {name: value if isinstance(value, str) else _dumps(value) for name, value in env.items()}
    timeout = _count(given.get("timeout_ms"))
    if timeout is not None:
        action["timeout_ms"] = timeout
    for name in ("working_directory", "user"):
        value = given.get(name)
        if isinstance(value, str) and value:
            action[name] = value
    return action


def _commands(given: dict[str, Json], arguments: str) -> dict[str, Json]:
    commands = given.get("commands")
    lines: list[Json] = [commands] if isinstance(commands, str) and commands else _texts(commands)
    return {
        "commands": lines or [shlex.quote(arguments)],
        "timeout_ms": _count(given.get("timeout_ms")),
        "max_output_length": _count(given.get("max_output_length")),
    }


def _operation(given: dict[str, Json], arguments: str) -> dict[str, Json]:
    inner = given.get("operation")
    if isinstance(inner, dict):
        given = inner
    what, path, diff = given.get("type"), given.get("path"), given.get("diff")
    if isinstance(path, str) and path:
        if what == "delete_file":
            return {"type": what, "path": path}
        if what in ("create_file", "update_file") and isinstance(diff, str):
            return {"type": what, "path": path, "diff": diff}
    return {"type": "update_file", "path": NOWHERE, "diff": arguments}


def _texts(value: Json) -> list[Json]:
    """A list of texts; empty for anything else."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return []
    return value


def _count(value: Json) -> int | None:
    """A whole number, also written as a text or with a fraction of zero; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _object(text: str) -> dict[str, Json]:
    """The JSON object that `text` is; empty for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
