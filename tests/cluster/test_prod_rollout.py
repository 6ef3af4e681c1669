"""A rolling restart of `overlays/prod` on a node, under calls and jobs."""

from __future__ import annotations

import json
import urllib.request

import pytest

from tests.cluster.load import caller, ends, load
from tests.cluster.prod import DEPLOYMENTS, Prod
from tests.cluster.world import NAMESPACE, SERVICE, rolled_out, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

GRACE_SECONDS = 90
PAUSE_SECONDS = 5


def test_a_rolling_restart_under_load_fails_no_call_and_loses_no_job(prod: Prod) -> None:
    caller(prod.cluster)
    prod.until_settled()
    before = {pod.name for some in prod.pods().values() for pod in some}
    with load(prod) as came:
        until(lambda: len(came.jobs.accepted) > 10, lambda: came)
        with ends(prod.cluster) as ended:
            prod.restart(*DEPLOYMENTS)
            rolled_out(prod.cluster, *DEPLOYMENTS)
            until(
                lambda: not before & {pod.name for some in prod.pods().values() for pod in some},
                lambda: prod.pods(),
            )
            prod.until_settled()
    until(
        lambda: all(prod.status(job) == "completed" for job in came.jobs.accepted),
        lambda: [prod.status(job) for job in came.jobs.accepted],
        90,
    )
    print(f"{came.calls} calls, {len(came.jobs.accepted)} jobs; {ended}")
    assert came.failed == []
    assert came.jobs.refused == []
    assert came.calls > 500
    assert {end.pod for end in ended} == before
    assert {end.code for end in ended} == {0}
    assert all(end.seconds < GRACE_SECONDS for end in ended)
    assert all(end.seconds >= PAUSE_SECONDS - 1 for end in ended if "service" in end.pod)


def test_a_stream_that_is_under_way_is_finished_before_its_pod_ends(prod: Prod) -> None:
    prod.until_settled()
    pod = prod.pods()[SERVICE][0]
    # 16 s: longer than the pause in which a pod that was told to end still takes calls.
    body = {"model": "test/long", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"authorization": f"Bearer {prod.key}", "content-type": "application/json"}
    request = urllib.request.Request(
        f"http://{pod.address}:8080/v1/chat/completions", json.dumps(body).encode(), headers
    )
    with ends(prod.cluster) as ended:
        with urllib.request.urlopen(request, timeout=30) as reply:
            lines = [reply.readline().decode()]
            prod.cluster.kubectl("-n", NAMESPACE, "delete", "pod", pod.name, "--wait=false")
            lines += [line.decode() for line in reply]
        prod.until_settled()
    rolled_out(prod.cluster, *DEPLOYMENTS)
    data = [line.removeprefix("data: ").strip() for line in lines if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    assert sum('"content":' in one for one in data) >= 60
    (end,) = ended
    assert (end.pod, end.code) == (pod.name, 0)
    assert PAUSE_SECONDS + 5 < end.seconds < GRACE_SECONDS
