"""The golden requests to OpenAI, Azure and Mistral held strictly against their own types and documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from pydantic import ValidationError

from adapters.providers import azure, mistral, openai_chat, openai_responses
from adapters.providers.dialect import Dialect
from tests.contract.sample import endpoint_for
from tests.golden.requests import CASES
from tests.support.official_types import check_mistral, check_openai_chat
from tests.support.strict_types import problems

UNTYPED = {
    # OpenAI's API takes an answer back as it was given, sources included; its published schema allows that, its
    # types for requests do not name it.
    "assistant": "annotations",
    # The name of a tool that answers, which OpenAI answered with 200 in recorded exchanges.
    "tool": "name",
}
"""By role: what OpenAI takes and its SDK's types do not name."""
NOT_STORED = {"reasoning": ("id",), "local_shell_call": ("id",)}
"""What the types want of items that OpenAI stored: nothing of ours is stored there, so it knows none by an id."""


def body_of(dialect: Dialect, case: str) -> dict[str, Any]:
    wanted = CASES[case]
    body: dict[str, Any] = json.loads(
        dialect.build(wanted.generation, endpoint_for(dialect), stream=wanted.stream).body
    )
    return body


def typed_body_of(dialect: Dialect, case: str) -> dict[str, Any]:
    """The same without what is untyped."""
    body = body_of(dialect, case)
    for message in body["messages"]:
        message.pop(UNTYPED.get(message["role"]), None)
    return body


def fitting(dialect: Dialect) -> list[str]:
    return [case for case in CASES if CASES[case].fits(dialect)]


@pytest.mark.parametrize("case", fitting(openai_chat.DIALECT))
def test_an_openai_request_is_one_that_openais_sdk_could_send(case: str) -> None:
    check_openai_chat(typed_body_of(openai_chat.DIALECT, case))


@pytest.mark.parametrize("case", fitting(azure.DIALECT))
def test_an_azure_request_is_one_that_openais_sdk_could_send(case: str) -> None:
    check_openai_chat(typed_body_of(azure.DIALECT, case))


@pytest.mark.parametrize("case", fitting(openai_responses.DIALECT))
def test_a_responses_request_is_one_that_openais_sdk_could_send(case: str) -> None:
    body = body_of(openai_responses.DIALECT, case)
    for item in body["input"]:
        if isinstance(item.get("content"), str) or item.get("role") != "assistant":
            item.update({name: "x" for name in NOT_STORED.get(item["type"], ()) if name not in item})
        else:
            item.update(id="x", status="completed")
        if item["type"] == "local_shell_call_output":
            # The types have `id` alone, which is that of the call; agents send and read `call_id`.
            assert item.pop("call_id") == item["id"]
    kind = ResponseCreateParamsStreaming if body.get("stream") else ResponseCreateParamsNonStreaming
    assert problems(kind, json.dumps(body).encode()) == []


@pytest.mark.parametrize("case", fitting(mistral.DIALECT))
def test_a_mistral_request_is_one_that_mistrals_sdk_could_send(case: str) -> None:
    check_mistral(body_of(mistral.DIALECT, case))


@pytest.fixture(scope="module")
def published(shared: Path) -> jsonschema.Draft202012Validator:
    document = yaml.safe_load((shared / "specs" / "mistral-openapi.yaml").read_text(encoding="utf-8"))
    schema = {"$ref": "#/components/schemas/ChatCompletionRequest", "components": document["components"]}
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("case", fitting(mistral.DIALECT))
def test_a_mistral_request_is_valid_by_mistrals_published_document(
    case: str, published: jsonschema.Draft202012Validator
) -> None:
    published.validate(body_of(mistral.DIALECT, case))


def test_the_checks_refuse_a_field_that_no_type_has_at_any_depth(
    published: jsonschema.Draft202012Validator,
) -> None:
    part = {"type": "text", "text": "Hello"}
    good = {"model": "m", "messages": [{"role": "user", "content": [part]}]}
    check_openai_chat(good)
    check_mistral(good)
    published.validate(good)
    bad = {"model": "m", "messages": [{"role": "user", "content": [part | {"mood": "fine"}]}]}
    with pytest.raises(ValidationError):
        check_openai_chat(bad)
    asked = {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}]}
    assert problems(ResponseCreateParamsNonStreaming, json.dumps(asked).encode()) == []
    asked["input"][0]["content"][0]["mood"] = "fine"  # type: ignore[index]
    assert problems(ResponseCreateParamsNonStreaming, json.dumps(asked).encode())
    with pytest.raises(AssertionError):
        check_mistral(bad)
    with pytest.raises(jsonschema.ValidationError):
        published.validate(bad)
