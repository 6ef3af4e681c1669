"""What the relay publishes of each row: exact headers, keys and values."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from eurouter.v1 import chat_pb2, jobs_pb2, response_items_pb2, response_object_pb2, responses_pb2

from service import wire
from service.api.responses.stored import as_it_is
from service.domain.jobs import JobState
from service.domain.outbox import FinishedJob, Headers, OutboxKind, OutboxRecord, OutboxRow
from service.domain.publishing import Message
from service.domain.stored import StoredResponse
from service.edge.kafka import names
from service.edge.kafka.dead_letters import read_dead_letter
from service.edge.kafka.origins import origin_of, read_origin
from service.edge.kafka.results import Content, OutTopics, Results
from tests.support.kafka_records import read, record

TOPICS = OutTopics("eurouter.jobs.v1", "eurouter.results.v1", "eurouter.dlq.v1")
RESPONSE_ID = "resp_" + "0a" * 18
KEY = RESPONSE_ID.encode()
TRACE = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
SECRET = "what providers want back"


def response(**changes: Any) -> response_object_pb2.Response:
    fields = {
        "id": RESPONSE_ID,
        "object": "response",
        "created_at": 1_790_000_000,
        "status": response_object_pb2.RESPONSE_STATUS_COMPLETED,
        "model": "small",
        "background": True,
        "output": [message("Rhine, Elbe, Oder")],
    }
    return response_object_pb2.Response(**{**fields, **changes})


def message(text: str) -> response_items_pb2.ResponseItem:
    item = response_items_pb2.ResponseItem()
    item.message.id = "msg_" + "0a" * 18 + "0001"
    item.message.role = "assistant"
    item.message.content.add().output_text.text = text
    return item


def completion() -> chat_pb2.ChatCompletion:
    made = chat_pb2.ChatCompletion(id="chatcmpl-1", object="chat.completion", created=1_790_000_000, model="small")
    made.choices.add(index=0, finish_reason=chat_pb2.FINISH_REASON_STOP).message.content = "Rhine, Elbe, Oder"
    return made


def origin(*, protobuf: bool = False, **changes: Any) -> bytes:
    fields = {
        "topic": "team-a.requests",
        "partition": 3,
        "offset": 41,
        "key": b"order-17",
        "correlation_id": b"\xffc-1",
        "protobuf": protobuf,
    }
    return jobs_pb2.StoredJobOrigin(**{**fields, **changes}).SerializeToString()


def row(
    body: responses_pb2.StoredResponseBody | None,
    state: JobState = JobState.COMPLETED,
    *,
    came_from: bytes = b"",
    topic: str | None = None,
    headers: Headers = (TRACE, ("tracestate", b"a=b")),
    api: str = "responses",
) -> OutboxRow:
    stored = None if body is None else body.SerializeToString()
    finished = FinishedJob(RESPONSE_ID, "team-a", api, state, 4, 2, stored, came_from)
    return OutboxRow(9, 1, OutboxRecord(OutboxKind.RESULT, KEY, headers, None, topic, 4), 0.1, finished)


def body_of(made: response_object_pb2.Response, **more: Any) -> responses_pb2.StoredResponseBody:
    return responses_pb2.StoredResponseBody(response=made, **more)


def render(given: OutboxRow, *, small: bool = False, content: Content = "full") -> Message:
    found = Results(TOPICS, lambda: content).render(given, small=small)
    assert found is not None
    return found


def test_a_result_is_the_response_as_its_owner_would_read_it() -> None:
    body = body_of(response())
    got = render(row(body, came_from=origin()))
    assert got == Message(
        "eurouter.results.v1",
        KEY,
        wire.render_bytes(as_it_is(StoredResponse(RESPONSE_ID, None, "completed", body.SerializeToString(), b""))),
        [
            ("content-type", b"application/json"),
            ("eurouter-status", b"completed"),
            ("eurouter-attempt", b"2"),
            ("eurouter-version", b"4"),
            ("eurouter-inline", b"true"),
            ("correlation-id", b"\xffc-1"),
            ("eurouter-source-key", b"order-17"),
            ("eurouter-source-topic", b"team-a.requests"),
            ("eurouter-source-partition", b"3"),
            ("eurouter-source-offset", b"41"),
            TRACE,
        ],
    )
    assert orjson.loads(got.value or b"")["output"][0]["content"][0]["text"] == "Rhine, Elbe, Oder"


def test_a_result_of_a_submission_in_protobuf_is_protobuf() -> None:
    made = response()
    got = render(row(body_of(made), came_from=origin(protobuf=True)))
    assert dict(got.headers)["content-type"] == b"application/protobuf; proto=eurouter.v1.Response"
    assert response_object_pb2.Response.FromString(got.value or b"") == made


def test_a_result_says_what_it_costs() -> None:
    usage = response_object_pb2.ResponseUsage(input_tokens=1, cost="0.0000125", currency="EUR")
    assert b'"cost":0.0000125,"currency":"EUR"' in (render(row(body_of(response(usage=usage)))).value or b"")
    made = completion()
    made.usage.cost, made.usage.currency = "0.0000125", "EUR"
    answer = render(row(body_of(response(), chat_completion=made), api="chat")).value or b""
    assert b'"cost":0.0000125,"currency":"EUR"' in answer


def test_a_job_of_another_door_names_no_submission() -> None:
    got = render(row(body_of(response()), headers=()))
    assert [name for name, _ in got.headers] == [
        "content-type",
        "eurouter-status",
        "eurouter-attempt",
        "eurouter-version",
        "eurouter-inline",
    ]
    assert dict(got.headers)["content-type"] == b"application/json"


def test_a_record_without_key_and_correlation_id_gets_none_back_and_empty_ones_do() -> None:
    bare = render(row(body_of(response()), came_from=origin(key=None, correlation_id=None)))
    assert {"eurouter-source-key", "correlation-id"}.isdisjoint(dict(bare.headers))
    empty = render(row(body_of(response()), came_from=origin(key=b"", correlation_id=b"")))
    assert dict(empty.headers)["eurouter-source-key"] == b""
    assert dict(empty.headers)["correlation-id"] == b""


def test_an_empty_trace_is_no_header() -> None:
    got = render(row(body_of(response()), headers=[("traceparent", b""), ("tracestate", b"")]))
    assert "traceparent" not in dict(got.headers)


@pytest.mark.parametrize("kind", [OutboxKind.RESULT, OutboxKind.TOMBSTONE])
def test_a_topic_of_its_own_is_where_a_result_and_its_tombstone_go(kind: OutboxKind) -> None:
    result = row(body_of(response()), topic="team-a.results")
    record_ = OutboxRecord(kind, KEY, (), None, "team-a.results", 4)
    assert render(OutboxRow(9, 1, record_, 0.1, result.finished)).topic == "team-a.results"


def test_what_providers_want_back_is_shown_to_those_who_asked_for_it_alone() -> None:
    item = response_items_pb2.ResponseItem()
    item.reasoning.encrypted_content = SECRET
    made = response(output=[item])
    hidden = render(row(body_of(made)))
    assert SECRET.encode() not in (hidden.value or b"")
    asked = body_of(made, include=["reasoning.encrypted_content"])
    stored = StoredResponse(RESPONSE_ID, None, "completed", asked.SerializeToString(), b"")
    assert render(row(asked)).value == wire.render_bytes(as_it_is(stored))


@pytest.mark.parametrize("protobuf", [False, True])
def test_a_chat_job_has_its_completion_as_its_result(protobuf: bool) -> None:
    made = completion()
    body = body_of(response(), chat_completion=made)
    got = render(row(body, api="chat", came_from=origin(protobuf=protobuf)))
    if protobuf:
        assert dict(got.headers)["content-type"] == b"application/protobuf; proto=eurouter.v1.ChatCompletion"
        assert chat_pb2.ChatCompletion.FromString(got.value or b"") == made
    else:
        assert got.value == wire.render_bytes(made)
        assert orjson.loads(got.value)["choices"][0]["message"]["content"] == "Rhine, Elbe, Oder"
    assert dict(got.headers)["eurouter-status"] == b"completed"


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_failed_job_has_its_response_with_the_error(api: str) -> None:
    made = response(status=response_object_pb2.RESPONSE_STATUS_FAILED, output=[])
    made.error.code, made.error.message = "expired", "it was not begun in time"
    got = render(row(body_of(made), JobState.FAILED, api=api))
    assert dict(got.headers)["eurouter-status"] == b"failed"
    told = orjson.loads(got.value or b"")
    assert (told["object"], told["status"]) == ("response", "failed")
    assert told["error"] == {"code": "expired", "message": "it was not begun in time"}


def test_an_incomplete_response_says_why() -> None:
    made = response(status=response_object_pb2.RESPONSE_STATUS_INCOMPLETE)
    made.incomplete_details.reason = "max_output_tokens"
    got = render(row(body_of(made), JobState.INCOMPLETE))
    assert dict(got.headers)["eurouter-status"] == b"incomplete"
    assert orjson.loads(got.value or b"")["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize("content", ["full", "reference"])
def test_a_job_that_was_cancelled_among_many_is_cancelled_whatever_its_object_says(content: Content) -> None:
    made = response(status=response_object_pb2.RESPONSE_STATUS_QUEUED, output=[])
    got = render(row(body_of(made), JobState.CANCELLED), content=content)
    assert dict(got.headers)["eurouter-status"] == b"cancelled"
    assert orjson.loads(got.value or b"")["status"] == "cancelled"


@pytest.mark.parametrize(("small", "content"), [(True, "full"), (False, "reference"), (True, "reference")])
def test_a_reference_says_what_became_of_it_and_nothing_of_what_was_answered(
    small: bool, content: Content
) -> None:
    body = body_of(response(metadata={"secret": "label"}), chat_completion=completion())
    got = render(row(body, came_from=origin()), small=small, content=content)
    headers = dict(got.headers)
    assert headers["eurouter-inline"] == b"false"
    assert headers["content-type"] == b"application/json"
    assert headers["correlation-id"] == b"\xffc-1"
    assert orjson.loads(got.value or b"") == {
        "id": RESPONSE_ID,
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed",
        "model": "small",
        "error": None,
    }


def test_a_reference_keeps_the_error() -> None:
    made = response(status=response_object_pb2.RESPONSE_STATUS_FAILED)
    made.error.code, made.error.message = "server_error", "sorry"
    got = render(row(body_of(made), JobState.FAILED), small=True)
    assert orjson.loads(got.value or b"")["error"] == {"code": "server_error", "message": "sorry"}


def test_a_response_that_was_too_large_to_be_read_is_told_by_what_is_known_of_it() -> None:
    got = render(row(None, JobState.INCOMPLETE, came_from=origin()))
    assert dict(got.headers)["eurouter-inline"] == b"false"
    assert orjson.loads(got.value or b"") == {"id": RESPONSE_ID, "object": "response", "status": "incomplete"}


def test_a_reference_in_protobuf_is_a_response_also_for_chat() -> None:
    body = body_of(response(), chat_completion=completion())
    got = render(row(body, api="chat", came_from=origin(protobuf=True)), small=True)
    assert dict(got.headers)["content-type"] == b"application/protobuf; proto=eurouter.v1.Response"
    assert response_object_pb2.Response.FromString(got.value or b"") == response_object_pb2.Response(
        id=RESPONSE_ID,
        object="response",
        created_at=1_790_000_000,
        status=response_object_pb2.RESPONSE_STATUS_COMPLETED,
        model="small",
    )


def test_there_is_nothing_to_say_of_a_job_that_is_gone() -> None:
    gone = OutboxRow(9, 1, OutboxRecord(OutboxKind.RESULT, KEY, (), None, None, 4), 0.1, None)
    assert Results(TOPICS).render(gone, small=False) is None


def test_a_tombstone_has_no_value_and_a_version() -> None:
    gone = OutboxRow(9, 1, OutboxRecord(OutboxKind.TOMBSTONE, KEY, (), None, None, 5), 0.1)
    for small in (False, True):
        assert render(gone, small=small) == Message("eurouter.results.v1", KEY, None, [("eurouter-version", b"5")])


def test_a_wake_up_is_the_id_alone() -> None:
    wake = OutboxRow(9, 1, OutboxRecord(OutboxKind.WAKE, KEY), 0.1)
    assert render(wake) == Message("eurouter.jobs.v1", KEY, KEY)


def test_a_dead_letter_goes_as_it_is_and_small_without_its_value() -> None:
    letter = OutboxRecord(OutboxKind.DEAD_LETTER, b"k", [("eurouter-dlq-reason", b"invalid")], b"value")
    waits = OutboxRow(9, 1, letter, 0.1)
    assert render(waits) == Message("eurouter.dlq.v1", b"k", b"value", letter.headers)
    small = render(waits, small=True)
    assert small.value is None
    assert list(small.headers) == [*letter.headers, ("eurouter-dlq-value-bytes", b"5")]
    assert read_dead_letter(record(b"v")) is None


def test_where_a_record_stood_is_what_its_result_names() -> None:
    taken = read(record(headers={"correlation-id": b"\x00\xff"}))
    made = origin_of(taken)
    assert made.topic == "team-a.results"
    found = read_origin(made.body)
    assert (found.topic, found.partition, found.offset) == ("team-a.requests", 3, 41)
    assert (found.key, found.correlation_id, found.protobuf) == (b"order-17", b"\x00\xff", False)


def test_a_record_in_protobuf_wants_its_result_so() -> None:
    asked = responses_pb2.CreateResponseRequest(model="small").SerializeToString()
    for value, headers in (
        (asked, {"content-type": "application/protobuf"}),
        (b"\x00\x00\x00\x00\x01\x00" + asked, {}),
    ):
        assert read_origin(origin_of(read(record(value, headers=headers))).body).protobuf


@pytest.mark.parametrize("value", [b'{"model": "small"}', b'\x00\x00\x00\x00\x01{"model": "small"}'])
def test_a_record_in_json_wants_its_result_so(value: bytes) -> None:
    assert not read_origin(origin_of(read(record(value))).body).protobuf


def test_a_record_without_a_key_has_none_in_its_origin() -> None:
    found = read_origin(origin_of(read(record(key=None))).body)
    assert not found.HasField("key")
    assert not found.HasField("correlation_id")


def test_every_header_of_the_contract_that_goes_out_is_published() -> None:
    letters = {name for name in vars(names) if name.startswith("DLQ_")}
    out = {"CONTENT_TYPE", "STATUS", "ATTEMPT", "VERSION", "INLINE", "CORRELATION_ID", "TRACEPARENT"}
    out |= {name for name in vars(names) if name.startswith("SOURCE_")}
    got = render(row(body_of(response()), came_from=origin()))
    assert {name for name, _ in got.headers} == {getattr(names, name) for name in out}
    # What is neither read, nor on a result, nor on a dead letter is no header of the contract.
    told = {getattr(names, name) for name in names.__all__ if isinstance(getattr(names, name), str)}
    assert told == names.READ | {getattr(names, name) for name in out | letters}
