"""What a chat request becomes, and the draft in which its parts gather while it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.api.draft import Draft
from service.api.problems import Problems
from service.domain.generation import Generation
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


class ChatDraft(Draft):
    """A chat request while it is read: `old_names` and `new_names` hold the first path at which history speaks of
    functions or of tools.
    """

    __slots__ = ("new_names", "old_names")

    def __init__(self, problems: Problems, hint_fields: frozenset[str]) -> None:
        super().__init__(problems, hint_fields, DIALECT)
        self.old_names = ""
        self.new_names = ""
