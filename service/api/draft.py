"""A request while it is read, whatever its API: what its fields gather in before they are judged together."""

from __future__ import annotations

from typing import Any

from service.api.problems import Problems
from service.domain.fields import Field
from service.domain.generation import Json


class Draft:
    """A request while it is read.

    `dialect` is the one whose values of unnamed kinds the request may hold. `values` and `options` are
    Generation's, `routing` are the call's own; `fields`, `addresses` (each with its path), `extra`, `extra_hints`,
    `dialects` and `server_tools` become Needs. `seen` names the request's fields that are set. `stream` is the
    request's own word, None when it says nothing.
    """

    __slots__ = (
        "addresses",
        "dialect",
        "dialects",
        "extra",
        "extra_hints",
        "fields",
        "hint_fields",
        "options",
        "problems",
        "routing",
        "seen",
        "server_tools",
        "stream",
        "values",
    )

    def __init__(self, problems: Problems, hint_fields: frozenset[str], dialect: str) -> None:
        self.problems = problems
        self.hint_fields = hint_fields
        self.dialect = dialect
        self.values: dict[str, Any] = {}
        self.routing: dict[str, Any] = {}
        self.options: dict[Field, Json] = {}
        self.fields: dict[Field, str] = {}
        self.addresses: dict[tuple[Field, str], str] = {}
        self.dialects: dict[str, str] = {}
        self.extra: frozenset[str] = frozenset()
        self.extra_hints: frozenset[str] = frozenset()
        self.seen: set[str] = set()
        self.server_tools: dict[str, str] = {}
        self.stream: bool | None = None

    def need(self, field: Field, path: str) -> None:
        """The request sets `field`; the first path at which it does is kept."""
        if field not in self.fields:
            self.fields[field] = path

    def need_address(self, field: Field, url: str, path: str) -> None:
        """At `path` stands the address of an image (IMAGE_URL) or of a file (FILE_URL)."""
        self.need(field, path)
        self.addresses.setdefault((field, url), path)

    def need_dialect(self, path: str) -> None:
        """The request holds something that only an endpoint of its own dialect can take."""
        if self.dialect not in self.dialects:
            self.dialects[self.dialect] = path

    def need_server(self, path: str) -> None:
        """At `path` stands a tool that the provider runs, or a trace of one: endpoints may do without it."""
        self.server_tools[path] = self.dialect

    def bind_server_tools(self) -> None:
        """The request can't be met without those of its tools that the provider runs."""
        for path in [path for path in self.server_tools if path.startswith("tools[")]:
            self.need(Field.OPAQUE_TOOLS, path)
            self.need_dialect(path)
            del self.server_tools[path]
