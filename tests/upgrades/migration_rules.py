"""What a migration has to keep to once there is a release that may run beside it. Reads source text only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

_TAKE_AWAY: Final = frozenset(
    {"drop_column", "drop_table", "drop_index", "drop_constraint", "alter_column", "rename_table"}
)
_SCAN_OR_LOCK: Final = frozenset(
    {"create_foreign_key", "create_check_constraint", "create_unique_constraint", "create_primary_key"}
)
BUILD_INDEX: Final = "build_index"


def complaints(source: str) -> list[str]:
    """What is wrong with the text of a migration's module."""
    return list(_complaints(ast.parse(source)))


def says(source: str, name: str) -> str | None:
    """The text that the module gives a name, such as `compatible_from`."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if name in targets and isinstance(node.value.value, str):
                return node.value.value
    return None


def _complaints(module: ast.Module) -> Iterator[str]:
    text = ast.unparse(module)
    oldest, revision = says(text, "compatible_from"), says(text, "revision")
    if oldest is None:
        yield "does not say compatible_from"
    if "lock_timeout" in text:
        yield "sets lock_timeout, which the runner does"
    calls = [(_name(node), node) for node in ast.walk(module) if isinstance(node, ast.Call)]
    made = {_first(node) for name, node in calls if name == "create_table"}
    acts = [name for name, node in calls if _on_op(node) and name not in ("get_bind", "get_context")]
    if BUILD_INDEX in [name for name, _ in calls] and acts:
        yield f"does {acts} beside build_index, which commits them"
    for name, node in calls:
        if name == "create_index" and _second(node) not in made and not says(text, "not_concurrently"):
            yield "makes an index on a table in use: build_index, or say why not with `not_concurrently`"
        if name == "add_column" and not _may_be_absent(node):
            yield "adds a column that older code can't leave out: nullable, or with a server_default"
        if name in _SCAN_OR_LOCK:
            yield f"{name} holds the table while all rows are read"
    takes = [name for name, _ in calls if name in _TAKE_AWAY]
    if takes and oldest != revision and says(text, "unused_since") != oldest:
        yield f"takes away ({takes}) without saying in unused_since from which revision on no code uses it"


def _name(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _on_op(call: ast.Call) -> bool:
    function = call.func
    return (
        isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "op"
    )


def _first(call: ast.Call) -> str | None:
    return _constant(call, 0)


def _second(call: ast.Call) -> str | None:
    return _constant(call, 1)


def _constant(call: ast.Call, at: int) -> str | None:
    value = call.args[at] if len(call.args) > at else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _may_be_absent(call: ast.Call) -> bool:
    columns = [node for node in ast.walk(call) if isinstance(node, ast.Call) and _name(node) == "Column"]
    given = {word.arg: word.value for column in columns for word in column.keywords}
    if "server_default" in given:
        return True
    nullable = given.get("nullable")
    return nullable is None or (isinstance(nullable, ast.Constant) and nullable.value is True)
