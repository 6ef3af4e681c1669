"""A new response: it says again what was asked, and what holds where nothing was."""

from __future__ import annotations

from typing import Any

import pytest
from eurouter.v1 import response_object_pb2 as pb
from eurouter.v1 import responses_pb2

from service.api.responses.echo import MESSAGES, SCALARS
from tests.support.response_events import CREATED, RESPONSE_ID, as_json, blank
from tests.support.responses_schema import check_response

FUNCTION = {
    "type": "function",
    "name": "f",
    "description": "Does.",
    "parameters": {"type": "object"},
    "strict": True,
}
ASKED: dict[str, Any] = {
    "instructions": "Be short.",
    "previous_response_id": "resp_1",
    "max_output_tokens": 7,
    "max_tool_calls": 3,
    "temperature": 0.0,
    "top_p": 0.5,
    "presence_penalty": -1.0,
    "frequency_penalty": 0.25,
    "top_logprobs": 2,
    "parallel_tool_calls": False,
    "truncation": "auto",
    "user": "u-1",
    "metadata": {"team": "blue"},
    "service_tier": "flex",
    "safety_identifier": "s-1",
    "prompt_cache_key": "k-1",
    "prompt_cache_retention": "24h",
    "reasoning": {"effort": "low", "summary": "auto"},
    "tools": [FUNCTION, {"type": "web_search", "search_context_size": "low"}],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {
        "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
        "verbosity": "low",
    },
    "background": False,
}


def test_what_a_request_leaves_out_is_said_with_the_apis_defaults() -> None:
    response = as_json(blank())
    check_response(response)
    assert (response["id"], response["created_at"]) == (RESPONSE_ID, CREATED)
    assert (response["object"], response["status"], response["model"]) == (
        "response",
        "in_progress",
        "vendor-model",
    )
    expected = {
        "temperature": 1.0,
        "top_p": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "top_logprobs": 0,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "truncation": "disabled",
        "text": {"format": {"type": "text"}},
        "service_tier": "default",
        "metadata": {},
        "background": False,
        "store": True,
        "instructions": None,
        "previous_response_id": None,
        "max_output_tokens": None,
        "reasoning": None,
        "usage": None,
        "output": [],
    }
    assert {name: response[name] for name in expected} == expected


def test_what_a_request_says_is_said_again() -> None:
    response = as_json(blank(**ASKED))
    check_response(response)
    assert {name: response[name] for name in ASKED} == ASKED


def test_verbosity_alone_leaves_the_text_plain() -> None:
    assert as_json(blank(text={"verbosity": "high"}))["text"] == {"format": {"type": "text"}, "verbosity": "high"}


@pytest.mark.parametrize("choice", ["none", "required", {"type": "custom", "name": "c"}, {"type": "apply_patch"}])
def test_each_tool_choice_replaces_the_default(choice: object) -> None:
    assert as_json(blank(tool_choice=choice))["tool_choice"] == choice


def test_every_field_that_requests_and_responses_share_is_echoed_or_given() -> None:
    asked = {*responses_pb2.CreateResponseRequest.DESCRIPTOR.fields_by_name}
    shared = asked & {*pb.Response.DESCRIPTOR.fields_by_name}
    # A request's policy and an answer's verdict have one name; who answers and what is kept is decided here.
    other = {"moderation", "model", "store", "extra"}
    assert shared - other == SCALARS | MESSAGES | {"tools", "metadata"}


def test_responses_do_not_share_what_they_echo() -> None:
    first = blank()
    first.metadata["a"] = "b"
    first.text.format.json_object.SetInParent()
    assert not blank().metadata
    assert blank().text.format.HasField("text")
