"""Chat and Responses requests as jobs: what is stored of them, which id and key they have, and what is refused."""

from __future__ import annotations

import time
from typing import Any, Final, cast

import pytest
from eurouter.v1 import response_events_pb2 as events_pb
from eurouter.v1 import response_object_pb2 as object_pb
from eurouter.v1 import responses_pb2 as pb

from service.api.chat.background import ChatJobs, chat_idempotency_of
from service.api.chat.handler import ChatSettings
from service.api.responses.background import BackgroundResponses
from service.api.responses.follow import Followers
from service.api.responses.history import filters_of
from service.api.responses.idempotency import idempotency_of
from service.api.responses.ids import id_of, is_response_id
from service.api.responses.items import MAX_ITEMS
from service.api.responses.prepare import Preparer, ResponsesSettings
from service.api.responses.stored import StoredResponses
from service.api.responses.submission import Submission
from service.domain.calls import CallContext, Principal
from service.domain.errors import Reason, ServiceError
from service.domain.idempotency import IdempotencyKeys
from service.domain.job_store import JobOrigin, NewJob, Priority
from service.domain.preferences import Floor
from service.router import Router
from tests.support import response_requests
from tests.support.chats import USER, request
from tests.support.fake_jobs import FakeJobs
from tests.support.upstreams import FakeClock, FakeUpstream, RecordingTelemetry
from tests.support.working import CalmHealth, one_endpoint

DAY: Final = 86400.0
NOW: Final = 1_700_000_000
OWN: Final = "f" * 36
CHOSEN: Final = "resp_" + "a" * 36
TOPICS: Final = {"ann": "ann.results"}
AUDIO: Final = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
PLAIN: Final = Submission()


def router() -> Router:
    return Router(FakeUpstream(FakeClock(), {}), CalmHealth(), RecordingTelemetry())


def context(owner: str = "ann", floor: Floor | None = None) -> CallContext:
    principal = Principal(owner) if floor is None else Principal(owner, floor=floor)
    return CallContext(principal, "r", time.monotonic() + 60, "00-aa-bb-01", "x=y", "kafka")


async def chat(
    submission: Submission = PLAIN,
    *,
    caller: CallContext | None = None,
    floor: Floor | None = None,
    streaming: bool = False,
    response_id: str | None = None,
    origin: JobOrigin | None = None,
    restart_on_loss: bool = True,
    **fields: Any,
) -> NewJob:
    """The job that a chat request becomes; `floor` is the operator's."""
    settings = ResponsesSettings(ChatSettings(floor=floor or Floor()), 30 * DAY)
    jobs = ChatJobs(
        one_endpoint(),
        router(),
        lambda: settings,
        wall_clock=lambda: NOW + 0.5,
        new_id=lambda: OWN,
        restart_on_loss=lambda _owner: restart_on_loss,
        results_topic=TOPICS.get,
    )
    message = request(**fields)
    before = message.SerializeToString(deterministic=True)
    made = await jobs.job(
        message, submission, caller or context(), streaming=streaming, response_id=response_id, origin=origin
    )
    assert message.SerializeToString(deterministic=True) == before, "the caller's message was changed"
    return made


async def responses(
    submission: Submission = PLAIN,
    *,
    caller: CallContext | None = None,
    streaming: bool = False,
    response_id: str | None = None,
    origin: JobOrigin | None = None,
    **fields: Any,
) -> NewJob:
    """The job that a Responses request becomes."""
    fake = FakeJobs()
    preparer = Preparer(one_endpoint(), fake, wall_clock=lambda: NOW + 0.5, new_id=lambda: OWN)
    background = BackgroundResponses(
        preparer,
        router(),
        StoredResponses(fake),
        fake,
        cast("IdempotencyKeys", None),
        cast("Followers", None),
        results_topic=TOPICS.get,
    )
    message = response_requests.request(background=True, **fields)
    made = await background.job(
        message, submission, caller or context(), streaming=streaming, response_id=response_id, origin=origin
    )
    assert fake.asked == [], "nothing is stored or read for it"
    return made


def body(job: NewJob) -> pb.StoredResponseBody:
    return pb.StoredResponseBody.FromString(job.response.response)


async def refused(**options: Any) -> dict[str, str]:
    """Path -> sentence of what is wrong with a chat job."""
    with pytest.raises(ServiceError) as caught:
        await chat(**options)
    return {violation.path: violation.message for violation in caught.value.violations}


async def test_a_chat_job_is_stored_as_a_response_that_waits_and_a_request_that_stays_one() -> None:
    submission = Submission("key-1", None, 5.0, 60.0, "nightly")
    job = await chat(submission, streaming=True, stream=True, service_tier="flex", seed=3, restart_on_loss=False)
    assert job.api == "chat"
    assert job.request == request(stream=True, service_tier="flex", seed=3).SerializeToString(deterministic=True)
    assert (job.priority, job.delay, job.start_within, job.group) == (Priority.BULK, 5.0, 60.0, "nightly")
    assert (job.log_deltas, job.restart_on_loss) == (True, False)
    assert job.trace == {"traceparent": "00-aa-bb-01", "tracestate": "x=y"}
    assert job.idempotency == chat_idempotency_of("key-1", request(service_tier="flex", seed=3))
    stored = job.response
    assert (stored.id, stored.owner, stored.previous_id, stored.status) == (f"resp_{OWN}", "ann", None, "queued")
    assert stored.retention == 30 * DAY
    response = body(job).response
    assert (response.id, response.status) == (stored.id, object_pb.RESPONSE_STATUS_QUEUED)
    assert (response.background, response.store, response.model) == (True, True, "vendor/model")
    assert response.created_at == NOW
    assert not body(job).HasField("chat_completion")
    events = [events_pb.ResponseStreamEvent.FromString(event) for event in job.events]
    assert [(event.WhichOneof("event"), event.sequence_number) for event in events] == [
        ("created", 0),
        ("queued", 1),
    ]
    assert events[0].created.response == events[1].queued.response == response


async def test_its_messages_are_its_input_with_ids_of_its_response() -> None:
    job = await chat(messages=[{"role": "system", "content": "Be short."}, USER])
    items = pb.StoredResponseInput.FromString(job.response.input).items
    assert [item.message.role for item in items] == ["system", "user"]
    assert [id_of(item) for item in items] == [f"msg_{OWN}0000", f"msg_{OWN}0001"]


@pytest.mark.parametrize("make", [chat, responses])
async def test_a_chosen_id_is_the_responses_and_its_items_and_no_part_of_what_is_the_same(make: Any) -> None:
    key = Submission("key-1")
    chosen, own = await make(key, response_id=CHOSEN), await make(key)
    assert is_response_id(CHOSEN)
    assert (chosen.response.id, own.response.id) == (CHOSEN, f"resp_{OWN}")
    assert body(chosen).response.id == CHOSEN
    items = pb.StoredResponseInput.FromString(chosen.response.input).items
    assert [id_of(item) for item in items] == [f"msg_{CHOSEN[5:]}0000"]
    assert chosen.idempotency == own.idempotency is not None
    assert chosen.request == own.request


@pytest.mark.parametrize("make", [chat, responses])
async def test_a_job_without_a_key_has_no_identity_but_its_id(make: Any) -> None:
    assert (await make()).idempotency is None


@pytest.mark.parametrize("make", [chat, responses])
@pytest.mark.parametrize(
    ("owner", "given", "expected"),
    [
        ("ann", None, JobOrigin("ann.results")),
        ("bob", None, None),
        ("ann", JobOrigin("replies", b"o"), JobOrigin("replies", b"o")),
        ("ann", JobOrigin(None, b"o"), JobOrigin("ann.results", b"o")),
        ("bob", JobOrigin(None, b"o"), JobOrigin(None, b"o")),
    ],
)
async def test_a_result_goes_where_its_origin_says_and_else_to_its_owners_topic(
    make: Any, owner: str, given: JobOrigin | None, expected: JobOrigin | None
) -> None:
    assert (await make(caller=context(owner), origin=given)).origin == expected


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"n": 2}, {"n"}),
        (AUDIO, {"modalities", "audio"}),
        ({**AUDIO, "n": 3}, {"n", "modalities", "audio"}),
        ({"messages": [USER] * (MAX_ITEMS + 1)}, {"messages"}),
    ],
)
async def test_what_a_response_has_no_form_for_is_refused_by_the_name_of_its_field(
    fields: dict[str, Any], named: set[str]
) -> None:
    complaints = await refused(**fields)
    assert complaints.keys() == named
    assert all("in the background" in sentence for sentence in complaints.values())


async def test_calls_count_among_the_messages_that_a_job_may_have() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    calls = [{**call, "id": f"c{number}"} for number in range(MAX_ITEMS)]
    answer = {"role": "assistant", "content": None, "tool_calls": calls}
    assert "messages" in await refused(messages=[USER, answer])


async def test_one_answer_and_text_may_be_said() -> None:
    assert (await chat(n=1, modalities=["text"])).api == "chat"


async def test_what_the_chat_door_refuses_is_refused_in_its_words() -> None:
    assert "temperature" in await refused(temperature=9)
    assert "stream" in await refused(stream=True)
    assert "stream_options" in await refused(stream_options={"include_usage": True})
    with pytest.raises(ServiceError) as caught:
        await chat(model="vendor/nobody")
    assert caught.value.reason is Reason.MODEL_NOT_FOUND


@pytest.mark.parametrize(
    ("submission", "named"),
    [
        (Submission(start_within=0.0), "eurouter-expires-at"),
        (Submission(delay=30 * DAY), "eurouter-run-at"),
    ],
)
async def test_times_that_cant_be_kept_to_are_refused(submission: Submission, named: str) -> None:
    assert (await refused(submission=submission)).keys() == {named}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"provider": {"only": ["nobody"]}}, Reason.INVALID_REQUEST),
        ({"provider": {"data_residency": "DE"}}, Reason.NO_ENDPOINT_ALLOWED),
        ({"not_a_field": 1}, Reason.UNKNOWN_FIELD),
    ],
)
async def test_what_no_endpoint_may_or_can_serve_is_refused_when_it_is_accepted(
    fields: dict[str, Any], reason: Reason
) -> None:
    with pytest.raises(ServiceError) as caught:
        await chat(**fields)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("asked", "key", "operator"), [(0, None, None), (None, 0, None), (None, None, 0), (5, None, 0)]
)
async def test_where_nothing_may_be_kept_nothing_is_made_in_the_background(
    asked: int | None, key: int | None, operator: int | None
) -> None:
    fields = {} if asked is None else {"provider": {"max_retention_days": asked}}
    caller = None if key is None else context(floor=Floor(max_retention_days=key))
    floor = None if operator is None else Floor(max_retention_days=operator)
    complaints = await refused(caller=caller, floor=floor, **fields)
    assert complaints.keys() == {"provider.max_retention_days"}
    assert ("operator" in complaints["provider.max_retention_days"]) is (asked != 0)


async def test_a_job_is_kept_as_long_as_the_strictest_says_and_remembers_its_filters() -> None:
    caller = context(floor=Floor(data_residency=("FR",), max_retention_days=9))
    job = await chat(caller=caller, floor=Floor(max_retention_days=7), provider={"data_collection": "deny"})
    assert job.response.retention == 7 * DAY
    assert body(job).kept_until == int(NOW + 0.5 + 7 * DAY)
    filters = filters_of(body(job))
    assert filters == Floor(("FR",), data_collection_deny=True, max_retention_days=7)


async def test_neither_kind_of_job_may_have_a_provider_keep_more_than_its_filters_allow() -> None:
    week = context(floor=Floor(max_retention_days=7))
    assert (await refused(caller=week, store=True)).keys() == {"store"}
    for days, allowed in ((7, True), (8, False)):
        ttl: dict[str, Any] = {"prompt_cache_options": {"ttl": f"{days}d"}}
        for make in (chat, responses):
            if allowed:
                await make(caller=week, **ttl)
                continue
            with pytest.raises(ServiceError) as caught:
                await make(caller=week, **ttl)
            assert [each.path for each in caught.value.violations] == ["prompt_cache_options.ttl"]


async def test_store_is_the_providers_business_and_the_job_is_kept_all_the_same() -> None:
    for store in (True, False):
        job = await chat(store=store)
        assert body(job).response.store
        assert job.response.retention == 30 * DAY


def test_the_same_chat_request_is_the_same_however_it_is_answered_and_whatever_defaults_it_says() -> None:
    plain = chat_idempotency_of("k", request())
    for fields in (
        {"stream": True, "stream_options": {"include_usage": True}},
        {"temperature": 1, "top_p": 1, "n": 1, "store": False, "logprobs": False},
        {"presence_penalty": 0, "frequency_penalty": 0, "service_tier": "auto", "verbosity": "medium"},
        {"response_format": {"type": "text"}, "tool_choice": "auto", "parallel_tool_calls": True},
    ):
        assert chat_idempotency_of("k", request(**fields)) == plain
    labels = {"a": "1", "b": "2", "c": "3"}
    turned = dict(reversed(labels.items()))
    assert chat_idempotency_of("k", request(metadata=labels)) == chat_idempotency_of("k", request(metadata=turned))


def test_another_chat_request_is_another_one() -> None:
    plain = chat_idempotency_of("k", request())
    others = (
        {"model": "vendor/other"},
        {"messages": [{"role": "user", "content": "other"}]},
        {"temperature": 0},
        {"seed": 1},
        {"store": True},
        {"response_format": {"type": "json_object"}},
        {"tool_choice": "none"},
        {"stop": ["x"]},
        {"top_k": 3},
    )
    digests = {chat_idempotency_of("k", request(**fields)).digest for fields in others}
    assert len(digests) == len(others)
    assert plain.digest not in digests


def test_a_chat_request_is_never_the_same_as_a_responses_request() -> None:
    # Fields of one number: these two messages are of equal bytes.
    one = pb.CreateResponseRequest(model="vendor/model")
    other = type(request())(model="vendor/model")
    assert one.SerializeToString() == other.SerializeToString()
    assert idempotency_of("k", one).digest != chat_idempotency_of("k", other).digest


async def test_a_responses_job_is_what_it_was_and_has_its_own_digest() -> None:
    job = await responses(
        Submission("key-1"), streaming=True, stream=True, include=["reasoning.encrypted_content"]
    )
    asked = response_requests.request(background=True, stream=True, include=["reasoning.encrypted_content"])
    assert (job.api, job.request) == ("responses", asked.SerializeToString(deterministic=True))
    assert job.idempotency == idempotency_of("key-1", asked)
    assert list(body(job).include) == ["reasoning.encrypted_content"]
    assert job.log_deltas
