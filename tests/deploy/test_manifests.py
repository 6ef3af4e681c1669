"""What the manifests say of each pod, held to the code that runs in it."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from service.arguments import parser_of
from service.settings import Settings
from tests.deploy.manifests import (
    LONG_RUNNING,
    SECRETS,
    SERVICE,
    SETTINGS,
    TREE,
    WORKER,
    everything_that_runs,
    main_container,
    migration,
    one,
    overlay,
    release,
    settings,
    variables,
    workload,
)
from tests.deploy.objects import Workload, of_kind, workloads

OVERLAYS: Final = ("dev", "prod")


def ids(found: Any) -> str:
    return found.title.replace(" ", "-") if isinstance(found, Workload) else str(found)


def test_what_runs_is_a_service_in_both_and_workers_and_a_migration_in_production() -> None:
    found = {name: sorted(one.title for one in workloads(overlay(name))) for name in OVERLAYS}
    assert found["dev"] == ["Deployment eurouter-service"]
    assert found["prod"] == [
        "Deployment eurouter-service",
        "Deployment eurouter-worker",
        f"Job eurouter-migrate-{release().replace('.', '-')}",
    ]


def test_everything_is_of_the_packages_version() -> None:
    for found in everything_that_runs():
        assert {container["image"] for container in found.containers()} == {f"eurouter:{release()}"}, found.title
        assert found.labels["app.kubernetes.io/version"] == release(), found.title


def test_no_version_but_the_packages_stands_in_any_file() -> None:
    """What the renderings don't show: a component's label or a base's image that an overlay covers."""
    said = re.compile(r"(?:eurouter:|newTag: |app\.kubernetes\.io/version: |eurouter-migrate-)(\d+[.-]\d+[.-]\w+)")
    files = sorted(TREE.rglob("*.yaml"))
    versions = {
        (path.name, version.replace("-", "."))
        for path in files
        for version in said.findall(path.read_text(encoding="utf-8"))
    }
    assert len(files) > 20
    assert {version for _, version in versions} == {release()}


@pytest.mark.parametrize("found", everything_that_runs(), ids=ids)
def test_every_command_is_one_that_the_program_takes(found: Workload, capsys: pytest.CaptureFixture[str]) -> None:
    for container in found.containers():
        assert "command" not in container  # the image's own entry point
        parser_of("").parse_args(container["args"])
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", OVERLAYS)
def test_ports_are_those_that_the_settings_open_and_open_to_other_pods(name: str, tmp_path: Path) -> None:
    found = workload(name, SERVICE)
    said = settings(name, found, tmp_path)
    assert {port["name"]: port["containerPort"] for port in main_container(found)["ports"]} == {
        "grpc": said.grpc.port,
        "http": said.http.port,
        "admin": said.admin.port,
    }
    assert {said.grpc.host, said.http.host, said.admin.host} == {"0.0.0.0"}


def test_a_workers_port_is_the_one_of_its_settings(tmp_path: Path) -> None:
    found = workload("prod", WORKER)
    said = settings("prod", found, tmp_path)
    (port,) = main_container(found)["ports"]
    assert (port["name"], port["containerPort"]) == ("admin", said.jobs.admin_port)
    assert said.jobs.admin_host == "0.0.0.0"


@pytest.mark.parametrize(("name", "which"), LONG_RUNNING)
def test_probes_ask_the_admin_port_and_waiting_for_others_kills_nothing(name: str, which: str) -> None:
    container = main_container(workload(name, which))
    asked = {kind: container[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in asked.values()} == {"admin"}
    # /livez is good while a process waits; /readyz is what tells the truth, and fails nobody.
    assert (asked["startupProbe"]["path"], asked["livenessProbe"]["path"]) == ("/livez", "/livez")
    assert asked["readinessProbe"]["path"] == "/readyz"
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 60
    assert container["livenessProbe"]["timeoutSeconds"] >= 5


@pytest.mark.parametrize("found", everything_that_runs(), ids=ids)
def test_a_pod_may_do_nothing_that_it_need_not(found: Workload) -> None:
    pod = found.pod
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not [key for key in ("hostNetwork", "hostPID", "hostIPC") if key in pod]
    for container in found.containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_user_is_the_images() -> None:
    dockerfile = (TREE.parent / "Dockerfile").read_text(encoding="utf-8")
    (user, *_) = re.findall(r"^USER (\d+)", dockerfile, re.MULTILINE)
    assert {found.pod["securityContext"]["runAsUser"] for found in everything_that_runs()} == {int(user)}


def test_no_account_has_a_token() -> None:
    accounts = [found for name in OVERLAYS for found in of_kind(overlay(name), "ServiceAccount")]
    assert {found["metadata"]["name"] for found in accounts} == {SERVICE, WORKER, "eurouter-migrate"}
    assert all(found["automountServiceAccountToken"] is False for found in accounts)
    kinds = {found["kind"] for name in OVERLAYS for found in overlay(name)}
    assert not kinds & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}


def test_the_namespace_takes_restricted_pods_only() -> None:
    text = (TREE / "namespace" / "namespace.yaml").read_text(encoding="utf-8")
    labels = yaml.safe_load(text)["metadata"]["labels"]
    modes = {mode: labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "warn", "audit")}
    assert set(modes.values()) == {"restricted"}
    assert re.fullmatch(r"v1\.\d+", labels["pod-security.kubernetes.io/enforce-version"])


def test_deleting_production_leaves_the_namespace_with_its_secrets() -> None:
    assert not of_kind(overlay("prod"), "Namespace", "Secret", "PersistentVolumeClaim")
    assert of_kind(overlay("dev"), "Namespace")  # one command for everything, to come and to go


@pytest.mark.parametrize("found", everything_that_runs(), ids=ids)
def test_variables_of_services_never_reach_a_pod(found: Workload) -> None:
    assert found.pod["enableServiceLinks"] is False


def test_were_they_there_no_process_would_take_them_for_settings(tmp_path: Path) -> None:
    """What a kubelet adds for the Services of dev where enableServiceLinks is left out."""
    links: dict[str, str] = {}
    for service in of_kind(overlay("dev"), "Service"):
        name = service["metadata"]["name"].upper().replace("-", "_")
        first, *_ = ports = service["spec"]["ports"]
        links |= {f"{name}_SERVICE_HOST": "10.0.0.9", f"{name}_SERVICE_PORT": str(first["port"])}
        links |= {f"{name}_PORT": f"tcp://10.0.0.9:{first['port']}"}
        for port, part in product(ports, ("", "_PROTO", "_PORT", "_ADDR")):
            links[f"{name}_SERVICE_PORT_{port['name'].upper()}"] = str(port["port"])
            links[f"{name}_PORT_{port['port']}_TCP{part}"] = "of the Service"
    assert "EUROUTER_PORT" in links
    assert Settings.load(None, links) == Settings.load(None, {})


@pytest.mark.parametrize("found", everything_that_runs(), ids=ids)
def test_memory_and_disk_are_bounded_and_the_cpu_is_not_throttled(found: Workload) -> None:
    for container in found.containers():
        resources = container["resources"]
        assert set(resources["limits"]) == {"memory", "ephemeral-storage"}
        assert set(resources["requests"]) == {"cpu", "memory", "ephemeral-storage"}


def test_a_process_asks_for_the_one_core_that_it_can_use() -> None:
    for which in (SERVICE, WORKER):
        found = workload("prod", which)
        assert main_container(found)["resources"]["requests"]["cpu"] == "1"
        assert "EUROUTER_PROCESSES" not in variables(found)


@pytest.mark.parametrize("found", everything_that_runs(), ids=ids)
def test_settings_and_secrets_are_folders_that_follow_their_objects(found: Workload) -> None:
    mounts = {mount["mountPath"]: mount for mount in main_container(found)["volumeMounts"]}
    assert {SETTINGS, SECRETS} <= set(mounts)
    assert not [mount for mount in mounts.values() if "subPath" in mount]
    volumes = {volume["name"]: volume for volume in found.pod["volumes"]}
    assert volumes[mounts[SETTINGS]["name"]]["configMap"]["name"] == "eurouter-settings"
    secret = volumes[mounts[SECRETS]["name"]]["secret"]
    # 0440 and fsGroup: our user reads them, nobody else. Optional: the pod itself says which one is missing.
    assert (secret["secretName"], secret["defaultMode"], secret["optional"]) == ("eurouter-secrets", 0o440, True)
    assert found.pod["securityContext"]["fsGroup"] == 10001


def test_the_migration_sees_the_databases_url_and_no_other_secret() -> None:
    (secret,) = [volume["secret"] for volume in migration().pod["volumes"] if "secret" in volume]
    assert [item["key"] for item in secret["items"]] == ["database-url", "database-ca.crt"]


def test_grpc_and_http_have_a_name_and_say_what_is_spoken() -> None:
    for name in OVERLAYS:
        ports = {port["name"]: port for port in one(name, "Service", "eurouter")["spec"]["ports"]}
        said = {port: (row["appProtocol"], row["targetPort"]) for port, row in ports.items()}
        assert said == {"grpc": ("kubernetes.io/h2c", "grpc"), "http": ("http", "http")}


def test_a_client_that_balances_by_itself_finds_the_pods_that_are_ready() -> None:
    spec = one("prod", "Service", "eurouter-headless")["spec"]
    assert spec["clusterIP"] == "None"
    assert "publishNotReadyAddresses" not in spec
    assert [port["name"] for port in spec["ports"]] == ["grpc"]
