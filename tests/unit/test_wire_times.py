"""Times and durations in JSON."""

import orjson
import pytest
from eurouter.v1 import jobs_pb2 as pb

from service.wire import WireError, parse, render_bytes


def test_a_time_is_rfc_3339_in_utc_and_a_duration_seconds() -> None:
    job = pb.Job()
    job.create_time.FromMicroseconds(1_700_000_000_250_000)
    job.not_before_time.FromSeconds(0)
    stats = pb.QueueStats()
    stats.oldest_runnable_age.FromMilliseconds(2500)
    shown = orjson.loads(render_bytes(job))
    assert (shown["create_time"], shown["not_before_time"]) == ("2023-11-14T22:13:20.250Z", "1970-01-01T00:00:00Z")
    assert "expire_time" not in shown
    assert orjson.loads(render_bytes(stats))["oldest_runnable_age"] == "2.500s"


@pytest.mark.parametrize(
    "text", ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00", "2023-11-14T22:13:20.000000Z"]
)
def test_a_time_reads_from_any_zone(text: str) -> None:
    assert parse(pb.Job, {"create_time": text}).create_time.ToSeconds() == 1_700_000_000


@pytest.mark.parametrize(
    "value", ["yesterday", "", "2023-11-14", "99999-01-01T00:00:00Z", 1_700_000_000, {}, True]
)
def test_what_is_no_time_is_refused_by_its_path(value: object) -> None:
    with pytest.raises(WireError) as caught:
        parse(pb.ListJobsResponse, {"jobs": [{}, {"create_time": value}]})
    assert [path for path, _ in caught.value.violations] == ["jobs[1].create_time"]


@pytest.mark.parametrize("value", ["5", "s", "1e400s", "a long while", 5, []])
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(WireError):
        parse(pb.QueueStats, {"oldest_runnable_age": value})
