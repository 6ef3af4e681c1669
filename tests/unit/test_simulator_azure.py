"""The simulator's Azure: OpenAI's types read what it writes, with Azure's additions where Azure has them."""

from __future__ import annotations

import json

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from adapters.providers.azure import DIALECT
from adapters.providers.simulator import Script, ToolCall
from adapters.providers.simulator.azure import AzureChat
from adapters.providers.simulator.script import Reason
from adapters.providers.simulator.wire import Form
from service.domain.failure import FailureKind
from service.domain.fold import fold
from tests.contract.sample import decode
from tests.support.sdk_readings import documents, openais, openais_stream, ours

SCRIPT = Script(text=("Hel", "lo"), tool_calls=(ToolCall("call_1", "now", '{"zone":"UTC"}'),))
AZURE = AzureChat()


def stream(form: Form) -> bytes:
    encoded = AZURE.stream(SCRIPT, form)
    return b"".join((encoded.head, *encoded.tokens, encoded.tail))


def test_a_whole_answer_has_filter_results_and_is_read_alike_by_openais_types_and_by_us() -> None:
    body = AZURE.whole(SCRIPT, Form("deployment")).body
    ChatCompletion.model_validate_json(body)
    assert ours(DIALECT.read(body)) == openais(body)
    assert json.loads(body)["choices"][0]["content_filter_results"]["hate"]["severity"] == "safe"


def test_a_stream_begins_with_a_nameless_chunk_about_the_prompt_and_every_choice_has_filter_results() -> None:
    body = stream(Form("deployment", stream=True, include_usage=True))
    first, *rest = documents(body)
    assert (first["id"], first["choices"]) == ("", [])
    assert first["prompt_filter_results"]
    for chunk in rest:
        ChatCompletionChunk.model_validate(chunk)
        assert all("content_filter_results" in choice for choice in chunk["choices"])
    assert ours(decode(DIALECT, [body])) == openais_stream(body)
    assert fold(decode(DIALECT, [body])).start.id == rest[0]["id"]


def test_the_deployment_is_read_from_the_path_and_else_from_the_body() -> None:
    body = {"model": "in-the-body", "messages": [{"role": "user", "content": "Hello"}]}
    assert AZURE.read("", {"deployment": "in-the-path"}, body).form.model == "in-the-path"
    assert AZURE.read("", {}, body).form.model == "in-the-body"


def test_a_deployment_that_is_not_there_is_told_in_azures_words() -> None:
    failure = DIALECT.classify(404, {}, AZURE.error(404, Reason.NOT_FOUND, None))
    assert (failure.kind, failure.code) == (FailureKind.MODEL_MISSING, "DeploymentNotFound")
