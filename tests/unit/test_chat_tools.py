"""Which tools of a chat request bind an endpoint, and which it may leave out or get as functions."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.fields import Field
from service.domain.routing import Needs
from tests.support.chats import read

SEARCH = {"type": "web_search"}
F = {"type": "function", "function": {"name": "f"}}
CUSTOM = {"type": "custom", "custom": {"name": "g"}}


def needs(*tools: dict[str, Any], **fields: Any) -> Needs:
    return read(tools=list(tools), **fields).needs


def binds(found: Needs) -> bool:
    assert (
        (Field.OPAQUE_TOOLS in found.fields) is ("openai_chat" in found.dialects) is not bool(found.server_tools)
    )
    return not found.server_tools


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"tool_choice": "auto"},
        {"tool_choice": "none"},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            }
        },
    ],
    ids=str,
)
def test_a_tool_that_a_provider_runs_may_be_left_out_where_another_can_meet_the_choice(
    choice: dict[str, object],
) -> None:
    found = needs(F, SEARCH, **choice)
    assert not binds(found)
    assert found.server_tools == {"tools[1]": "openai_chat"}


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ((F, SEARCH), {"type": "web_search"}),
        ((SEARCH,), "required"),
        (
            (F, SEARCH),
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "web_search"}]}},
        ),
    ],
    ids=str,
)
def test_one_that_the_choice_names_or_alone_can_meet_binds(
    tools: tuple[dict[str, Any], ...], choice: object
) -> None:
    found = needs(*tools, tool_choice=choice)
    assert binds(found)
    assert found.fields[Field.OPAQUE_TOOLS] == f"tools[{len(tools) - 1}]"


def test_a_grammar_is_told_beside_its_tool() -> None:
    grammar = {"type": "grammar", "grammar": {"definition": "start: NUMBER", "syntax": "lark"}}
    with_grammar = {"type": "custom", "custom": {"name": "h", "format": grammar}}
    plain = needs(CUSTOM, {"type": "custom", "custom": {"name": "i", "format": {"type": "text"}}}).fields
    assert plain == {Field.CUSTOM_TOOLS: "tools[0]"}
    assert needs(CUSTOM, with_grammar).fields == {
        Field.CUSTOM_TOOLS: "tools[0]",
        Field.CUSTOM_GRAMMAR: "tools[1].custom.format.grammar",
    }
