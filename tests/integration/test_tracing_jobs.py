"""The spans of jobs: submitted over HTTP or as records, run in traces of their own, told to Kafka."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import orjson
import pytest

from adapters.otlp.spans import OtlpTracer, RecordedSpan
from adapters.providers.simulator import Script
from service.domain.consuming import Record
from service.domain.intake import TryLaterError
from service.domain.outbox import OutboxKind, OutboxRecord, OutboxRow
from service.domain.publishing import Message
from service.domain.stored import StoreError
from service.domain.tracing import Kind
from tests.support.fake_outbox import render
from tests.support.intake_worlds import MODEL, intake_world
from tests.support.kafka_acceptance import GROUP
from tests.support.kafka_clients import Kafka
from tests.support.kafka_records import TOPIC, record
from tests.support.kafka_world import asked as asked_by_record
from tests.support.kafka_world import kafka_world
from tests.support.otlp import Collector
from tests.support.relay_bench import Bench
from tests.support.responses_door import asked, responses_door
from workers.relay import Relay

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SUBMITTER: Final = f"00-{TRACE}-00f067aa0ba902b7-01"
UNSAMPLED: Final = f"00-{TRACE}-00f067aa0ba902b7-00"
CREATE: Final = "POST /v1/responses"


def keeping(ratio: float = 1.0, *, trust: bool = True) -> tuple[OtlpTracer, list[RecordedSpan]]:
    """A tracer, and the spans that are over."""
    over: list[RecordedSpan] = []
    return OtlpTracer(over.append, ratio=ratio, trust=trust), over


def asking(offset: int, traceparent: str | None = None, **fields: object) -> Record:
    headers = {} if traceparent is None else {"traceparent": traceparent}
    return record({"model": MODEL, "input": "Hello", **fields}, offset=offset, headers=headers)


async def test_a_background_job_runs_in_a_trace_of_its_own_that_points_to_its_submission(tmp_path: Path) -> None:
    async with Collector() as collector:
        async with responses_door(tmp_path, {"telemetry": {"endpoint": collector.url}}) as door:
            made = await door.create(asked(background=True), headers={"traceparent": SUBMITTER})
            (run,) = await collector.named("run job")
            (told,) = door.up.alpha.calls
            response_id = made.json["id"]
        (accepted,) = await collector.named(CREATE)
        assert (accepted.trace_id, run.link) == (TRACE, (TRACE, accepted.span_id))
        assert (run.kind, run.parent_id, run.is_error) == ("CONSUMER", "", False)
        assert run.trace_id != TRACE
        assert run.attributes == {
            "eurouter.response.id": response_id,
            "eurouter.job.api": "responses",
            "eurouter.job.epoch": 1,
            "eurouter.job.failed_attempts": 0,
            "eurouter.job.outcome": "completed",
        }
        (attempt,) = collector.below(run)
        (upstream,) = collector.below(attempt)
        assert attempt.name == "chat one"
        assert told.headers["traceparent"] == upstream.traceparent


async def test_a_job_whose_submission_was_not_recorded_is_not_recorded_either(tmp_path: Path) -> None:
    async with Collector() as collector:
        async with responses_door(tmp_path, {"telemetry": {"endpoint": collector.url}}) as door:
            await door.create(asked(background=True), headers={"traceparent": UNSAMPLED})
            async with asyncio.timeout(10):
                while not door.up.alpha.calls:
                    await asyncio.sleep(0.01)
            assert door.up.alpha.calls[0].headers["traceparent"].endswith("-00")
        assert collector.spans == []


async def test_a_record_has_a_span_in_its_submitters_trace_that_its_job_goes_on_from(tmp_path: Path) -> None:
    tracer, over = keeping()
    async with intake_world(f"sqlite:///{tmp_path / 'jobs.db'}", tracer) as world:
        await world.acceptance.accept([asking(1, SUBMITTER), asking(2)])
        claimed = await world.database.database.jobs.claim("w", 10, 10.0, owner_cap=10)
        traces = {job.id: job.trace["traceparent"] for job in claimed.run}
    submitted, alone = sorted(over, key=lambda span: int(str(span.attributes["messaging.kafka.offset"])))
    assert (submitted.name, submitted.kind, submitted.parent_id) == (
        f"process {TOPIC}",
        Kind.CONSUMER,
        SUBMITTER[36:52],
    )
    assert submitted.trace_id == TRACE
    assert (
        submitted.attributes.items()
        >= {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": TOPIC,
            "messaging.destination.partition.id": "3",
            "messaging.consumer.group.name": GROUP,
            "eurouter.record.outcome": "accepted",
        }.items()
    )
    assert (alone.parent_id, len(over)) == ("", 2)
    told = {str(span.attributes["eurouter.response.id"]): span.traceparent for span in over}
    assert told == traces


async def test_records_say_in_their_spans_what_became_of_them_and_those_left_for_later_too(tmp_path: Path) -> None:
    tracer, over = keeping()
    async with intake_world(f"sqlite:///{tmp_path / 'jobs.db'}", tracer) as world:
        await world.acceptance.accept([asking(1)])
        await world.acceptance.accept([asking(1), asking(2, model="no/such"), record(b"{broken", offset=3)])
        outcomes = [span.attributes["eurouter.record.outcome"] for span in over]
        assert outcomes == ["accepted", "accepted", "rejected"]
        assert (over[2].attributes["error.type"], over[2].fault) == ("unknown_model", False)

        async def away(_jobs: object) -> object:
            raise StoreError("the database is away")

        world.database.database.jobs.accept_many = away  # type: ignore[method-assign,assignment]
        with pytest.raises(TryLaterError):
            await world.acceptance.accept([asking(4)])
    assert over[3].attributes["eurouter.record.outcome"] == "later"


async def test_a_record_that_nobody_trusts_to_ask_for_it_has_no_span_and_neither_has_its_job(
    tmp_path: Path,
) -> None:
    tracer, over = keeping(0.0, trust=False)
    async with intake_world(f"sqlite:///{tmp_path / 'jobs.db'}", tracer) as world:
        await world.acceptance.accept([asking(1, SUBMITTER)])
        claimed = await world.database.database.jobs.claim("w", 10, 10.0, owner_cap=10)
    assert over == []
    (job,) = claimed.run
    assert job.trace["traceparent"].startswith(f"00-{TRACE}-")
    assert job.trace["traceparent"].endswith("-00")


async def test_what_is_published_for_a_recorded_job_has_a_span_and_keeps_its_header() -> None:
    tracer, over = keeping()
    bench = Bench()

    def with_trace(row: OutboxRow, *, small: bool) -> Message | None:
        made = render(row, small=small)
        assert made is not None
        return Message(made.topic, made.key, made.value, row.record.headers)

    for given in (SUBMITTER, UNSAMPLED, "", "no trace"):
        headers = [("traceparent", given.encode())] if given else []
        bench.outbox.put(OutboxRecord(OutboxKind.DEAD_LETTER, None, headers, b"v", topic="t"))
    relay = Relay(
        "r", bench.outbox, bench.broker.make, with_trace, bench.telemetry, clock=lambda: bench.now, tracer=tracer
    )
    await relay.turn()
    assert bench.broker.log[0].headers == [("traceparent", SUBMITTER.encode())]
    assert len(bench.broker.log) == 4
    (span,) = over
    assert (span.name, span.kind, span.trace_id, span.parent_id) == (
        "send t",
        Kind.PRODUCER,
        TRACE,
        SUBMITTER[36:52],
    )
    assert span.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "t",
        "messaging.message.body.size": 1,
        "messaging.kafka.message.tombstone": False,
    }
    assert not span.fault
    assert span.ended >= span.started


@pytest.mark.slow
async def test_by_a_real_broker_a_job_is_told_from_its_record_to_its_result(kafka: Kafka, tmp_path: Path) -> None:
    async with (
        Collector() as collector,
        kafka_world(
            tmp_path, kafka, f"test-{os.getpid()}-trace", {"telemetry": {"endpoint": collector.url}}
        ) as world,
    ):
        world.door.up.alpha.enqueue(Script(text="told"))
        given = {"content-type": "application/json", "traceparent": SUBMITTER}
        told = await world.result(await world.submit(orjson.dumps(asked_by_record(text="hi")), given))
        (process,) = await collector.named(f"process {world.name('requests')}")
        (run,) = await collector.named("run job")
        (send,) = await collector.named(f"send {world.name('results')}")
        assert (process.trace_id, process.parent_id) == (TRACE, SUBMITTER[36:52])
        assert run.link == (TRACE, process.span_id)
        assert (send.trace_id, send.parent_id) == (TRACE, process.span_id)
        assert told.headers["traceparent"] == process.traceparent.encode()
        assert [span.name for span in collector.below(run)] == ["chat one"]
