"""The published Kafka contract says what the code says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson
import pytest
import yaml
from eurouter.v1 import chat_pb2, response_object_pb2, responses_pb2
from google.protobuf.message import Message

from adapters.kafka.topics import DEAD_LETTERS, JOBS, RESULTS, SUBMISSIONS
from service.edge.kafka import asyncapi, asyncapi_headers, asyncapi_messages, names
from service.edge.kafka.rejections import Rejection
from service.settings import Settings
from tests.support.kafka_records import read, record
from tests.support.parts import ROOT

DOCUMENT: Final = asyncapi.document()
CONSTANTS: Final = {value for name in names.__all__ if isinstance(value := getattr(names, name), str)}
RETURNED: Final = {names.CONTENT_TYPE, names.CORRELATION_ID, names.TRACEPARENT}
MESSAGES: Final[list[tuple[str, type[Message]]]] = [
    ("ResponsesRequest", responses_pb2.CreateResponseRequest),
    ("ChatRequest", chat_pb2.CreateChatCompletionRequest),
    ("Response", response_object_pb2.Response),
    ("ResponseReference", response_object_pb2.Response),
    ("ChatCompletion", chat_pb2.ChatCompletion),
]


def headers_of(schema: str) -> set[str]:
    return set(DOCUMENT["components"]["schemas"][schema]["properties"])


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_the_committed_document_is_current(update_golden: bool) -> None:
    path = ROOT / asyncapi.PAGE
    if update_golden:
        path.write_text(asyncapi.page(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == asyncapi.page()
    assert yaml.safe_load(asyncapi.page()) == orjson.loads(orjson.dumps(DOCUMENT))


def test_what_is_read_of_a_record_is_what_may_be_submitted() -> None:
    assert headers_of("SubmissionHeaders") == names.READ


def test_every_header_stands_in_one_place_but_for_those_that_are_returned() -> None:
    submitted, published, letters = (
        headers_of(f"{name}Headers") for name in ("Submission", "Result", "DeadLetter")
    )
    assert submitted & published == RETURNED
    assert not letters & (submitted | published)
    assert submitted | published | letters >= CONSTANTS
    # Nothing is described that the code has no name for.
    assert submitted | published <= CONSTANTS
    assert letters == {name for name in CONSTANTS if name.startswith("eurouter-dlq-")}
    assert headers_of("TombstoneHeaders") <= published


def test_every_reason_of_a_dead_letter_is_told_and_explained() -> None:
    reason = DOCUMENT["components"]["schemas"]["DeadLetterHeaders"]["properties"][names.DLQ_REASON]
    assert reason["enum"] == [str(one) for one in Rejection]
    assert set(asyncapi_headers.REASONS) == set(Rejection)
    for one in Rejection:
        assert f"- {one}: " in DOCUMENT["channels"]["deadLetters"]["description"]


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        part: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
        assert part


@pytest.mark.parametrize(("schema", "message"), MESSAGES)
def test_every_field_of_a_body_is_one_of_its_message(schema: str, message: type[Message]) -> None:
    described = DOCUMENT["components"]["schemas"][schema]
    assert described["x-protobuf-message"] == message.DESCRIPTOR.full_name
    # What a message has no field for is the same in every one of its kind.
    assert set(described["properties"]) - {"object"} <= set(message.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("message", asyncapi_messages.SUBMISSIONS)
def test_every_example_of_a_submission_is_taken_in(message: str) -> None:
    for example in asyncapi_messages.SUBMISSIONS[message].get("examples", []):
        taken = read(record(example["payload"], headers=example["headers"]))
        assert taken.request.model == "small"


def test_names_groups_and_partitions_are_the_defaults_of_the_settings() -> None:
    kafka = Settings().kafka
    topics = (asyncapi.SUBMIT, asyncapi.JOBS, asyncapi.RESULT, asyncapi.DLQ)
    told = (kafka.names.submit, kafka.names.jobs, kafka.names.results, kafka.names.dlq)
    assert tuple(topic.name for topic in topics) == told
    assert {topic.partitions for topic in topics} == {kafka.partitions}
    assert (kafka.intake_group, kafka.wake_group) == (asyncapi.INTAKE_GROUP, asyncapi.WAKE_GROUP)


def test_topics_are_described_as_they_are_created() -> None:
    channels = {"submissions": SUBMISSIONS, "wakeUps": JOBS, "results": RESULTS, "deadLetters": DEAD_LETTERS}
    for name, made in channels.items():
        told = DOCUMENT["channels"][name]["bindings"]["kafka"]["topicConfiguration"]
        as_set = {key: ",".join(v) if isinstance(v, list) else str(v) for key, v in told.items()}
        assert as_set == made
