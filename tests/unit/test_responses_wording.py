"""Errors of dialects name the fields that a Responses request has."""

from __future__ import annotations

import pytest

from service.api.responses.wording import as_asked, reworded
from service.domain.errors import Reason, invalid


@pytest.mark.parametrize(
    ("chat", "responses"),
    [
        ("messages", "input"),
        ("messages[3].content[0].image_url.url", "input"),
        ("response_format.json_schema.schema.properties.a", "text.format.schema.properties.a"),
        ("response_format", "text.format"),
        ("max_completion_tokens", "max_output_tokens"),
        ("reasoning_effort", "reasoning.effort"),
        ("verbosity", "text.verbosity"),
        ("tools[12].function.parameters", "tools[12].parameters"),
        ("tool_choice.function.name", "tool_choice.name"),
        ("temperature", "temperature"),
        ("input[2].content[0]", "input[2].content[0]"),
        ("text.format.schema", "text.format.schema"),
    ],
)
def test_a_path_of_chat_is_told_as_the_one_that_was_written(chat: str, responses: str) -> None:
    assert as_asked(chat) == responses


def test_the_whole_error_speaks_of_the_same_field() -> None:
    told = reworded(invalid("response_format.json_schema.name", "is too long"))
    assert told.reason is Reason.INVALID_REQUEST
    assert told.message == "text.format.name: is too long"
    assert [violation.path for violation in told.violations] == ["text.format.name"]
