"""What a migration has to keep to once there is a release that may run beside it. Reads source text only.

What is not known to be harmless is refused, unless the module says `why`: that is for whoever reads it to judge.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Final

_ADD: Final = frozenset({"add_column", "create_table", "create_index"})
_TAKE_AWAY: Final = frozenset({"drop_column", "drop_table", "drop_index", "drop_constraint"})
_BUILD_INDEX: Final = "build_index"
_FOREIGN_KEYS: Final = frozenset({"ForeignKey", "ForeignKeyConstraint"})
_NAME_AND_TYPE: Final = 2
_COLUMN_WORDS: Final = frozenset({"nullable", "server_default", "comment"})
_CONSTANT_SQL: Final = re.compile(r"-?\d+(\.\d+)?|'[^']*'|true|false|null", re.IGNORECASE)


def complaints(source: str, revisions: Sequence[str], released: str) -> list[str]:
    """What is wrong with the text of a migration's module.

    `revisions`: all, oldest first; `released`: the newest of the last release before it.
    """
    module = ast.parse(source)
    found = [*_of_words(source, revisions, released), *_of_harm(module)]
    if says(source, "why") is None:
        found += _unknown(module)
    return found


def says(source: str, name: str) -> str | None:
    """The text that the module gives a name, such as `compatible_from`."""
    found = None
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if name in targets and isinstance(node.value.value, str):
                found = node.value.value
    return found


def _of_words(source: str, revisions: Sequence[str], released: str) -> Iterator[str]:
    """What it says of older code."""
    oldest, unused = says(source, "compatible_from"), says(source, "unused_since")
    usable = revisions[: revisions.index(released) + 1]
    if oldest is None:
        yield "does not say compatible_from"
    elif oldest not in usable:
        yield f"compatible_from = {oldest} locks out the last release, which knows {released}"
    takes = [name for name, node in _calls(ast.parse(source)) if name in _TAKE_AWAY and _on_op(node)]
    if takes and (oldest not in usable or unused not in revisions[: revisions.index(oldest) + 1]):
        yield f"takes away ({takes}) what code of compatible_from may use: say unused_since, no later than that"


def _of_harm(module: ast.Module) -> Iterator[str]:
    """What no reason makes right."""
    if "lock_timeout" in ast.unparse(module):
        yield "sets lock_timeout, which the runner does"
    calls = _calls(module)
    acts = [name for name, node in calls if _on_op(node)]
    if _BUILD_INDEX in [name for name, _ in calls] and acts:
        yield f"does {acts} beside build_index, which commits them"
    for name, node in calls:
        if name == "add_column" and not _may_be_absent(node):
            yield "adds a column that older code can't leave out: nullable, or with a server_default"


def _unknown(module: ast.Module) -> Iterator[str]:
    """What only a reason makes right."""
    calls = _calls(module)
    made = {_text(node, 0) for name, node in calls if name == "create_table"}
    called = {id(node.func.value) for _, node in calls if isinstance(node.func, ast.Attribute)}
    for node in ast.walk(module):
        if isinstance(node, ast.Name) and node.id == "op" and id(node) not in called:
            yield "hands op on, so that nobody sees what is done: call op.…, or say `why`"
        if isinstance(node, ast.ImportFrom | ast.Import) and _is_other_alembic(node):
            yield "imports more of alembic than op: say `why`"
    for name, node in calls:
        if _on_op(node) and name not in _ADD | _TAKE_AWAY:
            yield f"op.{name} may hold, read or change more than it seems: say `why`"
        if name == "create_index" and _text(node, 1) not in made:
            yield "makes an index on a table in use: build_index, or say `why`"
        if name in _FOREIGN_KEYS:
            yield f"{name} holds both tables, and older code does not know of it: say `why`"
        if name == "add_column" and not _is_quick(node):
            yield "adds a column with more than a type and a constant server_default: say `why`"


def _calls(module: ast.Module) -> list[tuple[str, ast.Call]]:
    return [(_name(node), node) for node in ast.walk(module) if isinstance(node, ast.Call)]


def _name(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _on_op(call: ast.Call) -> bool:
    function = call.func
    return (
        isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "op"
    )


def _is_other_alembic(node: ast.ImportFrom | ast.Import) -> bool:
    names = [(name.name, name.asname) for name in node.names]
    if isinstance(node, ast.Import):
        return any(name.partition(".")[0] == "alembic" for name, _ in names)
    return (node.module or "").partition(".")[0] == "alembic" and (node.module, names) != (
        "alembic",
        [("op", None)],
    )


def _text(call: ast.Call, at: int) -> str | None:
    value = call.args[at] if len(call.args) > at else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


def _column(call: ast.Call) -> ast.Call | None:
    """Of `op.add_column`: the column, where it is written there."""
    column = call.args[1] if len(call.args) > 1 else None
    return column if isinstance(column, ast.Call) and _name(column) == "Column" else None


def _given(column: ast.Call) -> dict[str | None, ast.expr]:
    return {word.arg: word.value for word in column.keywords}


def _may_be_absent(call: ast.Call) -> bool:
    column = _column(call)
    if column is None:
        return False
    nullable = _given(column).get("nullable")
    return (
        "server_default" in _given(column)
        or nullable is None
        or (isinstance(nullable, ast.Constant) and nullable.value is True)
    )


def _is_quick(call: ast.Call) -> bool:
    """Whether no row has to be written or read for it."""
    column = _column(call)
    if column is None or len(column.args) > _NAME_AND_TYPE:
        return False
    given = _given(column)
    return given.keys() <= _COLUMN_WORDS and _is_constant(given.get("server_default"))


def _is_constant(default: ast.expr | None) -> bool:
    if isinstance(default, ast.Call):
        text = _text(default, 0)
        return _name(default) == "text" and text is not None and _CONSTANT_SQL.fullmatch(text) is not None
    return default is None or isinstance(default, ast.Constant)
