"""What the cluster's tests rely on and what a page says of them, checked without a cluster."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.cluster import prepare
from tests.cluster.load import End, endings
from tests.cluster.world import Pod
from tests.kube.prepare import API_SERVER, Program
from tests.support.parts import ROOT


def seen(**status: Any) -> dict[str, Any]:
    """A pod as a watch tells it."""
    return {"metadata": {"name": "one"}, "status": {"containerStatuses": [{"name": "eurouter", **status}]}}


def told_to_end(pod: dict[str, Any], until: str, grace: int) -> dict[str, Any]:
    """The same, once somebody deleted it."""
    pod["metadata"] |= {"deletionTimestamp": until, "deletionGracePeriodSeconds": grace}
    return pod


def test_a_pods_end_is_counted_from_when_it_was_told_and_not_from_the_last_word_on_it() -> None:
    over = {"terminated": {"exitCode": 0, "finishedAt": "2026-11-22T10:00:06Z"}}
    words = [
        seen(state={"running": {}}),
        told_to_end(seen(state={"running": {}}), "2026-11-22T10:01:30Z", 90),
        told_to_end(seen(state=over), "2026-11-22T10:00:07Z", 0),
    ]
    text = "\n".join(json.dumps(word, indent=1) for word in words)
    assert endings(text + '\n{"metadata": {"na') == [End("one", 0, 6.0)]


def test_a_container_that_ended_in_a_pod_that_nobody_deleted_is_no_end_of_a_pod() -> None:
    over = {"terminated": {"exitCode": 1, "finishedAt": "2026-11-22T10:00:06Z"}}
    assert endings(json.dumps(seen(state=over))) == []


def test_a_pod_that_crashes_again_and_again_is_seen_as_one() -> None:
    pod = Pod.of(seen(restartCount=3, state={"waiting": {"reason": "CrashLoopBackOff"}}))
    assert (pod.restarts, pod.reason, pod.ready, pod.going) == (3, "CrashLoopBackOff", False, False)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (prepare.NODE_PROGRAMS, "kubelet and\nkube-proxy {}"),
        (prepare.CONTAINERD, "containerd {}"),
        (prepare.NAMES, "CoreDNS {}"),
    ],
)
def test_the_page_names_the_versions_that_run(program: Program, words: str) -> None:
    page = (ROOT / "docs" / "kubernetes" / "checks.md").read_text(encoding="utf-8")
    assert words.format(program.version().removeprefix("v")) in page


def test_the_nodes_programs_are_of_the_api_servers_version() -> None:
    modules = (ROOT / "tests" / "cluster" / "programs" / "node" / "go.mod").read_text(encoding="utf-8")
    staged = set(re.findall(r"k8s\.io/[\w-]+ => k8s\.io/[\w-]+ (v[\d.]+)", modules))
    assert prepare.NODE_PROGRAMS.version() == API_SERVER.version()
    assert staged == {prepare.NODE_PROGRAMS.version().replace("v1.", "v0.", 1)}
