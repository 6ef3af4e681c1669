"""What a Responses request becomes before its conversation is known, and the draft in which it gathers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from eurouter.v1 import response_items_pb2 as pb

from service.api.draft import Draft
from service.api.problems import Problems
from service.api.responses.entries import Entry
from service.domain.generation import NOTHING, Generation
from service.domain.preferences import Preferences
from service.domain.routing import Needs

DIALECT: Final = "openai_responses"
"""The dialect whose tools and items of unnamed kinds a Responses request may hold."""

INSTRUCTIONS: Final = "instructions"
"""The mark of the turn that the request's instructions are, in place of an item's."""


@dataclass(frozen=True, slots=True)
class ResponsesCall:
    """A Responses request, checked by itself: what of it needs no other response.

    `generation` has no turns and `needs` are those of the request's fields and its own items: `conversation`
    completes both. `items` are the request's own input as it is stored, assistant texts as output_text, ids as
    the caller gave them; `entries` the same as they were read. `references` maps the JSON path of each
    item_reference to the id that it names. `store` is None when the request says nothing.
    """

    generation: Generation
    needs: Needs
    items: tuple[pb.ResponseItem, ...]
    entries: tuple[Entry, ...]
    preferences: Preferences = Preferences()
    model: str | None = None
    models: tuple[str, ...] = ()
    rule_id: str | None = None
    rule_name: str | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    references: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    store: bool | None = None
    background: bool = False
    include: frozenset[str] = frozenset()


class ResponsesDraft(Draft):
    """A Responses request, or the conversation that it continues, while it is read.

    `items` and `references` are ResponsesCall's.
    """

    __slots__ = ("items", "references")

    def __init__(self, hint_fields: frozenset[str] = frozenset(), prefix: str = "") -> None:
        super().__init__(Problems(prefix), hint_fields, DIALECT)
        self.items: list[pb.ResponseItem] = []
        self.references: dict[str, str] = {}
