"""What a record of an intake topic asks for, and in how many ways it can be none."""

from __future__ import annotations

from typing import Any

import pytest
from eurouter.v1 import chat_pb2, responses_pb2
from hypothesis import given
from hypothesis import strategies as st

from service.api.responses.ids import is_response_id
from service.domain.consuming import Record
from service.domain.errors import Reason, ServiceError, Violation
from service.domain.job_store import Priority
from service.domain.preferences import Floor
from service.edge.kafka import names
from service.edge.kafka.identity import Binding, Identities
from service.edge.kafka.ids import response_id_of
from service.edge.kafka.records import IntakeRules, OutdatedRecordError, Source, read_record
from service.edge.kafka.rejections import RejectedRecordError, Rejection, rejection_of
from tests.support.kafka_records import (
    ASKED,
    EARLIER,
    LATER,
    NOW,
    TOPIC,
    read,
    record,
    refused,
    rules,
    signed,
)

RESPONSE_ID = "resp_" + "0a" * 18
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CHAT = {"model": "small", "messages": [{"role": "user", "content": "Name three rivers."}]}


def test_a_record_is_a_responses_request_in_the_background() -> None:
    taken = read(record())
    assert taken.api == "responses"
    assert isinstance(taken.request, responses_pb2.CreateResponseRequest)
    assert taken.request.model == "small"
    assert taken.request.input[0].message.content[0].input_text.text == "Name three rivers."
    assert taken.request.background
    assert not taken.stream


def test_a_chat_request_comes_with_the_header_that_says_so() -> None:
    taken = read(record(CHAT, headers={"eurouter-api": "chat"}))
    assert taken.api == "chat"
    assert isinstance(taken.request, chat_pb2.CreateChatCompletionRequest)
    assert taken.request.messages[0].content[0].text == "Name three rivers."


def test_messages_without_that_header_are_told_about_it() -> None:
    error = refused(record(CHAT))
    assert error.reason is Rejection.INVALID
    assert error.message == "messages: is for chat requests: they come with eurouter-api chat"


def test_an_unknown_api_is_refused() -> None:
    error = refused(record(headers={"eurouter-api": "embeddings"}))
    assert error.reason is Rejection.UNKNOWN_API
    assert error.message == "eurouter-api must be responses (which it is without the header) or chat"


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_a_request_that_streams_has_its_deltas_logged(api: str) -> None:
    asked = {**(CHAT if api == "chat" else ASKED), "stream": True}
    assert read(record(asked, headers={"eurouter-api": api})).stream


def test_whoever_owns_the_topic_is_the_owner_with_all_limits_of_an_owner() -> None:
    taken = read(record())
    assert taken.principal.owner == "team-a"
    assert taken.principal.floor == Floor(eu_owned=True)
    assert not taken.principal.admin
    context = taken.context(17.0)
    assert (context.principal, context.deadline, context.door) == (taken.principal, 17.0, "kafka")
    assert context.traceparent == taken.traceparent


def test_where_it_stood_and_its_key_go_along_for_the_result() -> None:
    assert read(record()).source == Source(TOPIC, 3, 41, 1_789_999_999_000, b"order-17")


def test_the_headers_of_a_submission_are_those_of_every_door() -> None:
    headers = {
        "idempotency-key": "order-17",
        "eurouter-priority": "high",
        "eurouter-run-at": "2026-09-21T14:43:20Z",
        "eurouter-expires-at": LATER,
        "eurouter-group": "nightly",
    }
    submission = read(record(headers=headers)).submission
    assert submission.idempotency_key == "order-17"
    assert submission.priority is Priority.HIGH
    assert submission.delay == 1800.0
    assert submission.start_within == 3600.0
    assert submission.group == "nightly"


def test_a_time_that_has_come_is_no_delay() -> None:
    assert read(record(headers={"eurouter-run-at": EARLIER})).submission.delay == 0.0
    assert read(record()).submission.delay is None


@pytest.mark.parametrize(
    ("header", "bound", "tier", "expected"),
    [
        ("bulk", Priority.HIGH, "priority", Priority.BULK),
        (None, Priority.HIGH, "flex", Priority.HIGH),
        (None, None, "flex", Priority.BULK),
        (None, None, "priority", Priority.HIGH),
        (None, None, "default", Priority.NORMAL),
        (None, None, None, Priority.NORMAL),
    ],
)
@pytest.mark.parametrize("api", ["responses", "chat"])
def test_the_header_sets_the_priority_else_the_binding_else_the_tier(
    header: str | None, bound: Priority | None, tier: str | None, expected: Priority, api: str
) -> None:
    asked: dict[str, Any] = dict(CHAT if api == "chat" else ASKED)
    if tier is not None:
        asked["service_tier"] = tier
    headers = {"eurouter-api": api, **({"eurouter-priority": header} if header else {})}
    own = IntakeRules(Identities([Binding(TOPIC, "team-a", bound)]))
    taken = read_record(record(asked, headers=headers), own, NOW)
    assert taken.submission.priority is expected
    # What the provider is asked for stays what it was.
    assert taken.request.service_tier == (tier or "")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("eurouter-priority", "urgent"),
        ("eurouter-run-at", "tomorrow"),
        ("eurouter-run-at", "2026-09-21T14:43:20"),
        ("eurouter-expires-at", "0001-01-01T00:00:00+23:59"),
        ("eurouter-expires-at", "9999-12-31T23:59:59-23:59"),
        ("eurouter-group", "a b"),
        ("idempotency-key", "a b"),
        ("idempotency-key", ""),
        ("idempotency-key", "k" * 256),
        ("eurouter-response-id", "resp_1"),
        ("eurouter-response-id", RESPONSE_ID.upper()),
        ("eurouter-response-id", RESPONSE_ID + "\n"),
        ("eurouter-response-id", ""),
        ("eurouter-response-id", "resp_4b41" + "0" * 32),
    ],
)
def test_a_wrong_header_is_invalid_and_named(name: str, text: str) -> None:
    error = refused(record(headers={name: text}))
    assert error.reason is Rejection.INVALID
    assert [one.path for one in error.violations] == [name]
    assert error.message.startswith(f"{name}: must be ")


def test_a_record_that_comes_too_late_has_expired() -> None:
    error = refused(record(headers={"eurouter-expires-at": EARLIER}))
    assert error.reason is Rejection.EXPIRED
    assert error.message == "eurouter-expires-at has passed: submit it again with a later one"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [({"eurouter-expires-at": EARLIER}, "expired"), ({"reply-topic": "team-b.results"}, "foreign_reply_topic")],
)
def test_what_is_refused_for_what_changes_with_time_says_which_job_it_may_be(
    headers: dict[str, str], reason: str
) -> None:
    error = refused(record(headers=headers))
    assert isinstance(error, OutdatedRecordError)
    assert error.reason.value == reason
    assert error.owner == "team-a"
    assert error.intake.response_id == read(record()).response_id
    assert error.intake.submission.idempotency_key == read(record()).submission.idempotency_key


def test_a_record_that_is_late_and_wrong_is_wrong() -> None:
    error = refused(record({**ASKED, "background": False}, headers={"eurouter-expires-at": EARLIER}))
    assert error.reason is Rejection.INVALID


def test_what_its_client_could_not_read_is_undecodable_and_its_topic_says_whose_it_is() -> None:
    error = refused(record(unreadable="the record's batch is corrupt: send it again"))
    assert error.reason is Rejection.UNDECODABLE
    assert error.message == "the record's batch is corrupt: send it again"
    assert error.owner == "team-a"


def test_a_topic_that_is_its_owners_anyway_may_be_named() -> None:
    assert read(record(headers={"reply-topic": "team-a.results"})).results_topic == "team-a.results"


def test_a_key_is_told_from_one_that_was_made_of_the_record() -> None:
    assert read(record()).own_key
    assert not read(record(headers={"idempotency-key": "record-1"})).own_key


def test_times_at_the_ends_of_the_calendar_are_times() -> None:
    ends = {"eurouter-run-at": "1970-01-01T00:00:00Z", "eurouter-expires-at": "9999-12-31T23:59:59Z"}
    submission = read(record(headers=ends)).submission
    assert submission.delay == 0.0
    assert submission.start_within == 253_402_300_799.0 - NOW


def test_an_expiry_before_its_own_start_is_invalid_and_not_expired() -> None:
    headers = {"eurouter-expires-at": LATER, "eurouter-run-at": "2026-09-21T16:13:20Z"}
    assert refused(record(headers=headers)).reason is Rejection.INVALID


def test_without_a_key_the_identity_is_that_of_the_record_alone() -> None:
    taken = read(record())
    # { printf 'team-a.requests\n3\n41\n1789999999000\n'; printf '%s' "$value"; } | sha256sum
    digest = "d07371a0c808bcb434153e8564e346cebab35b7546fc9fdd4bae7c06c1306d06"
    assert taken.submission.idempotency_key == f"record-{digest}"
    assert taken.response_id == "resp_4b41f3196e0293cd2c9f287813c89606cffd"


@pytest.mark.parametrize(
    "changes",
    [{"partition": 4}, {"offset": 42}, {"timestamp_ms": 1}, {"value": b'{"model":"small","input":"b"}'}],
)
def test_another_record_has_another_identity(changes: dict[str, Any]) -> None:
    value = changes.pop("value", None)
    one, other = read(record()), read(record(value, **changes))
    assert one.submission.idempotency_key != other.submission.idempotency_key
    assert one.response_id != other.response_id


def test_the_response_has_the_id_that_the_client_chose() -> None:
    assert read(record(headers={"eurouter-response-id": RESPONSE_ID})).response_id == RESPONSE_ID


def test_else_its_id_follows_from_owner_and_key_so_that_the_client_knows_it_before() -> None:
    taken = read(record(headers={"idempotency-key": "order-17"}))
    # printf 'team-a\norder-17' | sha256sum | cut -c1-32
    assert taken.response_id == "resp_4b41e353c91fc9e7be81aa080a9630e3f402"
    again = read(record(headers={"idempotency-key": "order-17"}, offset=99, partition=1))
    assert again.response_id == taken.response_id


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_id_that_is_made_of_owner_and_key_may_be_chosen(owner: str, key: str) -> None:
    made = response_id_of(owner, key)
    assert is_response_id(made)
    error = refused(record(headers={"eurouter-response-id": made}))
    assert error.message.endswith("not begin with resp_4b41: ids that are made of owner and key do")


def test_the_correlation_id_goes_back_as_it_came() -> None:
    raw = bytes(range(256))
    assert read(record(headers={"correlation-id": raw})).correlation_id == raw
    assert read(record(headers={"correlation-id": b""})).correlation_id == b""
    assert read(record()).correlation_id is None
    error = refused(record(headers={"correlation-id": b"x" * 1025}))
    assert error.message == "correlation-id: must be at most 1024 bytes long; got 1025"


def test_results_go_to_the_bound_topic_or_one_of_the_owners_others() -> None:
    assert read(record()).results_topic == "team-a.results"
    assert read(record(headers={"reply-topic": "team-a.results"})).results_topic == "team-a.results"
    assert read(record(headers={"reply-topic": "team-a.urgent"})).results_topic == "team-a.urgent"
    assert read(signed()).results_topic is None


@pytest.mark.parametrize("topic", ["team-b.results", "", "eurouter.dlq.v1", "TEAM-A.URGENT"])
def test_a_foreign_reply_topic_is_refused(topic: str) -> None:
    error = refused(record(headers={"reply-topic": topic}))
    assert error.reason is Rejection.FOREIGN_REPLY_TOPIC
    assert error.message == (
        "reply-topic names no topic that this owner's results may go to: ask the operator to list it"
    )
    assert error.owner == "team-a"


def test_the_trace_goes_on_with_a_span_of_ours() -> None:
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "vendor=1", "x-request-id": "abc"}
    taken = read(record(headers=headers))
    assert taken.traceparent.split("-")[1] == TRACE
    assert "00f067aa0ba902b7" not in taken.traceparent
    assert (taken.tracestate, taken.request_id) == ("vendor=1", "abc")


def test_a_malformed_trace_is_replaced() -> None:
    taken = read(record(headers={"traceparent": b"\xff\xfe", "tracestate": "vendor=1"}))
    assert len(taken.traceparent) == 55
    assert taken.tracestate == ""


def test_the_last_of_several_trace_headers_counts() -> None:
    ours, agents = f"00-{'1' * 32}-00f067aa0ba902b7-01", f"00-{TRACE}-00f067aa0ba902b7-01"
    twice: list[tuple[str, bytes | None]] = [("traceparent", ours.encode()), ("traceparent", agents.encode())]
    taken = read_record(_with_headers(twice), rules(), NOW)
    assert taken.traceparent.split("-")[1] == TRACE


def test_a_header_that_says_two_things_is_refused_and_one_that_repeats_itself_is_not() -> None:
    twice: list[tuple[str, bytes | None]] = [("Idempotency-Key", b"a"), ("idempotency-key", b"a")]
    assert read_record(_with_headers(twice), rules(), NOW).submission.idempotency_key == "a"
    error = _refusal([("idempotency-key", b"a"), ("Idempotency-Key", b"b")])
    assert error.reason is Rejection.INVALID
    assert error.message == "idempotency-key: came more than once with different values: send it once"


def test_a_header_that_is_no_text_is_refused() -> None:
    assert _refusal([("eurouter-group", b"\xff")]).message == "eurouter-group: must be text in UTF-8"


@pytest.mark.parametrize("name", sorted(names.READ - names.PASSED_ON))
def test_a_header_without_a_value_is_refused_and_an_empty_group_is_none(name: str) -> None:
    error = _refusal([(name.title(), None)])
    assert error.reason is Rejection.INVALID
    assert error.message == f"{name}: is there and has no value (null): send one, or leave it out"
    assert read(record(headers={"eurouter-group": ""})).submission.group == ""


def test_trace_headers_and_headers_of_others_may_be_null() -> None:
    given: list[tuple[str, bytes | None]] = [(name, None) for name in ("x-other", *names.PASSED_ON)]
    given.append(("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode()))
    assert read_record(_with_headers(given), rules(), NOW).traceparent.split("-")[1] == TRACE
    assert read_record(_with_headers(given[::-1]), rules(), NOW).traceparent.split("-")[1] == TRACE


def test_headers_of_others_are_left_alone() -> None:
    assert (
        read(record(headers={"spring_json_header_types": b"\xff", "eurouter-dlq-reason": "x"})).api == "responses"
    )


@pytest.mark.parametrize(
    ("extra", "path"),
    [({"background": False}, "background"), ({"store": False}, "store")],
)
def test_a_record_is_a_job_and_must_not_say_otherwise(extra: dict[str, Any], path: str) -> None:
    error = refused(record({**ASKED, **extra}))
    assert error.reason is Rejection.INVALID
    assert [one.path for one in error.violations] == [path]
    assert "must be true or left out" in error.message
    assert read(record({**ASKED, path: True})).api == "responses"


def test_both_at_once_are_both_named() -> None:
    error = refused(record({**ASKED, "background": False, "store": False}))
    assert [one.path for one in error.violations] == ["background", "store"]


def test_store_of_a_chat_request_is_the_providers_matter() -> None:
    taken = read(record({**CHAT, "store": False}, headers={"eurouter-api": "chat"}))
    assert isinstance(taken.request, chat_pb2.CreateChatCompletionRequest)
    assert taken.request.HasField("store")


def test_wrong_fields_are_named_by_their_paths() -> None:
    error = refused(record({"model": 7, "input": [{"role": "user", "content": [{"type": "input_text"}, 5]}]}))
    assert error.reason is Rejection.INVALID
    assert [one.path for one in error.violations] == ["model", "input[0].content[1]"]
    assert error.message.startswith("model: expected a string, got a number; input[0].content[1]: expected")
    assert error.owner == "team-a"


def test_hints_that_nobody_named_are_left_out_and_told() -> None:
    asked = {"model": "small", "input": [{"role": "user", "content": "a", "cache": 1}]}
    assert refused(record(asked)).message == "input[0].cache: unknown field; remove it"
    assert read(record(asked), hint_fields=frozenset({"input.cache"})).ignored == ("input.cache",)


def test_a_value_above_the_limit_is_refused_unread() -> None:
    error = refused(record(b"{" + b" " * (5 * 1024 * 1024)))
    assert error.reason is Rejection.TOO_LARGE
    assert error.message == (
        "the value has 5242881 bytes, at most 1048576 are taken: send less, or over gRPC or HTTP"
    )
    assert error.owner == "team-a"
    assert read(record(b'{"model":"small","input":"' + b"a" * 900_000 + b'"}')).api == "responses"


def test_a_key_that_results_could_not_carry_is_refused() -> None:
    assert refused(record(key=b"k" * 4097)).reason is Rejection.TOO_LARGE
    assert read(record(key=None)).source.key is None


@pytest.mark.parametrize("value", [b"", None])
def test_a_record_without_a_value_is_no_request(value: bytes | None) -> None:
    given = record()
    empty = type(given)(TOPIC, 0, 0, 0, b"k", value)
    error = refused(empty)
    assert (error.reason, error.message) == (Rejection.UNDECODABLE, "the record has no value: send a request")


def test_nothing_of_a_value_or_a_secret_stands_in_any_message() -> None:
    marker = "MARKER-7f3a"
    bad: list[Any] = [
        f'{{"model": "{marker}"'.encode(),
        f"{marker}".encode(),
        {"model": [marker], "input": {"a": marker}},
        {"model": marker, "input": [{"role": marker, "type": marker + "x", "content": 5}], "background": False},
        {
            "model": marker,
            "input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}],
            "tools": marker,
        },
        {"custom_id": marker, "url": marker, "body": {}},
        {"custom_id": [marker], "url": "/v1/responses", "body": marker},
    ]
    for value in bad:
        for headers in ({}, {"content-type": "application/json"}, {"content-type": "application/protobuf"}):
            try:
                read(record(value, headers=headers))
            except RejectedRecordError as error:
                assert marker not in error.message, value
    secret = {names.KEY_ID: "b1", names.SIGNATURE: marker, names.EXPIRES_AT: LATER}
    assert marker not in refused(record(topic="shared", headers=secret)).message


def test_every_error_of_an_api_is_a_dead_letter_or_to_be_tried_again() -> None:
    again = {reason for reason in Reason if rejection_of(ServiceError(reason, "no"), "team-a") is None}
    assert again == {
        Reason.STORE_UNAVAILABLE,
        Reason.SHUTTING_DOWN,
        Reason.OVERLOADED,
        Reason.CANCELLED,
        Reason.DEADLINE_EXCEEDED,
        Reason.IDEMPOTENCY_IN_PROGRESS,
        Reason.NO_ENDPOINT_AVAILABLE,
        Reason.PROVIDER_RATE_LIMITED,
        Reason.PROVIDER_QUOTA_SPENT,
        Reason.PROVIDER_AUTH_FAILED,
        Reason.PROVIDER_MODEL_MISSING,
        Reason.PROVIDER_UNAVAILABLE,
        Reason.PROVIDER_TIMEOUT,
        Reason.PROVIDER_BROKEN_ANSWER,
    }


def test_an_api_names_fields_inside_the_document_that_they_came_in() -> None:
    found = (Violation("temperature", "must be between 0 and 2"), Violation("", "no"))
    error = ServiceError(Reason.INVALID_REQUEST, "temperature: must be between 0 and 2", violations=found)
    inside = rejection_of(error, "team-a", "body.")
    assert inside is not None
    assert inside.message == "body.temperature: must be between 0 and 2; body: no"
    assert (inside.reason, inside.owner) == (Rejection.INVALID, "team-a")
    plain = rejection_of(error, "team-a")
    assert plain is not None
    assert plain.message == error.message
    unknown = rejection_of(ServiceError(Reason.MODEL_NOT_FOUND, "no such model"), "team-a", "body.")
    assert unknown is not None
    assert (unknown.reason, unknown.message) == (Rejection.UNKNOWN_MODEL, "no such model")


def _with_headers(headers: list[tuple[str, bytes | None]]) -> Record:
    given = record()
    return Record(given.topic, given.partition, given.offset, given.timestamp_ms, given.key, given.value, headers)


def _refusal(headers: list[tuple[str, bytes | None]]) -> RejectedRecordError:
    with pytest.raises(RejectedRecordError) as caught:
        read_record(_with_headers(headers), rules(), NOW)
    return caught.value
