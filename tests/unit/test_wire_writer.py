"""What answers look like in JSON: OpenAI's explicit nulls, numbers as numbers, JSON text as JSON."""

from typing import Any

import orjson
import pytest
from eurouter.v1 import catalog_pb2, chat_pb2, content_pb2, preferences_pb2, routing_pb2, tools_pb2
from google.protobuf.message import Message

from service.wire import parse, render, render_bytes


def rendered(message: Message) -> Any:
    return orjson.loads(render_bytes(message))


def test_an_answer_has_openais_explicit_nulls() -> None:
    message = chat_pb2.ChatCompletion(id="1", object="chat.completion", created=5, model="m")
    choice = message.choices.add(finish_reason=chat_pb2.FINISH_REASON_STOP)
    choice.message.role = chat_pb2.CHAT_ROLE_ASSISTANT
    assert rendered(message) == {
        "id": "1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
    }


def test_a_chunk_has_openais_explicit_nulls_and_an_empty_delta() -> None:
    message = chat_pb2.ChatCompletionChunk(id="1", object="chat.completion.chunk")
    message.choices.add()
    assert rendered(message) == {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "",
        "choices": [{"index": 0, "delta": {}, "finish_reason": None, "logprobs": None}],
    }


def test_the_chunk_that_carries_the_usage_has_an_empty_list_of_choices() -> None:
    message = chat_pb2.ChatCompletionChunk(id="1")
    message.usage.prompt_tokens = 3
    message.usage.completion_tokens_details.reasoning_tokens = 0
    out = rendered(message)
    assert out["choices"] == []
    assert out["usage"] == {
        "completion_tokens": 0,
        "prompt_tokens": 3,
        "total_tokens": 0,
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def test_a_delta_has_its_role_only_when_set() -> None:
    assert rendered(chat_pb2.Delta()) == {}
    assert rendered(chat_pb2.Delta(content="")) == {"content": ""}
    assert rendered(chat_pb2.Delta(role=chat_pb2.CHAT_ROLE_ASSISTANT)) == {"role": "assistant"}


def test_log_probabilities_have_null_bytes_and_an_empty_list_of_alternatives() -> None:
    message = chat_pb2.ChatLogprobs()
    message.content.add(token="a", logprob=-1)
    message.content.add(token="é", logprob=-0.5, bytes=[195, 169]).top_logprobs.add(token="b", logprob=-2)
    assert rendered(message) == {
        "content": [
            {"token": "a", "logprob": -1.0, "bytes": None, "top_logprobs": []},
            {
                "token": "é",
                "logprob": -0.5,
                "bytes": [195, 169],
                "top_logprobs": [{"token": "b", "logprob": -2.0, "bytes": None}],
            },
        ],
        "refusal": None,
    }


def test_unset_and_empty_fields_are_absent() -> None:
    assert rendered(chat_pb2.CreateChatCompletionRequest()) == {}
    assert rendered(preferences_pb2.ProviderPreferences()) == {}


def test_what_is_always_printed_is_not_shared_between_answers() -> None:
    first: Any = render(chat_pb2.ChatCompletionChunk())
    first["choices"].append("mine")
    assert render(chat_pb2.ChatCompletionChunk())["choices"] == []
    piece: Any = render(chat_pb2.ChunkChoice())
    piece["delta"]["x"] = 1
    assert render(chat_pb2.ChunkChoice())["delta"] == {}


def test_numbers_are_json_numbers() -> None:
    message = chat_pb2.CreateChatCompletionRequest(seed=2**63 - 1, temperature=0.7, max_tokens=5)
    assert render_bytes(message) == b'{"max_tokens":5,"temperature":0.7,"seed":9223372036854775807}'


def test_enums_are_lower_case_names_without_prefix() -> None:
    for number, name in ((3, "tool_calls"), (4, "content_filter"), (6, "function_call")):
        choice = chat_pb2.ChunkChoice()
        choice.finish_reason = number  # type: ignore[assignment]
        assert rendered(choice)["finish_reason"] == name
    preferences = preferences_pb2.ProviderPreferences(data_collection=preferences_pb2.DATA_COLLECTION_DENY)
    assert rendered(preferences) == {"data_collection": "deny"}
    provider = catalog_pb2.Provider(status=catalog_pb2.PROVIDER_STATUS_NOT_CONFIGURED)
    assert rendered(provider)["status"] == "not_configured"
    assert "status" not in rendered(catalog_pb2.Provider())


def test_json_text_is_printed_as_the_json_that_it_is() -> None:
    tool = tools_pb2.Tool(function=tools_pb2.FunctionDefinition(name="f", parameters='{"b":1,"a":1.0}'))
    assert render_bytes(tool) == b'{"type":"function","function":{"name":"f","parameters":{"b":1,"a":1.0}}}'
    choice = chat_pb2.ChunkChoice(content_filter_results='{"hate":{"filtered":false}}')
    assert rendered(choice)["content_filter_results"] == {"hate": {"filtered": False}}
    chunk = chat_pb2.ChatCompletionChunk(prompt_filter_results="[]")
    assert rendered(chunk)["prompt_filter_results"] == []


def test_arguments_are_printed_as_a_string() -> None:
    call = tools_pb2.FunctionCall(name="f", arguments='{"a":1}')
    assert rendered(call) == {"name": "f", "arguments": '{"a":1}'}


def test_extra_fields_stand_at_their_level() -> None:
    message = chat_pb2.ChatCompletion(id="1", extra={"x_groq": '{"id":"r"}'})
    message.usage.extra["spent"] = "0.5"
    choice = message.choices.add(extra={"seed": "5"})
    choice.message.extra["reasoning_content"] = '"b"'
    out = rendered(message)
    assert out["x_groq"] == {"id": "r"}
    assert out["usage"]["spent"] == 0.5
    assert out["choices"][0]["seed"] == 5
    assert out["choices"][0]["message"]["reasoning_content"] == "b"
    assert "extra" not in out


def test_an_extra_field_never_takes_the_place_of_a_named_one() -> None:
    message = chat_pb2.ChatCompletion(id="1", extra={"id": '"2"', "usage": "{}", "extra": "1"})
    assert rendered(message) == {"id": "1", "object": "", "created": 0, "model": "", "choices": [], "extra": 1}


def test_a_lone_text_part_is_a_string() -> None:
    message = chat_pb2.ChatMessage(role=chat_pb2.CHAT_ROLE_USER)
    message.content.add(text="hi")
    assert rendered(message) == {"role": "user", "content": "hi"}
    message.content[0].prompt_cache_breakpoint.SetInParent()
    assert rendered(message)["content"] == [{"type": "text", "text": "hi", "prompt_cache_breakpoint": {}}]
    message.content.add(refusal="no")
    assert len(rendered(message)["content"]) == 2


def test_constant_types_are_printed() -> None:
    prediction = chat_pb2.Prediction(content=[content_pb2.ContentPart(text="x")])
    assert rendered(prediction) == {"type": "content", "content": "x"}
    location = chat_pb2.UserLocation(approximate=chat_pb2.ApproximateLocation(city="Berlin"))
    assert rendered(location) == {"type": "approximate", "approximate": {"city": "Berlin"}}


@pytest.mark.parametrize(
    ("voice", "shown"),
    [
        ("alloy", "alloy"),
        ('{"id":"v"}', {"id": "v"}),
        ('{"id": "v"}', '{"id": "v"}'),
        ('{"id":"v', '{"id":"v'),
        ('{"id":"v"} ', '{"id":"v"} '),
        ('{"id":"v","a":1}', '{"id":"v","a":1}'),
    ],
)
def test_a_voice_is_an_object_only_as_the_reader_writes_it(voice: str, shown: object) -> None:
    param = chat_pb2.ChatAudioParam(voice=voice, format="wav")
    assert rendered(param) == {"voice": shown, "format": "wav"}
    assert parse(chat_pb2.ChatAudioParam, rendered(param)) == param


def test_a_fragment_of_a_call_names_its_type_only_with_its_id() -> None:
    fragment = tools_pb2.ToolCallDelta(index=1, function=tools_pb2.FunctionCall(arguments="{"))
    assert rendered(fragment) == {"index": 1, "function": {"arguments": "{"}}
    fragment.id = "c"
    assert rendered(fragment) == {"index": 1, "id": "c", "type": "function", "function": {"arguments": "{"}}


def test_a_union_without_an_arm_is_an_empty_object() -> None:
    assert rendered(content_pb2.ContentPart()) == {}


def test_the_catalogue_is_rendered() -> None:
    model = catalog_pb2.Model(id="vendor/name", object="model", owned_by="vendor", name="Name")
    model.pricing.prompt = "0.000001"
    model.providers.add(name="P", slug="p")
    out = rendered(catalog_pb2.ListModelsResponse(models=[model]))
    assert out["next_page_token"] == ""
    (shown,) = out["models"]
    assert shown["id"] == "vendor/name"
    assert shown["created"] == 0
    assert shown["pricing"]["prompt"] == "0.000001"
    assert shown["providers"] == [{"name": "P", "slug": "p"}]
    assert shown["supported_parameters"] == []
    assert "context_length" not in shown
    assert rendered(catalog_pb2.ListProvidersResponse()) == {"providers": []}


def test_a_dry_run_is_rendered() -> None:
    response = routing_pb2.DryRunRoutingResponse(strategy="price", summary="s")
    response.models.add(model="m").endpoints.add(id="p/m", provider="p", position=1, health=1)
    out = rendered(response)
    assert out["models"][0]["rejected"] == []
    assert out["models"][0]["endpoints"][0]["health"] == 1.0
    assert "failure_reason" not in out
