"""Who may talk to whom: the NetworkPolicies, read as a network plugin would read them."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.manifests import SERVICE, WORKER, main_container, migration, overlay, settings, workload
from tests.deploy.objects import Object, Workload, matches, of_kind, workloads

INTERNET: Final = ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c")
INSIDE: Final = (
    "10.1.2.3", "172.20.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "127.0.0.1",
    "fd00:ec2::254", "fe80::1", "::1", "64:ff9b::a9fe:a9fe",
)  # fmt: skip


def rules(found: Workload, name: str, direction: str) -> Iterator[Object]:
    """What is allowed to a pod's, in one direction; nothing else is, once a policy selects it."""
    of_pod = [
        policy["spec"]
        for policy in of_kind(overlay(name), "NetworkPolicy")
        if matches(policy["spec"]["podSelector"], found.labels)
        and direction.capitalize() in policy["spec"]["policyTypes"]
    ]
    assert of_pod, f"{found.title} is not isolated"
    for spec in of_pod:
        yield from spec.get(direction, [])


def reaches(found: Workload, name: str, address: str, port: int) -> bool:
    """Whether a pod may open a connection to an address outside of the cluster."""
    where = ip_address(address)
    for rule in rules(found, name, "egress"):
        if port not in {row["port"] for row in rule["ports"] if row["protocol"] == "TCP"}:
            continue
        for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
            apart = any(where in ip_network(part) for part in block.get("except", []))
            if where in ip_network(block["cidr"]) and not apart:
                return True
    return False


def namespaces(found: Workload, name: str, direction: str) -> set[tuple[str, Any]]:
    """The namespaces, by what selects them, and the ports that are open between them and a pod."""
    side = {"egress": "to", "ingress": "from"}[direction]
    return {
        (f"{key}={value}", row["port"])
        for rule in rules(found, name, direction)
        for peer in rule[side]
        if "namespaceSelector" in peer
        for key, value in peer["namespaceSelector"]["matchLabels"].items()
        for row in rule["ports"]
    }


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_every_pod_is_closed_in_both_directions_but_for_what_is_named(name: str) -> None:
    for found in workloads(overlay(name)):
        for direction in ("ingress", "egress"):
            for rule in rules(found, name, direction):
                assert rule["ports"]
                assert rule["to" if direction == "egress" else "from"]


@pytest.mark.parametrize("which", [SERVICE, WORKER])
@pytest.mark.parametrize("port", [443, 80])
def test_providers_and_media_are_reached_on_the_ports_that_the_settings_allow(
    which: str, port: int, tmp_path: Path
) -> None:
    found = workload("prod", which)
    assert port in settings("prod", found, tmp_path).media.ports
    assert all(reaches(found, "prod", address, port) for address in INTERNET)


@pytest.mark.parametrize("address", INSIDE)
def test_neither_the_cluster_nor_the_clouds_metadata_is_reached_as_if_it_were_the_internet(address: str) -> None:
    for name, which in (("dev", SERVICE), ("prod", SERVICE), ("prod", WORKER)):
        assert not reaches(workload(name, which), name, address, 443)
        assert not reaches(workload(name, which), name, address, 80)


def test_a_migration_reaches_the_database_and_nothing_else() -> None:
    found = migration()
    assert not [address for address in INTERNET if reaches(found, "prod", address, 443)]
    assert namespaces(found, "prod", "egress") == {
        ("kubernetes.io/metadata.name=kube-system", 53),
        ("kubernetes.io/metadata.name=postgresql", 5432),
    }
    assert not namespaces(found, "prod", "ingress")


@pytest.mark.parametrize("which", [SERVICE, WORKER])
def test_database_brokers_and_the_collector_are_the_only_ones_inside(which: str) -> None:
    assert namespaces(workload("prod", which), "prod", "egress") == {
        ("kubernetes.io/metadata.name=kube-system", 53),
        ("kubernetes.io/metadata.name=postgresql", 5432),
        ("kubernetes.io/metadata.name=kafka", 9093),
        ("kubernetes.io/metadata.name=monitoring", 4318),
    }


def test_brokers_are_reached_on_the_port_that_the_settings_name(tmp_path: Path) -> None:
    kafka = settings("prod", workload("prod", WORKER), tmp_path).kafka
    ports = {int(server.rpartition(":")[2]) for server in (kafka.bootstrap_servers or "").split(",")}
    open_ports = {
        port for space, port in namespaces(workload("prod", WORKER), "prod", "egress") if space.endswith("=kafka")
    }
    assert open_ports == ports


def test_callers_come_from_namespaces_that_are_labelled_and_reach_the_doors_only() -> None:
    label = "eurouter.access=true"
    assert namespaces(workload("dev", SERVICE), "dev", "ingress") == {(label, "grpc"), (label, "http")}
    assert namespaces(workload("prod", SERVICE), "prod", "ingress") == {
        (label, "grpc"),
        (label, "http"),
        ("kubernetes.io/metadata.name=monitoring", "admin"),
    }


def test_a_worker_is_reached_by_whoever_scrapes_it_and_by_nobody_else() -> None:
    assert namespaces(workload("prod", WORKER), "prod", "ingress") == {
        ("kubernetes.io/metadata.name=monitoring", "admin")
    }


def test_what_is_scraped_is_the_port_where_metrics_are() -> None:
    for which in (SERVICE, WORKER):
        (monitor,) = [one for one in of_kind(overlay("prod"), "PodMonitor") if one["metadata"]["name"] == which]
        found = workload("prod", which)
        assert matches(monitor["spec"]["selector"], found.labels)
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["path"] == "/metrics"
        assert endpoint["port"] in {port["name"] for port in main_container(found)["ports"]}
