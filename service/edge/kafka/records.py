"""A record of an intake topic -> what is to be accepted as a job, or the reason why it is none.

As at the other doors only the form is judged here; what a request means is its API's to judge, on acceptance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from eurouter.v1 import chat_pb2, responses_pb2

from service import wire
from service.api.responses.submission import Submission
from service.domain.calls import CallContext, Principal
from service.domain.consuming import Record
from service.domain.errors import ServiceError, Violation
from service.domain.job_store import Priority
from service.domain.tracing import Remote, remote_of
from service.edge.calls import request_id_of, trace_of
from service.edge.kafka import names
from service.edge.kafka.batch_lines import BODY, Api, is_line, read_line
from service.edge.kafka.framing import Form, read_document, read_message, undecodable, unframe
from service.edge.kafka.identity import Identities, Identity
from service.edge.kafka.ids import DERIVED, key_of, may_be_chosen, response_id_of
from service.edge.kafka.record import Headers, read_headers
from service.edge.kafka.rejections import RejectedRecordError, Rejection, malformed
from service.edge.submission import submission_of

MAX_KEY_BYTES: Final = 4096
MAX_CORRELATION_BYTES: Final = 1024

Request: TypeAlias = responses_pb2.CreateResponseRequest | chat_pb2.CreateChatCompletionRequest


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """What operators set for records; made anew when the settings change.

    `hint_fields` as at every door. A value above `max_value_bytes` is refused before it is looked at.
    """

    identities: Identities
    hint_fields: frozenset[str] = frozenset()
    max_value_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """Where a record stood, for its result: results name what they answer."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None


@dataclass(frozen=True, slots=True)
class Intake:
    """A record that asks for a job.

    `submission` has a priority and an idempotency key in any case; `own_key`: the key was made of this very
    record, and no other has it. `stream`: deltas are logged for followers. `correlation_id` goes back as it came,
    and the result in the `form` of the request. `results_topic` None: where its owner's go. `ignored` are hints
    that nobody named. `caller` is the span that the headers name. `path_prefix` goes before the paths of fields in
    what is said of the request later: it stands inside a document of its caller's.
    """

    api: Api
    request: Request
    principal: Principal
    submission: Submission
    response_id: str
    own_key: bool
    stream: bool
    form: Form
    source: Source
    correlation_id: bytes | None
    results_topic: str | None
    request_id: str
    traceparent: str
    tracestate: str
    caller: Remote | None = None
    ignored: tuple[str, ...] = ()
    path_prefix: str = ""

    def context(self, deadline: float) -> CallContext:
        """The call that accepts it; `deadline` on the router's clock."""
        return CallContext(
            principal=self.principal,
            request_id=self.request_id,
            deadline=deadline,
            traceparent=self.traceparent,
            tracestate=self.tracestate,
            door="kafka",
        )


class OutdatedRecordError(RejectedRecordError):
    """A record that can be read and yet is no job any more; it may have become one when it was read before.

    `intake` is what it asks for.
    """

    def __init__(self, reason: Rejection, problem: Violation, intake: Intake) -> None:
        super().__init__(reason, f"{problem.path} {problem.message}", violations=(problem,))
        self.intake = intake


def read_record(record: Record, rules: IntakeRules, now: float, *, vouched_owner: str | None = None) -> Intake:
    """What a record asks for; `now` in Unix seconds.

    `vouched_owner`: an operator submits it again and says whose it is, so that nothing of the record has to.

    Raises:
        RejectedRecordError: it is no job, now and later; nothing else, whatever its bytes are. An
            OutdatedRecordError: it may be one already.
    """
    owner = vouched_owner or rules.identities.bound_owner(record.topic)
    try:
        value = _checked_value(record, rules.max_value_bytes)
        headers, identity = identified(record, rules, vouched_owner)
        owner = identity.principal.owner
        return _intake(record, value, headers, identity, rules.hint_fields, now)
    except RejectedRecordError as rejected:
        rejected.owner = owner
        raise


def identified(record: Record, rules: IntakeRules, vouched_owner: str | None) -> tuple[Headers, Identity]:
    """What this door reads of a record's headers, and who submitted it; `vouched_owner` as above.

    Raises:
        RejectedRecordError: UNAUTHENTICATED, BAD_SIGNATURE, or INVALID headers.
    """
    headers = read_headers(record.headers, rules.identities.headers)
    if vouched_owner is None:
        return headers, rules.identities.identify(record, headers)
    return headers, rules.identities.vouched(vouched_owner, record, headers)


def _checked_value(record: Record, most: int) -> bytes:
    if record.unreadable:
        raise undecodable(record.unreadable)
    value = record.value or b""
    if len(value) > most:
        message = f"the value has {len(value)} bytes, at most {most} are taken: send less, or over gRPC or HTTP"
        raise RejectedRecordError(Rejection.TOO_LARGE, message)
    if record.key is not None and len(record.key) > MAX_KEY_BYTES:
        message = f"the key has {len(record.key)} bytes, at most {MAX_KEY_BYTES} are taken: results carry it"
        raise RejectedRecordError(Rejection.TOO_LARGE, message)
    return value


def _intake(
    record: Record, value: bytes, headers: Headers, identity: Identity, hint_fields: frozenset[str], now: float
) -> Intake:
    text = headers.text
    submission = _submission(text, now)
    asked = _read_request(value, text, hint_fields)
    _mark_as_job(asked)
    key = submission.idempotency_key or key_of(record, identity.signed)
    owner = identity.principal.owner
    traceparent, tracestate = trace_of(text)
    intake = Intake(
        api=asked.api,
        request=asked.request,
        principal=identity.principal,
        submission=Submission(
            idempotency_key=key,
            priority=_with_priority(submission, identity, asked.request.service_tier),
            delay=submission.delay,
            start_within=submission.start_within,
            group=submission.group,
        ),
        response_id=_chosen_id(text) or response_id_of(owner, key),
        own_key=submission.idempotency_key is None,
        stream=asked.request.stream,
        form=asked.form,
        source=Source(record.topic, record.partition, record.offset, record.timestamp_ms, record.key),
        correlation_id=_correlation_id(headers.raw.get(names.CORRELATION_ID), asked.custom_id),
        results_topic=text.get(names.REPLY_TOPIC, _bound_topic(identity)),
        request_id=request_id_of(text),
        traceparent=traceparent,
        tracestate=tracestate,
        caller=remote_of(text.get(names.TRACEPARENT), text.get(names.TRACESTATE)),
        ignored=tuple(asked.ignored),
        path_prefix=asked.path_prefix,
    )
    _check_times_and_topic(intake, identity)
    return intake


def _check_times_and_topic(intake: Intake, identity: Identity) -> None:
    """What may have been right when the record was read before. Judged last, when it is known which job it is."""
    if intake.submission.start_within is not None and intake.submission.start_within <= 0:
        late = Violation(names.EXPIRES_AT, "has passed: submit it again with a later one")
        raise OutdatedRecordError(Rejection.EXPIRED, late, intake)
    asked = intake.results_topic
    if asked not in (None, _bound_topic(identity)) and asked not in identity.terms.reply_topics:
        why = "names no topic that this owner's results may go to: ask the operator to list it"
        problem = Violation(names.REPLY_TOPIC, why)
        raise OutdatedRecordError(Rejection.FOREIGN_REPLY_TOPIC, problem, intake)


@dataclass(frozen=True, slots=True)
class _Asked:
    api: Api
    request: Request
    form: Form
    ignored: list[str]
    custom_id: str | None = None
    path_prefix: str = ""


def _read_request(value: bytes, headers: Mapping[str, str], hint_fields: frozenset[str]) -> _Asked:
    wanted = _api(headers.get(names.API))
    api = wanted or "responses"
    unframed = unframe(value, headers.get(names.CONTENT_TYPE))
    if unframed.form is Form.PROTOBUF:
        return _Asked(api, read_message(_REQUESTS[api], unframed), unframed.form, [])
    document, custom_id, prefix = read_document(unframed.payload), None, ""
    if is_line(document):
        line = read_line(document)
        if wanted not in (None, line.api):
            raise malformed(Violation("url", f"names another API than the header {names.API}: leave that out"))
        api, document, custom_id, prefix = line.api, line.body, line.custom_id, f"{BODY}."
    elif wanted is None and "messages" in document and "input" not in document:
        raise malformed(Violation("messages", f"is for chat requests: they come with {names.API} chat"))
    ignored: list[str] = []
    try:
        request: Request = wire.parse(_REQUESTS[api], document, hint_paths=hint_fields, ignored=ignored)
    except wire.WireError as error:
        below = (Violation(f"{prefix}{path}" if path else prefix[:-1], told) for path, told in error.violations)
        raise malformed(*below) from None
    return _Asked(api, request, unframed.form, ignored, custom_id, prefix)


_REQUESTS: Final[Mapping[Api, type[Any]]] = {
    "responses": responses_pb2.CreateResponseRequest,
    "chat": chat_pb2.CreateChatCompletionRequest,
}


def _api(given: str | None) -> Api | None:
    match given.lower() if given is not None else None:
        case None:
            return None
        case "responses":
            return "responses"
        case "chat":
            return "chat"
        case _:
            message = f"{names.API} must be responses (which it is without the header) or chat"
            raise RejectedRecordError(Rejection.UNKNOWN_API, message)


def _mark_as_job(asked: _Asked) -> None:
    """Says in the request what a record says by itself, and refuses one that says otherwise."""
    request = asked.request
    if not isinstance(request, responses_pb2.CreateResponseRequest):
        # Chat has no background of its own, and its `store` is about the provider.
        return
    found = []
    if request.HasField("background") and not request.background:
        why = "must be true or left out: nobody waits at a record, its response is made in the background"
        found.append(Violation(f"{asked.path_prefix}background", why))
    if request.HasField("store") and not request.store:
        why = "must be true or left out: what is made in the background has to be kept until it is fetched"
        found.append(Violation(f"{asked.path_prefix}store", why))
    if found:
        raise malformed(*found)
    request.background = True


def _submission(headers: Mapping[str, str], now: float) -> Submission:
    """What the headers say, times in seconds from `now`."""
    try:
        # Against a clock at zero times come out as they were sent: what is too late is told from what is wrong.
        sent = submission_of(headers, lambda: 0.0)
    except ServiceError as error:
        raise malformed(*error.violations) from None
    left = None if sent.start_within is None else sent.start_within - now
    delay = None if sent.delay is None else max(0.0, sent.delay - now)
    return Submission(sent.idempotency_key, sent.priority, delay, left, sent.group)


def _with_priority(submission: Submission, identity: Identity, service_tier: str) -> Priority:
    bound = identity.binding.priority if identity.binding is not None else None
    if submission.priority is None and bound is not None:
        return bound
    return submission.priority_for(service_tier)


def _bound_topic(identity: Identity) -> str | None:
    return None if identity.binding is None else identity.binding.results_topic


def _chosen_id(headers: Mapping[str, str]) -> str | None:
    chosen = headers.get(names.RESPONSE_ID)
    if chosen is not None and not may_be_chosen(chosen):
        must = f"must be resp_ and 36 hexadecimal digits in lower case, and not begin with resp_{DERIVED}"
        raise malformed(Violation(names.RESPONSE_ID, f"{must}: ids that are made of owner and key do"))
    return chosen


def _correlation_id(given: bytes | None, custom_id: str | None) -> bytes | None:
    name, found = names.CORRELATION_ID, given
    if found is None and custom_id is not None:
        name, found = "custom_id", custom_id.encode()
    if found is not None and len(found) > MAX_CORRELATION_BYTES:
        raise malformed(Violation(name, f"must be at most {MAX_CORRELATION_BYTES} bytes long; got {len(found)}"))
    return found
