"""What a chat request becomes, and the draft in which its parts gather while it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from service.api.problems import Problems
from service.domain.fields import Field
from service.domain.generation import Generation, Json
from service.domain.preferences import Preferences
from service.domain.routing import Needs

DIALECT: Final = "openai_chat"
"""The dialect whose parts and tools of unnamed kinds a chat request may hold."""


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A chat request, checked: what to ask, what an endpoint must be able to say, and how to choose one.

    `include_usage`: a stream ends with a chunk of usage. `functions_style`: the answer speaks of functions,
    not of tools (`generation.functions_style` is the same for the way up).
    """

    generation: Generation
    needs: Needs
    preferences: Preferences = Preferences()
    model: str | None = None
    models: tuple[str, ...] = ()
    rule_id: str | None = None
    rule_name: str | None = None
    include_usage: bool = False
    functions_style: bool = False


class Draft:
    """A request while it is read.

    `values` and `options` are Generation's, `routing` are ChatCall's own; `fields`, `extra`, `extra_hints` and
    `dialects` become Needs. `seen` names the request's fields that are set. `stream` is the request's own
    word, None when it says nothing. `old_names` and `new_names` hold the first path at which history speaks
    of functions or of tools.
    """

    __slots__ = (
        "dialects",
        "extra",
        "extra_hints",
        "fields",
        "hint_fields",
        "new_names",
        "old_names",
        "options",
        "problems",
        "routing",
        "seen",
        "stream",
        "values",
    )

    def __init__(self, problems: Problems, hint_fields: frozenset[str]) -> None:
        self.problems = problems
        self.hint_fields = hint_fields
        self.values: dict[str, Any] = {}
        self.routing: dict[str, Any] = {}
        self.options: dict[Field, Json] = {}
        self.fields: dict[Field, str] = {}
        self.dialects: dict[str, str] = {}
        self.extra: frozenset[str] = frozenset()
        self.extra_hints: frozenset[str] = frozenset()
        self.seen: set[str] = set()
        self.stream: bool | None = None
        self.old_names = ""
        self.new_names = ""

    def need(self, field: Field, path: str) -> None:
        """The request sets `field`; the first path at which it does is kept."""
        if field not in self.fields:
            self.fields[field] = path

    def need_dialect(self, path: str) -> None:
        """The request holds something of an unnamed kind, which only an endpoint of our own dialect can take."""
        if DIALECT not in self.dialects:
            self.dialects[DIALECT] = path
