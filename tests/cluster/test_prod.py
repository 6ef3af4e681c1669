"""`overlays/prod` on a node, PostgreSQL and Kafka outside of it: what pods wait for, and what they do then."""

from __future__ import annotations

import json
import re

import pytest

from tests.cluster.prod import MIGRATION, SECOND_KEY, Prod
from tests.cluster.world import ADMIN_PORTS, NAMESPACE, SERVICE, WORKER, ask, rights, state, until
from tests.support.kafka_reader import Reader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

RESULTS, PARTITIONS = "eurouter.results.v1", 12
BROUGHT_WITHIN = 30.0
"""Seconds: the kubelet's period of 5 here, and a second of ours; a minute and more with a kubelet's own."""


def test_pods_without_secrets_say_which_file_they_wait_for(prod: Prod) -> None:
    for said in prod.said["without secrets"].values():
        assert said.status == 503
        assert "/etc/eurouter/secrets/" in said.text
        assert "put it there (in Kubernetes: the Secret's key '" in said.text


def test_pods_whose_database_is_away_say_so_in_one_line_without_its_password(prod: Prod) -> None:
    for said in prod.said["without a database"].values():
        assert said.status == 503
        assert re.fullmatch(
            r"not ready: database: postgresql://postgresql\.postgresql\.svc\.cluster\.local:5432/eurouter: .+\n?",
            said.text,
        ), said.text


def test_pods_wait_for_the_schema_which_the_job_makes(prod: Prod) -> None:
    assert all("eurouter db migrate" in said.text for said in prod.said["without a schema"].values())
    text = prod.cluster.kubectl("-n", NAMESPACE, "get", "job", MIGRATION, "-o", "json")
    assert json.loads(text)["status"]["succeeded"] == 1


def test_waiting_restarts_and_replaces_no_pod(prod: Prod) -> None:
    now = {pod.name: pod for some in prod.pods().values() for pod in some}
    assert {pod.name for pod in prod.waited} <= set(now)
    assert [pod.name for pod in now.values() if pod.restarts] == []


def test_the_autoscaler_sees_to_two_service_pods_and_one_worker_is_the_least(prod: Prod) -> None:
    found = prod.pods()
    assert (len(found[SERVICE]), len(found[WORKER])) == (2, 1)


def test_every_pod_is_nobody_who_may_nothing_and_writes_nowhere_but_in_its_own_folder(prod: Prod) -> None:
    for pod in (pod for some in prod.pods().values() for pod in some):
        found = rights(prod.cluster, pod.name)
        assert (found.user, found.group, found.groups) == (10001, 10001, [10001])
        assert (found.capabilities, found.no_new_privileges, found.seccomp) == (0, True, True)
        assert not found.token
        assert found.writes == ["/tmp"]


def test_a_key_that_is_put_into_the_settings_opens_without_a_restart(prod: Prod) -> None:
    assert prod.key_seconds < BROUGHT_WITHIN
    assert prod.chat().status == 200


async def test_a_background_response_is_made_by_a_worker_and_told_to_kafka(prod: Prod) -> None:
    accepted = prod.job()
    assert accepted.status == 200, accepted
    response = str(accepted.json()["id"])
    until(lambda: prod.status(response) == "completed", lambda: prod.status(response))
    (worker,) = prod.pods()[WORKER]
    metrics = ask(f"{worker.address}:{ADMIN_PORTS[WORKER]}", "/metrics").text
    (claimed,) = re.findall(r"^eurouter_jobs_claimed_total(?:{.*})? ([0-9.e+]+)$", metrics, re.MULTILINE)
    assert float(claimed) >= 1
    for pod in prod.pods()[SERVICE]:
        assert "\neurouter_jobs_claimed_total" not in ask(f"{pod.address}:{ADMIN_PORTS[SERVICE]}", "/metrics").text
    reader = Reader(prod.outside.broker)
    try:
        await reader.start([RESULTS], PARTITIONS)
        await reader.until(lambda: any(record.key == response.encode() for record in reader.records), "a result")
    finally:
        await reader.stop()


def test_a_providers_key_in_the_secret_switches_it_on_without_a_restart(prod: Prod) -> None:
    before = [pod.name for pod in prod.pods()[SERVICE]]
    assert prod.chat("test/other").status == 503
    prod.patch_secret(**{SECOND_KEY: "a-key-of-the-tests"})
    took = until(lambda: prod.all_answer("test/other"), lambda: f"{prod.chat('test/other')}", 60)
    assert took < BROUGHT_WITHIN
    assert [(pod.name, pod.restarts) for pod in prod.pods()[SERVICE]] == [(name, 0) for name in before]


def test_a_drain_leaves_a_service_pod_that_serves(prod: Prod) -> None:
    before = {pod.name for pod in prod.pods()[SERVICE]}
    said = prod.cluster.ask(
        "drain", "node-1", f"--pod-selector={SERVICE}", "--delete-emptydir-data", "--timeout=25s"
    )
    try:
        # The first one's successor has no other node to go to, so that the second one has to stay.
        assert not said.good
        assert "Cannot evict pod as it would violate the pod's disruption budget" in said.err
        left = [pod for pod in prod.pods()[SERVICE] if pod.ready]
        assert len(left) == 1
        assert left[0].name in before
        assert prod.chat().status == 200
    finally:
        prod.cluster.kubectl("uncordon", "node-1")
    until(lambda: sum(pod.ready for pod in prod.pods()[SERVICE]) == 2, lambda: state(prod.cluster))
