"""Requests to Bedrock, held against botocore: its validator takes them, and its serializer writes the same."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from adapters.providers.bedrock import DIALECT
from service.domain.generation import Generation, Image, Text
from tests.contract.sample import endpoint_for
from tests.golden.requests import CASES, HELLO
from tests.support import bedrock_model

FITTING = [case for case in CASES if CASES[case].fits(DIALECT)]
IDS = [
    "amazon.nova-lite-v1:0",
    "eu.anthropic.claude-haiku-4-5-20251001-v1:0",
    "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.amazon.nova-pro-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/1arbu5hu2sjr",
]


def test_every_case_that_bedrock_can_say_is_in_the_list() -> None:
    assert len(FITTING) >= 22


@pytest.mark.parametrize("stream", [False, True], ids=["converse", "converse-stream"])
@pytest.mark.parametrize("case", FITTING)
def test_a_golden_request_is_one_that_botocore_takes_and_writes_itself(case: str, *, stream: bool) -> None:
    endpoint = endpoint_for(DIALECT)
    request = DIALECT.build(CASES[case].generation, endpoint, stream=stream)
    body = json.loads(request.body)
    params = bedrock_model.params_of(body, endpoint.upstream_model, stream=stream)
    assert bedrock_model.problems_of(params, stream=stream) == []
    path, written = bedrock_model.serialized(params, stream=stream)
    assert path == request.path
    assert json.loads(written) == body


@pytest.mark.parametrize("model", IDS)
def test_ids_profiles_and_arns_stand_percent_encoded_in_the_path_as_botocore_writes_them(model: str) -> None:
    endpoint = replace(endpoint_for(DIALECT), upstream_model=model)
    for stream in (False, True):
        request = DIALECT.build(Generation((HELLO,)), endpoint, stream=stream)
        params = bedrock_model.params_of(json.loads(request.body), model, stream=stream)
        assert bedrock_model.problems_of(params, stream=stream) == []
        assert bedrock_model.serialized(params, stream=stream)[0] == request.path
        assert request.path.count("/") == 3
        assert ":" not in request.path


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": [], "unknown": 1},
        {"messages": [{"role": "user", "content": [{"text": "a", "more": 1}]}]},
        {"messages": [{"role": "user", "content": [{"text": 7}]}]},
        {"messages": [{"role": "tool", "content": []}]},
        {"messages": [{"role": "user", "content": [{"image": {"format": "bmp", "source": {"bytes": "AA=="}}}]}]},
        {"messages": [], "toolConfig": {"tools": []}},
        {"messages": [], "toolConfig": {"tools": [{"toolSpec": {"name": "a b", "inputSchema": {"json": {}}}}]}},
        {"messages": [], "inferenceConfig": {"temperature": 1.5}},
    ],
    ids=lambda wrong: json.dumps(wrong)[-50:],
)
def test_the_check_itself_refuses_what_is_wrong(wrong: dict[str, Any]) -> None:
    params = bedrock_model.params_of(wrong, "amazon.nova-lite-v1:0", stream=False)
    assert bedrock_model.problems_of(params, stream=False)


def test_image_bytes_are_the_callers_base64() -> None:
    turn = CASES["inline_image"].generation.turns[0]
    (image,) = (part for part in turn.parts if isinstance(part, Image))
    body = json.loads(DIALECT.build(Generation((turn,)), endpoint_for(DIALECT), stream=False).body)
    written = body["messages"][0]["content"][1]["image"]["source"]["bytes"]
    assert image.url.endswith("," + written)
    assert isinstance(turn.parts[0], Text)
