"""What recorded clients asked: each form of it that our API can express is asked by a golden case."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.recorded_forms import KINDS, counted, emitted, reason_for
from tests.support.request_forms import forms

each_kind = pytest.mark.parametrize("kind", KINDS)

# How many forms the recorded requests take: one that is no longer counted fails a test.
FORMS = {
    "openai.chat": 78,
    "compat.chat": 18,
    "azure.chat": 11,
    "mistral.chat": 14,
    "anthropic.messages": 61,
    "bedrock.converse": 49,
    "bedrock.converse_stream": 45,
    "openai.responses": 87,
}


@each_kind
def test_every_form_of_the_recorded_requests_is_counted(kind: str, shared: Path) -> None:
    assert len(counted(shared, kind)) == FORMS[kind]


@each_kind
def test_every_recorded_form_is_asked_by_a_golden_case_or_has_a_reason_why_not(kind: str, shared: Path) -> None:
    recorded = KINDS[kind]
    missing = counted(shared, kind).keys() - emitted(recorded)
    reasons = {form: reason_for(recorded, form) for form in missing}
    assert [form for form, key in reasons.items() if key is None] == []
    assert set(reasons.values()) == set(recorded.unsaid), "a reason for what is not missing"


def test_our_golden_requests_ask_anthropic_for_more_than_the_recorded_ones() -> None:
    assert emitted(KINDS["anthropic.messages"]) >= {
        "cache_control{ephemeral}",
        "messages[assistant].content[redacted_thinking]",
        "messages[user].content[document].source{url}",
        "messages[user].content[document].title",
        "messages[user].content[tool_result].content[image].source{base64}",
        "metadata",
        "thinking{adaptive}.display",
        "tool_choice{any}",
        "tool_choice{none}",
        "tool_choice{tool}",
    }


def test_a_form_names_what_stands_in_lists_and_objects_and_leaves_values_and_the_callers_json_out() -> None:
    request = {
        "model": "m",
        "tool_choice": "any",
        "stop": None,
        "thinking": {"type": "enabled", "budget_tokens": 9},
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]},
            {"role": "assistant", "content": [{"type": "tool_use", "input": {"city": "Oslo"}}, {"text": "Hm."}]},
        ],
        "tools": [{"name": "a", "input_schema": {"type": "object"}}],
    }
    assert forms(request) == {
        "model",
        "tool_choice any",
        "thinking{enabled}",
        "thinking{enabled}.budget_tokens",
        "messages[user]",
        "messages[user].content",
        "messages[user].content[image]",
        "messages[user].content[image].source{url}",
        "messages[user].content[image].source{url}.url",
        "messages[assistant]",
        "messages[assistant].content[tool_use]",
        "messages[assistant].content[tool_use].input",
        "messages[assistant].content[text]",
        "messages[assistant].content[text].text",
        "tools[name]",
        "tools[name].name",
        "tools[name].input_schema",
    }
