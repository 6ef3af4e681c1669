"""What went in by Kafka came out as it should, word by word at first, and one result for every job in the end."""

from __future__ import annotations

from typing import Any

import orjson
from eurouter.v1 import response_object_pb2

from bench.fleet import StartError
from bench.jobs import postgres
from bench.jobs import verify as jobs_verify
from bench.kafka.sizes import JSON, ON, PROTOBUF
from bench.kafka.world import DLQ, RESULTS, KafkaWorlds
from bench.traffic import UNARY_MODEL, tokens_of
from bench.verify import check_text
from service.edge.kafka import names

_ENDED = "SELECT id, status FROM jobs"


def answers(worlds: KafkaWorlds) -> None:
    """Returns when a record of each form was answered in full by Kafka, and jobs over gRPC as ever.

    Raises:
        StartError: it was not, or words are missing.
    """
    jobs_verify.answers(worlds.off)
    jobs_verify.answers(worlds.on)
    worlds.settle(ON, 2)
    for form in (JSON, PROTOBUF):
        worlds.submit(form=form, model=UNARY_MODEL, count=1)
        (value,) = worlds.ask("results", count=1, values=True).values()
        check_text(f"{ON}, {form}", _said(form, bytes.fromhex(value)), tokens_of(UNARY_MODEL))


def told(worlds: KafkaWorlds) -> int:
    """Returns when every job of the run has its result in the topic, and no record became a dead letter; how many.

    Raises:
        StartError: one has none, there is one of no job, or a job did not end well.
    """
    worlds.off.check()
    worlds.on.check()
    jobs = {row["id"]: row["status"] for row in postgres.ask(worlds.on.url, _ENDED)}
    results = dict(worlds.broker.statuses(RESULTS, names.STATUS))
    if jobs != results:
        others = sum(results.get(each) != status for each, status in jobs.items())
        raise StartError(f"{len(jobs)} jobs, {len(results)} results: {others} jobs without the right one")
    if letters := worlds.broker.statuses(DLQ, names.DLQ_REASON):
        raise StartError(f"{len(letters)} records became dead letters: {letters[0][1]}")
    return len(jobs)


def _said(form: str, value: bytes) -> str:
    if form == JSON:
        document: Any = orjson.loads(value)
        return "".join(part["text"] for item in document["output"] for part in item["content"])
    response = response_object_pb2.Response.FromString(value)
    return "".join(part.output_text.text for item in response.output for part in item.message.content)
