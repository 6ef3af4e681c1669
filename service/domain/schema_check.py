"""One JSON value on its way through a schema that `json_schema` has read, in steps that are counted.

Each keyword costs steps, and what it looks at in a loop costs more; when they are used up the value counts as not
judged. What the keywords mean stands in `schema_keywords`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

from service.domain.json_schema import REFERENCE, Dialect, Node, Path, Schema

MAX_STEPS: Final = 400_000
"""Keywords that are looked at, and entries of what they look at: about a second at the most."""

_TEXT_STEP: Final = 1000
HERE: Final[Path] = ()


class UncheckedValueError(Exception):
    """The value can't be judged within bounds."""


class Checking:
    """A count of steps, and what is held to a schema within them; `judges` are the keywords of its dialect."""

    __slots__ = ("_enums", "_judges", "_left", "_schema")

    def __init__(self, schema: Schema, judges: Mapping[str, Judge]) -> None:
        self._schema = schema
        self._judges = judges
        self._left = MAX_STEPS
        self._enums: dict[int, frozenset[object]] = {}

    def failing(self, value: Any, node: Node) -> Path | None:
        """Where in this part of the schema `value` fails first; None when it matches.

        Raises:
            UncheckedValueError: that takes too many steps.
            RecursionError: it is nested too deeply.
        """
        if isinstance(node, bool):
            self.spend(1)
            return None if node else HERE
        self.spend(1 + len(node))
        if REFERENCE in node and self._schema.dialect is Dialect.DRAFT_07:
            # What stands beside a reference was ignored then.
            return self.led(value, node[REFERENCE])
        for key, told in node.items():
            judge = self._judges.get(key)
            failed = None if judge is None else judge(self, value, told, node)
            if failed is not None:
                return (key, *failed)
        return None

    def led(self, value: Any, reference: str) -> Path | None:
        """As `failing`, where a reference leads."""
        return self.failing(value, self._schema.targets[reference])

    def each(self, values: Iterable[tuple[str, Any, Node]]) -> Path | None:
        """The first failure of several, below its step."""
        for step, value, node in values:
            failed = self.failing(value, node)
            if failed is not None:
                return (step, *failed)
        return None

    def spend(self, steps: int) -> None:
        """Counts them."""
        self._left -= steps
        if self._left < 0:
            raise UncheckedValueError

    def key(self, value: Any) -> object:
        """Equal for values that are equal in JSON, and hashed without regard to what the value's author wants."""
        if isinstance(value, str):
            self.spend(1 + len(value) // _TEXT_STEP)
            return value
        self.spend(1)
        if isinstance(value, list):
            return ("array", *map(self.key, value))
        if isinstance(value, dict):
            return frozenset((name, self.key(each)) for name, each in value.items())
        if value is None or isinstance(value, bool):
            return ("null" if value is None else "true" if value else "false",)
        sign, digits, exponent = Decimal(value).as_tuple()
        self.spend(len(digits) // 100)
        shown = bytes(digits).rstrip(b"\0")
        return (sign, shown, int(exponent) + len(digits) - len(shown)) if shown else (0, shown, 0)

    def keys(self, values: list[Any]) -> frozenset[object]:
        """The key of each of a schema's own `values`, worked out once."""
        keys = self._enums.get(id(values))
        if keys is None:
            keys = self._enums[id(values)] = frozenset(map(self.key, values))
        return keys


Judge: TypeAlias = Callable[[Checking, Any, Any, dict[str, Any]], Path | None]
"""A keyword's judgement of a value, given what the keyword says and the keywords beside it."""
