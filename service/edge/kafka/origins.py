"""Where a job came from, as it is stored beside it: what its result has to name, and how that is written."""

from __future__ import annotations

from eurouter.v1 import jobs_pb2

from service.domain.job_store import JobOrigin
from service.edge.kafka.framing import Form
from service.edge.kafka.records import Intake


def origin_of(intake: Intake) -> JobOrigin:
    """The origin of the job that a record asks for."""
    source = intake.source
    stored = jobs_pb2.StoredJobOrigin(
        topic=source.topic,
        partition=source.partition,
        offset=source.offset,
        key=source.key,
        correlation_id=intake.correlation_id,
        protobuf=intake.form is Form.PROTOBUF,
    )
    return JobOrigin(intake.results_topic, stored.SerializeToString())


def read_origin(body: bytes) -> jobs_pb2.StoredJobOrigin:
    """What `origin_of` stored; of a job of another door, whose `body` is empty, nothing is set."""
    return jobs_pb2.StoredJobOrigin.FromString(body)
