"""Lines of OpenAI's Batch format as records."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from eurouter.v1 import chat_pb2, responses_pb2

from service.edge.kafka.rejections import Rejection
from tests.support.kafka_records import ASKED, read, record, refused

CHAT = {"model": "small", "messages": [{"role": "user", "content": "Name three rivers."}]}


def line(**changes: Any) -> dict[str, Any]:
    given = {"custom_id": "request-1", "method": "POST", "url": "/v1/responses", "body": ASKED, **changes}
    return {name: value for name, value in given.items() if value is not ...}


def test_a_line_is_the_request_in_its_body() -> None:
    taken = read(record(line()))
    assert taken.api == "responses"
    assert taken.request == read(record(ASKED)).request
    assert taken.correlation_id == b"request-1"
    assert taken.path_prefix == "body."


def test_a_line_for_chat_needs_no_header() -> None:
    taken = read(record(line(url="/v1/chat/completions", body=CHAT)))
    assert taken.api == "chat"
    assert isinstance(taken.request, chat_pb2.CreateChatCompletionRequest)
    assert (
        read(record(line(url="/v1/chat/completions", body=CHAT), headers={"eurouter-api": "chat"})).api == "chat"
    )


def test_a_header_of_its_own_wins_over_the_custom_id() -> None:
    assert read(record(line(), headers={"correlation-id": b"\xff1"})).correlation_id == b"\xff1"


def test_the_method_may_be_left_out() -> None:
    assert read(record(line(method=...))).correlation_id == b"request-1"
    assert read(record(line(method=None))).correlation_id == b"request-1"


def test_a_body_may_be_json_in_a_string() -> None:
    assert read(record(line(body=orjson.dumps(ASKED).decode()))).request == read(record(ASKED)).request
    error = refused(record(line(body="{")))
    assert error.reason is Rejection.UNDECODABLE
    assert error.message.startswith("body is not valid JSON: ")
    assert refused(record(line(body="[]"))).message == "body must be a JSON object, got an array"


def test_two_lines_with_one_custom_id_are_two_jobs() -> None:
    one, other = read(record(line())), read(record(line(), offset=42))
    assert one.submission.idempotency_key != other.submission.idempotency_key


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"custom_id": ...}, "custom_id", "expected a text that is not empty, got null"),
        ({"custom_id": ""}, "custom_id", "expected a text that is not empty, got an empty one"),
        ({"custom_id": 7}, "custom_id", "expected a text that is not empty, got a number"),
        ({"custom_id": "ü" * 513}, "custom_id", "must be at most 1024 bytes long; got 1026"),
        ({"method": "GET"}, "method", "must be POST"),
        ({"url": ...}, "url", "expected one of /v1/responses, /v1/chat/completions, got null"),
        ({"body": ...}, "body", "expected a request as an object, got null"),
        ({"body": [1]}, "body", "expected a request as an object, got an array"),
        ({"priority": "high"}, "priority", "unknown field; remove it"),
    ],
)
def test_what_is_wrong_with_a_line_is_named(changes: dict[str, Any], path: str, message: str) -> None:
    error = refused(record(line(**changes)))
    assert error.reason is Rejection.INVALID
    assert [(one.path, one.message) for one in error.violations] == [(path, message)]
    assert error.message == f"{path}: {message}"


def test_all_that_is_wrong_with_a_line_is_named_at_once() -> None:
    error = refused(record(line(custom_id=1, method="PUT", url=2, body=3)))
    assert [one.path for one in error.violations] == ["custom_id", "method", "url", "body"]


@pytest.mark.parametrize("url", ["/v1/embeddings", "", "/v1/responses/", "https://api.openai.com/v1/responses"])
def test_an_unknown_url_is_an_unknown_api(url: str) -> None:
    error = refused(record(line(url=url)))
    assert error.reason is Rejection.UNKNOWN_API
    assert error.message == "url: must be one of /v1/responses, /v1/chat/completions"


def test_a_header_that_contradicts_the_url_is_refused() -> None:
    error = refused(record(line(), headers={"eurouter-api": "chat"}))
    assert error.reason is Rejection.INVALID
    assert error.message == "url: names another API than the header eurouter-api: leave that out"


def test_fields_of_the_body_are_named_by_their_paths_in_the_line() -> None:
    error = refused(record(line(body={**ASKED, "model": 7, "reasoning": {"x": 1}})))
    assert [one.path for one in error.violations] == ["body.model", "body.reasoning.x"]
    assert refused(record(line(body={**ASKED, "store": False}))).violations[0].path == "body.store"


def test_a_request_with_one_such_field_is_still_a_request() -> None:
    taken = read(record({**ASKED, "custom_id": "a"}))
    assert isinstance(taken.request, responses_pb2.CreateResponseRequest)
    # The API refuses what nobody named.
    assert dict(taken.request.extra) == {"custom_id": '"a"'}
