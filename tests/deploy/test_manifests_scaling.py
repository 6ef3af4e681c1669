"""What is scaled on what, and that it fits the settings of what is scaled. The query runs in tests/integration."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.deploy.manifests import GIVEN, SERVICE, WORKER, main_container, one, settings, workload


def autoscaler() -> dict[str, Any]:
    spec: dict[str, Any] = one("prod", "HorizontalPodAutoscaler", SERVICE)["spec"]
    return spec


def scaled_object() -> dict[str, Any]:
    spec: dict[str, Any] = one("prod", "ScaledObject", WORKER)["spec"]
    return spec


def trigger(kind: str) -> dict[str, Any]:
    (found,) = [row for row in scaled_object()["triggers"] if row["type"] == kind]
    metadata: dict[str, Any] = found["metadata"]
    return metadata


def test_no_apply_undoes_what_an_autoscaler_did() -> None:
    for which in (SERVICE, WORKER):
        assert "replicas" not in one("prod", "Deployment", which)["spec"]


def test_the_service_is_scaled_on_the_core_that_a_process_can_use_before_it_is_used_up() -> None:
    (metric,) = autoscaler()["metrics"]
    measured, container = metric["containerResource"], main_container(workload("prod", SERVICE))
    assert (measured["name"], measured["container"]) == ("cpu", container["name"])
    assert 40 <= measured["target"]["averageUtilization"] <= 80
    assert container["resources"]["requests"]["cpu"] == "1"
    assert autoscaler()["minReplicas"] >= 2


def test_pods_come_quickly_and_go_slowly() -> None:
    behaviours = [
        autoscaler()["behavior"],
        scaled_object()["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
    ]
    for behaviour in behaviours:
        assert behaviour["scaleUp"]["stabilizationWindowSeconds"] == 0
        assert behaviour["scaleDown"]["stabilizationWindowSeconds"] >= 300


def test_a_service_pod_goes_no_sooner_than_the_one_before_it_has_drained() -> None:
    (policy,) = autoscaler()["behavior"]["scaleDown"]["policies"]
    assert policy["value"] == 1
    assert policy["periodSeconds"] >= workload("prod", SERVICE).pod["terminationGracePeriodSeconds"]


def test_a_worker_more_comes_when_those_that_are_there_are_full(tmp_path: Path) -> None:
    jobs = settings("prod", workload("prod", WORKER), tmp_path).jobs
    assert int(trigger("postgresql")["targetQueryValue"]) == jobs.concurrency
    # One owner's many jobs may keep all of them busy.
    assert jobs.per_owner >= jobs.concurrency * scaled_object()["maxReplicaCount"]


def test_there_is_always_a_worker_and_no_fewer_while_nobody_can_count() -> None:
    spec = scaled_object()
    assert spec["minReplicaCount"] >= 1
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


def test_lag_is_that_of_the_group_which_takes_in(tmp_path: Path) -> None:
    kafka = settings("prod", workload("prod", WORKER), tmp_path).kafka
    metadata = trigger("kafka")
    assert metadata["consumerGroup"] == kafka.intake_group
    assert metadata["consumerGroup"] != kafka.wake_group
    # Without one KEDA counts every topic of the brokers until the group has committed an offset.
    assert metadata["topic"] == kafka.names.submit
    assert metadata["offsetResetPolicy"] == "earliest"  # where intake begins, too
    assert metadata["bootstrapServers"] == kafka.bootstrap_servers
    assert kafka.security.protocol == "SASL_SSL"
    assert metadata["tls"] == "enable"
    assert metadata["sasl"] == (kafka.security.mechanism or "").lower().replace("-", "_").replace("_sha_", "_sha")


def test_the_database_is_named_in_parts_that_a_url_of_ours_has_too() -> None:
    metadata = trigger("postgresql")
    url = urlsplit(GIVEN["database-url"])
    assert (metadata["dbName"], int(metadata["port"])) == (url.path[1:], url.port)
    assert metadata["sslmode"] == "verify-full"
    assert "connection" not in metadata
