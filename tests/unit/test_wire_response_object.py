"""Responses, items, parts and tools in JSON: every key that the published schemas demand, and nothing else."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from eurouter.v1 import response_items_pb2, response_object_pb2, responses_pb2
from google.protobuf.message import Message

from service.wire import parse, render, render_bytes
from tests.support import response_samples as samples
from tests.support import responses_schema

Response = response_object_pb2.Response
Item = response_items_pb2.ResponseItem

REQUESTS_ONLY = {"item_reference"}


def rendered(message: Message) -> Any:
    return orjson.loads(render_bytes(message))


def arms(kind: type[Message], oneof: str) -> set[str]:
    return {arm.name for arm in kind.DESCRIPTOR.oneofs_by_name[oneof].fields}


def kind_of(value: Any) -> str:
    return str(value["type"]) if isinstance(value, dict) else str(value)


def test_there_is_a_sample_of_every_item_part_annotation_tool_choice_and_format() -> None:
    assert {item["type"] for item in samples.ITEMS} == arms(Item, "item") - REQUESTS_ONLY - {"opaque"}
    parts = [*samples.IN, samples.OUTPUT_TEXT, samples.REFUSAL, samples.SUMMARY, samples.AUDIO]
    kinds = {part["type"] for part in parts} | {"reasoning_text"}
    assert kinds == arms(response_items_pb2.ResponseContent, "part") - {"opaque"}
    annotations = {one["type"] for one in samples.ANNOTATIONS}
    assert annotations == arms(response_items_pb2.ResponseAnnotation, "annotation") - {"opaque"}
    tools = {tool["type"] for tool in samples.TOOLS}
    assert tools == arms(response_items_pb2.ResponseTool, "tool") - {"opaque"} | {"web_search"}
    choices = {kind_of(choice) for choice in samples.CHOICES if isinstance(choice, dict)}
    known = arms(response_items_pb2.ResponseToolChoice, "choice") - {"opaque", "mode"}
    assert choices == known | {"web_search_preview"}
    formats = {one["type"] for one in samples.FORMATS}
    assert formats == arms(response_items_pb2.ResponseTextFormat, "format") - {"opaque"}


@pytest.mark.parametrize("sample", samples.ITEMS, ids=lambda sample: sample["type"])
def test_an_item_comes_out_as_it_went_in_and_as_the_schemas_have_it(sample: dict[str, Any]) -> None:
    item = parse(Item, sample)
    assert item.WhichOneof("item") == sample["type"]
    out = rendered(item)
    assert out == sample
    responses_schema.check_item(out)
    responses_schema.check_response(rendered(parse(Response, {**samples.RESPONSE, "output": [sample]})))


@pytest.mark.parametrize("sample", [samples.USER_MESSAGE, samples.REFERENCE, {"type": "new_kind", "x": [1.0]}])
def test_an_item_that_only_goes_in_comes_out_as_it_went_in(sample: dict[str, Any]) -> None:
    assert rendered(parse(Item, sample)) == sample


def test_the_items_of_a_stored_request_are_as_the_schemas_have_them() -> None:
    listed = responses_pb2.ListInputItemsResponse(object="list", has_more=False)
    heard = {**samples.USER_MESSAGE, "content": [samples.AUDIO]}
    for sample in (samples.USER_MESSAGE, heard, *samples.ITEMS):
        listed.data.append(parse(Item, sample))
    out = rendered(listed)
    assert (out["first_id"], out["last_id"], out["has_more"]) == (None, None, False)
    for item in out["data"]:
        responses_schema.check_item(item)
    assert rendered(responses_pb2.ListInputItemsResponse(object="list")) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_audio_stands_under_its_own_name() -> None:
    sample = {"type": "message", "role": "user", "content": [samples.AUDIO]}
    assert rendered(parse(Item, sample)) == sample


def test_a_response_has_every_key_that_both_schemas_demand() -> None:
    out = rendered(parse(Response, samples.RESPONSE))
    assert out == samples.RESPONSE
    assert out.keys() == responses_schema.REQUIRED_KEYS
    responses_schema.check_response(out)


def test_a_response_with_next_to_nothing_set_has_the_same_keys() -> None:
    message = Response(id="resp_1", object="response", status=response_object_pb2.RESPONSE_STATUS_IN_PROGRESS)
    message.tool_choice.mode = 2  # type: ignore[assignment]
    message.text.format.text.SetInParent()
    out = rendered(message)
    assert out.keys() == responses_schema.REQUIRED_KEYS
    assert {key for key, value in out.items() if value is None} == {
        "completed_at",
        "error",
        "incomplete_details",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "previous_response_id",
        "prompt_cache_key",
        "reasoning",
        "safety_identifier",
        "usage",
    }
    assert (out["output"], out["tools"], out["metadata"]) == ([], [], {})
    assert out["text"] == {"format": {"type": "text"}}


def test_usage_always_has_its_details() -> None:
    message = Response()
    message.usage.input_tokens = 5
    assert rendered(message)["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }


def test_what_is_always_printed_is_not_shared_between_responses() -> None:
    message = Response()
    message.usage.SetInParent()
    first: Any = render(message)
    for value in (first["metadata"], first["usage"]["input_tokens_details"]):
        value["mine"] = 1
    first["output"].append("mine")
    again: Any = render(message)
    assert (again["metadata"], again["output"]) == ({}, [])
    assert again["usage"]["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "failed", "completed_at": None, "error": {"code": "server_error", "message": "m"}},
        {"status": "incomplete", "completed_at": None, "incomplete_details": {"reason": "max_output_tokens"}},
        {"status": "queued", "completed_at": None, "usage": None, "background": True},
        {"status": "cancelled", "completed_at": None},
        {"reasoning": {"effort": "high", "summary": None}},
        {"reasoning": {"effort": None, "summary": "auto", "context": "auto"}},
        {"metadata": {"a": "b"}, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k"},
        {"prompt_cache_retention": "24h", "instructions": "i", "previous_response_id": "resp_0"},
        {"max_output_tokens": 16, "max_tool_calls": 1, "top_logprobs": 5, "truncation": "auto"},
        {"text": {"format": {"type": "text"}, "verbosity": "low"}},
        {"tools": samples.TOOLS},
        {"output": samples.ITEMS},
        *({"tool_choice": choice, "tools": [samples.FUNCTION_TOOL]} for choice in samples.CHOICES),
        *({"text": {"format": one}} for one in samples.FORMATS),
    ],
)
def test_a_response_comes_out_as_it_went_in_and_as_the_schemas_have_it(changed: dict[str, Any]) -> None:
    value = {**samples.RESPONSE, **changed}
    out = rendered(parse(Response, value))
    assert out == value
    responses_schema.check_response(out)


def test_a_tool_without_its_details_has_them_as_null_and_may_be_asked_for_without_them() -> None:
    tool = parse(response_items_pb2.ResponseTool, {"type": "function", "name": "f"})
    assert not tool.function.HasField("parameters")
    assert rendered(tool) == {
        "type": "function",
        "name": "f",
        "description": None,
        "parameters": None,
        "strict": None,
    }
    assert rendered(response_items_pb2.ResponseReasoningItem()) == {"summary": []}


def test_text_always_has_its_annotations_and_log_probabilities() -> None:
    text = response_items_pb2.ResponseContent()
    text.output_text.logprobs.add(token="a", logprob=-1)
    out = rendered(text)
    assert out == {
        "type": "output_text",
        "text": "",
        "annotations": [],
        "logprobs": [{"token": "a", "logprob": -1.0, "bytes": [], "top_logprobs": []}],
    }
    text.output_text.logprobs[0].top_logprobs.add(token="b", logprob=-2)
    top = rendered(text)["logprobs"][0]["top_logprobs"]
    assert top == [{"token": "b", "logprob": -2.0, "bytes": []}]


def test_fields_that_a_provider_added_stand_at_their_level() -> None:
    message = parse(Response, {**samples.RESPONSE, "billing": {"payer": "developer"}})
    message.usage.extra["spent"] = "0.5"
    out = rendered(message)
    assert out["billing"] == {"payer": "developer"}
    assert out["usage"]["spent"] == 0.5


def test_a_deleted_response_says_so() -> None:
    deleted = responses_pb2.DeleteResponseResponse(id="resp_1", object="response", deleted=True)
    assert rendered(deleted) == {"id": "resp_1", "object": "response", "deleted": True}


def test_the_check_of_responses_finds_a_missing_key_without_the_schemas() -> None:
    good = samples.RESPONSE
    responses_schema.check_response(good)
    with pytest.raises(AssertionError, match="'store' is missing"):
        responses_schema.check_response({key: value for key, value in good.items() if key != "store"})


def test_the_check_of_responses_finds_what_is_wrong(shared: Path) -> None:
    good = samples.RESPONSE
    message = samples.ITEMS[0]
    for bad in (
        {**good, "provider": "p"},
        {**good, "status": "done"},
        {**good, "top_p": None},
        {**good, "usage": {**good["usage"], "input_tokens_details": {"cached_tokens": 0}}},
        {**good, "reasoning": {"effort": "high"}},
        {**good, "output": None},
        {**good, "output": [{"type": "new_kind"}]},
        {**good, "output": [{**message, "status": None}]},
        {**good, "output": [{**message, "cost": 1}]},
        {**good, "output": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}]},
    ):
        assert responses_schema.response_problems(bad) != [], bad
    for item in ({**samples.USER_MESSAGE, "content": "hi"}, {"type": "new_kind"}, {"role": "user"}):
        assert responses_schema.item_problems(item) != [], item
