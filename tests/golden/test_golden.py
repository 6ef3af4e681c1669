"""Every dialect against its golden files: the requests that it writes, the answers that it reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from adapters.providers.sse import SseParser
from service.domain.fold import fold
from tests.contract.answers import ANSWERS
from tests.contract.dialects import DIALECTS
from tests.contract.sample import GOLDEN, DialectSample, decode, endpoint_for
from tests.golden.files import compare, readable
from tests.golden.requests import CASES
from tests.support.responses_schema import check_event, check_response

REQUESTS = [
    pytest.param(sample, case, id=f"{sample.name}-{case}")
    for sample in DIALECTS
    for case in CASES
    if CASES[case].fits(sample.dialect)
]
READ = [
    pytest.param(sample, case, id=f"{sample.name}-{case}")
    for sample in DIALECTS
    for case in ANSWERS
    if case not in sample.lacks
]
OPENAI = next(sample for sample in DIALECTS if sample.name == "openai_chat")
RESPONSES = next(sample for sample in DIALECTS if sample.name == "openai_responses")
STATED_OTHERWISE = {
    # Nothing is stored at the provider, so items that it would know by an id have none; OpenAI's own client for
    # the command line leaves these out as well.
    "OutputMessage": {"id", "status"},
    "ReasoningItem": {"id"},
    "LocalShellToolCall": {"id"},
}


@pytest.mark.parametrize(("sample", "case"), REQUESTS)
def test_a_request_is_written_as_its_golden_file_says(
    sample: DialectSample, case: str, update_golden: bool
) -> None:
    wanted = CASES[case]
    request = sample.dialect.build(wanted.generation, endpoint_for(sample.dialect), stream=wanted.stream)
    written = {"path": request.path, "headers": dict(request.headers), "body": json.loads(request.body)}
    compare(GOLDEN / sample.name / "requests" / f"{case}.json", written, update_golden)


@pytest.mark.parametrize(("sample", "case"), READ)
def test_an_answer_is_read_as_its_golden_file_says(sample: DialectSample, case: str, update_golden: bool) -> None:
    folder = GOLDEN / sample.name / "answers"
    compare(
        folder / f"{case}.folded.json", readable(fold(sample.dialect.read(sample.answer(case)))), update_golden
    )
    events = [readable(event) for event in decode(sample.dialect, [sample.stream(case)])]
    compare(folder / f"{case}.events.json", events, update_golden)


def test_no_golden_file_is_left_behind() -> None:
    for sample in DIALECTS:
        wanted = {f"requests/{case}.json" for case in CASES if CASES[case].fits(sample.dialect)}
        for case in set(ANSWERS) - set(sample.lacks):
            wanted |= {
                f"answers/{case}{end}" for end in (".json", sample.stream_file, ".folded.json", ".events.json")
            }
        folder = GOLDEN / sample.name
        assert {str(path.relative_to(folder)) for path in folder.rglob("*.*")} == wanted


@pytest.mark.parametrize("case", ANSWERS)
def test_our_golden_answers_are_what_openais_own_client_reads(case: str) -> None:
    ChatCompletion.model_validate_json(OPENAI.answer(case))
    parser = SseParser()
    for event in parser.feed(OPENAI.stream(case)) + parser.end():
        if event.data != b"[DONE]":
            ChatCompletionChunk.model_validate_json(event.data)


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case].fits(OPENAI.dialect)])
def test_a_request_is_valid_by_openais_published_schema(case: str, shared: Path) -> None:
    import jsonschema

    document = json.loads((shared / "specs" / "openai-slice.json").read_text(encoding="utf-8"))
    schema = {"$ref": "#/components/schemas/CreateChatCompletionRequest", "components": document["components"]}
    wanted = CASES[case]
    request = OPENAI.dialect.build(wanted.generation, endpoint_for(OPENAI.dialect), stream=wanted.stream)
    jsonschema.Draft202012Validator(schema).validate(json.loads(request.body))


@pytest.mark.parametrize("case", [case for case in ANSWERS if case not in RESPONSES.lacks])
def test_our_golden_responses_are_what_openai_describes_and_its_client_reads(case: str) -> None:
    whole = json.loads(RESPONSES.answer(case))
    check_response(whole)
    Response.model_validate(whole)
    events: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    parser = SseParser()
    for event in parser.feed(RESPONSES.stream(case)) + parser.end():
        # The descriptions forget the padding that OpenAI's deltas carry.
        check_event({key: value for key, value in json.loads(event.data).items() if key != "obfuscation"})
        assert events.validate_json(event.data).type == event.event.decode()


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case].fits(RESPONSES.dialect)])
def test_a_responses_request_is_valid_by_openais_published_schema(case: str, shared: Path) -> None:
    import jsonschema

    document = _any_of(json.loads((shared / "specs" / "openai-slice.json").read_text(encoding="utf-8")))
    for name, keys in STATED_OTHERWISE.items():
        schema = document["components"]["schemas"][name]
        schema["required"] = [key for key in schema["required"] if key not in keys]
    schema = {"$ref": "#/components/schemas/CreateResponse", "components": document["components"]}
    wanted = CASES[case]
    request = RESPONSES.dialect.build(wanted.generation, endpoint_for(RESPONSES.dialect), stream=wanted.stream)
    jsonschema.Draft202012Validator(schema).validate(json.loads(request.body))


def _any_of(schema: Any) -> Any:
    """With `oneOf` as anyOf: the description lists a message's forms that overlap and tells them by `type`."""
    if isinstance(schema, list):
        return [_any_of(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {"anyOf" if key == "oneOf" else key: _any_of(value) for key, value in schema.items()}
