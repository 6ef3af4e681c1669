"""Kinds of items and parts that nobody named one by one, and what OpenAI's description says of them."""

from __future__ import annotations

import re
from typing import Final

# Kinds of unnamed items; what is called otherwise in a message is a part of its content.
ITEM: Final = re.compile(
    r"\w+_call|\w+_output|mcp_\w+|compaction\w*|tool_search\w*|program\w*|additional_tools|context_\w+"
)
PARTS_OF_ANSWERS: Final = re.compile(r"(input|output|summary|reasoning)_\w+|text|refusal")
ID_REQUIRED: Final = frozenset(
    {
        "code_interpreter_call",
        "computer_call",
        "file_search_call",
        "image_generation_call",
        "mcp_approval_request",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "web_search_call",
    }
)
"""The items whose schema wants an id (the `required` lists of OpenAI's OpenAPI description)."""

TRACES: Final = frozenset(
    {
        "code_interpreter_call",
        "file_search_call",
        "image_generation_call",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
"""What providers did by themselves: left out, and named by the plan, where the row has no such tools."""
