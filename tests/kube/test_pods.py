"""What the server's admission says to the pods, and what their accounts may do.

No controller runs, so that nothing makes pods of the templates; the tests ask the server for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.deploy.objects import Object, Workload, of_kind, workloads
from tests.kube.cluster import Said
from tests.kube.conftest import Installed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

prod_only = pytest.mark.parametrize("installed", ["prod"], indirect=True)


def pod(workload: Workload) -> Object:
    """The pod that a controller would make."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one", "namespace": "eurouter", "labels": dict(workload.labels)},
        "spec": deepcopy(workload.pod),
    }


def made(installed: Installed, one: Object) -> Said:
    """What the server says to a pod, which is not stored."""
    return installed.cluster.ask(
        "create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(one)
    )  # fmt: skip


def test_the_server_admits_a_pod_of_every_template(installed: Installed) -> None:
    found = workloads(installed.objects())
    assert found
    for one in found:
        said = made(installed, pod(one))
        assert (said.code, said.err) == (0, ""), one.title


def as_root(spec: Object) -> None:
    spec["securityContext"]["runAsUser"] = 0


def with_escalation(spec: Object) -> None:
    spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True


def with_a_capability(spec: Object) -> None:
    spec["containers"][0]["securityContext"]["capabilities"] = {"drop": ["ALL"], "add": ["NET_ADMIN"]}


def with_the_nodes_files(spec: Object) -> None:
    spec["volumes"].append({"name": "node", "hostPath": {"path": "/"}})


def without_a_seccomp_profile(spec: Object) -> None:
    del spec["securityContext"]["seccompProfile"]


def in_the_nodes_network(spec: Object) -> None:
    spec["hostNetwork"] = True
    for port in (port for one in spec["containers"] for port in one.get("ports", [])):
        port["hostPort"] = port["containerPort"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (as_root, "runAsUser=0"),
        (with_escalation, "allowPrivilegeEscalation != false"),
        (with_a_capability, "unrestricted capabilities"),
        (with_the_nodes_files, "restricted volume types"),
        (without_a_seccomp_profile, "seccompProfile"),
        (in_the_nodes_network, "host namespaces"),
    ],
)
def test_the_server_refuses_a_pod_that_may_more_than_ours(
    installed: Installed, change: Callable[[Object], None], said: str
) -> None:
    for workload in workloads(installed.objects()):
        one = pod(workload)
        change(one["spec"])
        answer = made(installed, one)
        assert answer.code != 0, workload.title
        assert 'violates PodSecurity "restricted' in answer.err
        assert said in answer.err


def test_no_account_of_ours_may_do_anything_in_the_cluster(installed: Installed) -> None:
    accounts = [one["metadata"]["name"] for one in of_kind(installed.objects(), "ServiceAccount")]
    assert accounts
    # What everybody may: ask what they may do, and read which APIs there are.
    everybody = ("selfsubject", "[/", "clustertrustbundles")
    for name in accounts:
        listed = installed.cluster.kubectl(
            "auth", "can-i", "--list", f"--as=system:serviceaccount:eurouter:{name}", "--namespace=eurouter",
            "--as-group=system:serviceaccounts", "--as-group=system:authenticated",
        )  # fmt: skip
        rights = [line for line in listed.splitlines()[1:] if line.strip()]
        assert rights
        assert not [line for line in rights if not line.strip().startswith(everybody)], name


def test_the_administrator_is_shown_to_be_allowed_everything(installed: Installed) -> None:
    # The list above has a line for each right: this is how one looks.
    assert "*.*" in installed.cluster.kubectl("auth", "can-i", "--list", "--namespace=eurouter")


@prod_only
def test_no_pod_is_given_a_token_that_the_server_would_take(installed: Installed) -> None:
    for one in workloads(installed.objects()):
        answer = installed.cluster.kubectl(
            "create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(pod(one))
        )  # fmt: skip
        mounts = [
            mount["mountPath"] for c in json.loads(answer)["spec"]["containers"] for mount in c["volumeMounts"]
        ]
        assert mounts
        assert not [path for path in mounts if "serviceaccount" in path], one.title
