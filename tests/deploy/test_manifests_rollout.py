"""What becomes of pods that are replaced, moved or stopped, held to what their processes do then."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from service.process import HAND_BACK_SECONDS
from tests.deploy.manifests import (
    LONG_RUNNING,
    SERVICE,
    WORKER,
    everything_that_runs,
    main_container,
    migration,
    one,
    overlay,
    settings,
    workload,
)
from tests.deploy.objects import of_kind

OVERLAYS: Final = ("dev", "prod")
# A process says its last words in half a second, twice, and closes connections and files.
CLOSING: Final = 10.0


@pytest.mark.parametrize(("name", "which"), LONG_RUNNING)
def test_a_pod_waits_for_what_may_still_come(name: str, which: str) -> None:
    command = {SERVICE: "serve", WORKER: "work"}[which]
    assert main_container(workload(name, which))["args"] == [command, "--wait"]
    assert main_container(migration())["args"] == ["db", "migrate", "--wait"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_service_is_not_killed_before_its_drain_is_over(name: str, tmp_path: Path) -> None:
    found = workload(name, SERVICE)
    drain = settings(name, found, tmp_path).drain
    needed = drain.pause_seconds + drain.finish_seconds + HAND_BACK_SECONDS + CLOSING
    assert found.pod["terminationGracePeriodSeconds"] >= needed
    # Who balances over pods hears of it within seconds.
    assert drain.pause_seconds >= 5


def test_a_worker_is_not_killed_before_it_has_handed_its_jobs_back(tmp_path: Path) -> None:
    found = workload("prod", WORKER)
    drain = settings("prod", found, tmp_path).drain
    needed = drain.finish_seconds + HAND_BACK_SECONDS + CLOSING
    assert found.pod["terminationGracePeriodSeconds"] >= needed


def test_no_pod_sleeps_before_it_stops() -> None:
    for found in everything_that_runs():
        assert not [container for container in found.containers() if "lifecycle" in container]


def test_a_changed_setting_replaces_no_pod() -> None:
    """A name with a hash of the content would be another ConfigMap, and another template, at each change."""
    for name in OVERLAYS:
        assert one(name, "ConfigMap", "eurouter-settings")["data"]["settings.yaml"].strip()


@pytest.mark.parametrize(("name", "which"), [("prod", SERVICE), ("prod", WORKER)])
def test_a_rollout_ends_no_old_pod_before_a_new_one_is_ready(name: str, which: str) -> None:
    strategy = one(name, "Deployment", which)["spec"]["strategy"]
    assert strategy["type"] == "RollingUpdate"
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0


def test_two_pods_never_share_the_sqlite_file_of_dev() -> None:
    spec = one("dev", "Deployment", SERVICE)["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    assert not of_kind(overlay("dev"), "HorizontalPodAutoscaler", "PodDisruptionBudget", "ScaledObject", "Job")


@pytest.mark.parametrize("which", [SERVICE, WORKER])
def test_pods_are_spread_over_zones_and_nodes_each_revision_by_itself(which: str) -> None:
    found = workload("prod", which)
    rules = {rule["topologyKey"]: rule for rule in found.pod["topologySpreadConstraints"]}
    assert set(rules) == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    for rule in rules.values():
        assert rule["matchLabelKeys"] == ["pod-template-hash"]
        assert rule["labelSelector"]["matchLabels"].items() <= found.labels.items()
        assert rule["whenUnsatisfiable"] == "ScheduleAnyway"


@pytest.mark.parametrize("which", [SERVICE, WORKER])
def test_a_node_can_always_be_drained(which: str) -> None:
    spec = one("prod", "PodDisruptionBudget", which)["spec"]
    assert spec["maxUnavailable"] not in (0, "0%")
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_argo_cd_migrates_before_pods_and_scales_after_them() -> None:
    """And nothing that the migration needs has a later wave than it, which would wait for each other."""
    wave = "argocd.argoproj.io/sync-wave"
    waves = {
        (found["kind"], found["metadata"]["name"]): int(found["metadata"].get("annotations", {}).get(wave, "0"))
        for found in overlay("prod")
    }
    later = {key for key, number in waves.items() if number > waves["Job", migration().owner["metadata"]["name"]]}
    assert {kind for kind, _ in later} == {"Deployment", "HorizontalPodAutoscaler", "ScaledObject"}
    pods = {number for (kind, _), number in waves.items() if kind == "Deployment"}
    scalers = {waves["HorizontalPodAutoscaler", SERVICE], waves["ScaledObject", WORKER]}
    assert max(pods) < min(scalers)


def test_a_migration_has_all_the_time_that_it_needs_and_a_name_of_its_version() -> None:
    spec = migration().owner["spec"]
    assert not {"activeDeadlineSeconds", "ttlSecondsAfterFinished"} & set(spec)
    assert spec["template"]["spec"]["restartPolicy"] == "OnFailure"
