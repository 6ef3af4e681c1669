"""Load on an installation while something happens to it: a client in a pod that balances by itself, and jobs.

The client is docs/kubernetes/scale.md's in Python, run in a namespace that may call, over the headless Service.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import yaml

from tests.clients.prepare import ROOT
from tests.cluster.prod import Prod
from tests.cluster.world import NAMESPACE
from tests.deploy.manifests import release
from tests.kube.cluster import KUBECTL, Cluster

CALLERS: Final = "team-a"
_TARGET: Final = "dns:///eurouter-headless.eurouter.svc.cluster.local:50051"
_EVERY: Final = 0.25
"""Seconds between two jobs."""


@dataclass
class Jobs:
    """The background responses of a load: `accepted` by id, and what was said to those that weren't."""

    accepted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@dataclass
class Load:
    """What came of it, once it is over. `calls`: of the balancing client; `failed`: what was said to each."""

    jobs: Jobs = field(default_factory=Jobs)
    calls: int = 0
    failed: list[str] = field(default_factory=list)


def caller(cluster: Cluster) -> None:
    """A pod that calls, in a namespace whose pods may."""
    script = (ROOT / "tests" / "clients" / "python" / "balanced.py").read_text(encoding="utf-8")
    place = {"name": "caller", "namespace": CALLERS}
    container = {
        "name": "caller", "image": f"eurouter:{release()}",
        "command": ["python", "-c", "import time; time.sleep(3600)"],
        "volumeMounts": [{"name": "scripts", "mountPath": "/scripts"}],
    }  # fmt: skip
    pod = {
        "containers": [container], "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "scripts", "configMap": {"name": "caller"}}],
    }  # fmt: skip
    labels = {"eurouter.access": "true"}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CALLERS, "labels": labels}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": place, "data": {"balanced.py": script}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": place, "spec": pod},
    ]
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
    cluster.kubectl("-n", CALLERS, "wait", "--for=condition=Ready", "pod/caller", "--timeout=60s")


@contextmanager
def load(prod: Prod) -> Iterator[Load]:
    """Calls and jobs while the context lasts; what came of them stands in it afterwards."""
    made = Load()
    over = threading.Event()
    variables = [f"EUROUTER_TARGET={_TARGET}", f"EUROUTER_KEY={prod.key}", "EUROUTER_MODEL=test/small"]
    client = subprocess.Popen(
        [
            KUBECTL, "-n", CALLERS, "exec", "-i", "caller", "--", "env", *variables,
            "python", "/scripts/balanced.py",
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "KUBECONFIG": str(prod.cluster.kubeconfig)},
    )  # fmt: skip
    jobs = threading.Thread(target=_submit, args=(prod, made.jobs, over))
    jobs.start()
    try:
        yield made
    finally:
        over.set()
        jobs.join()
        said, complaint = client.communicate(timeout=60)
    assert client.returncode == 0, complaint
    totals = json.loads(said)
    made.calls, made.failed = totals["calls"], totals["failed"]


def _submit(prod: Prod, jobs: Jobs, over: threading.Event) -> None:
    # Each by a connection of its own, through the Service's address.
    while not over.wait(_EVERY):
        answer = prod.job("test/slow")
        if answer.status == 200:
            jobs.accepted.append(str(answer.json()["id"]))
        else:
            jobs.refused.append(f"{answer.status} {answer.text}")


@dataclass(frozen=True, slots=True)
class End:
    """How a pod ended: its program's exit code, and the seconds since it was told to."""

    pod: str
    code: int
    seconds: float


@contextmanager
def ends(cluster: Cluster) -> Iterator[list[End]]:
    """The pods that end while the context lasts; the list is filled when it is over."""
    found: list[End] = []
    watch = subprocess.Popen(
        [KUBECTL, "-n", NAMESPACE, "get", "pods", "--watch", "-o", "json"], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
    )  # fmt: skip
    output: list[str] = []
    reader = threading.Thread(target=lambda: output.append(watch.communicate()[0]))
    reader.start()
    try:
        yield found
    finally:
        time.sleep(1)
        watch.terminate()
        reader.join()
    found += endings("".join(output))


def endings(text: str) -> list[End]:
    """How pods ended, by what a watch told: objects as JSON, one after the other, the last one perhaps cut."""
    told, over = dict[str, float](), dict[str, End]()
    for one in _objects(text.strip()):
        name = one["metadata"]["name"]
        # The timestamp is when the grace period will be over; at the very end both are set anew.
        if (until := one["metadata"].get("deletionTimestamp")) and name not in told:
            told[name] = _seconds(until) - one["metadata"].get("deletionGracePeriodSeconds", 0)
        ended = _terminated(one)
        if name in told and ended is not None:
            over[name] = End(name, int(ended["exitCode"]), _seconds(ended["finishedAt"]) - told[name])
    return list(over.values())


def _objects(text: str) -> Iterator[dict[str, Any]]:
    decoder, position = json.JSONDecoder(), 0
    while position < len(text):
        try:
            one, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError:
            return  # cut off when the watch was ended
        yield one
        while position < len(text) and text[position].isspace():
            position += 1


def _terminated(one: dict[str, Any]) -> dict[str, Any] | None:
    statuses = {each["name"]: each for each in one.get("status", {}).get("containerStatuses", [])}
    ended: dict[str, Any] | None = statuses.get("eurouter", {}).get("state", {}).get("terminated")
    return ended


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
