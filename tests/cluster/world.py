"""What the tests do on the cluster and see of it: pods, what they say, calls through Services, waiting.

Names of this product stand here; the cluster itself is `node`'s.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.kube.cluster import Cluster

NAMESPACE: Final = "eurouter"
SERVICE: Final = "app.kubernetes.io/component=service"
WORKER: Final = "app.kubernetes.io/component=worker"
ADMIN_PORTS: Final = {SERVICE: 9090, WORKER: 9091}


@dataclass(frozen=True, slots=True)
class Pod:
    """What the API server says of a pod. `reason`: why its program's container waits, as CrashLoopBackOff."""

    name: str
    address: str
    ready: bool
    restarts: int
    reason: str
    going: bool

    @staticmethod
    def of(one: dict[str, Any]) -> Pod:
        status = one.get("status", {})
        ours: dict[str, Any] = next(
            (c for c in status.get("containerStatuses", []) if c["name"] == "eurouter"), {}
        )
        return Pod(
            one["metadata"]["name"],
            status.get("podIP", ""),
            any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])),
            int(ours.get("restartCount", 0)),
            ours.get("state", {}).get("waiting", {}).get("reason", ""),
            "deletionTimestamp" in one["metadata"],
        )


def pods(cluster: Cluster, selector: str) -> list[Pod]:
    """The namespace's pods with these labels, by name."""
    text = cluster.kubectl("-n", NAMESPACE, "get", "pods", "-l", selector, "-o", "json")
    return sorted((Pod.of(one) for one in json.loads(text)["items"]), key=lambda pod: pod.name)


def until(condition: Callable[[], object], what: Callable[[], object], seconds: float = 60.0) -> float:
    """Waits for it; how many seconds that took.

    Raises:
        AssertionError: it did not come true in time; the text is what `what` says then.
    """
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, f"not within {seconds:.0f} s: {what()}"
        time.sleep(0.25)
    return time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP server answered: 0 is nothing."""

    status: int
    text: str

    def json(self) -> Any:
        """The answer, read."""
        return json.loads(self.text)


def ask(address: str, path: str, body: object = None, key: str = "") -> Answer:
    """GET, or POST of a body as JSON, from the node."""
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"http://{address}{path}", data, headers), timeout=20
        ) as reply:
            return Answer(reply.status, reply.read().decode())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode())
    except OSError as error:
        return Answer(0, str(error))


def readiness(pod: Pod, selector: str) -> Answer:
    """What a pod's /readyz says to whoever asks."""
    return ask(f"{pod.address}:{ADMIN_PORTS[selector]}", "/readyz")


def service_address(cluster: Cluster, port: int) -> str:
    """The Service's own address, which kube-proxy translates."""
    found = cluster.kubectl("-n", NAMESPACE, "get", "service", "eurouter", "-o", "jsonpath={.spec.clusterIP}")
    return f"{found}:{port}"


def rolled_out(cluster: Cluster, *names: str, seconds: int = 120) -> None:
    """Waits until all pods of these Deployments are of the newest revision and available."""
    for name in names:
        said = cluster.ask(
            "-n", NAMESPACE, "rollout", "status", f"deployment/{name}", f"--timeout={min(seconds, 90)}s"
        )  # fmt: skip
        assert said.good, f"{said.err}\n{state(cluster)}"


def state(cluster: Cluster) -> str:
    """Pods, events and last words: for the message of a test that failed."""
    logs = "logs -l app.kubernetes.io/name=eurouter --tail=8"
    asked = ("get pods -o wide", "get events --sort-by=.lastTimestamp", logs)
    return "\n".join(cluster.ask("-n", NAMESPACE, *words.split()).out[-3500:] for words in asked)


def inside(cluster: Cluster, pod: str, *command: str) -> str:
    """What a command says that runs in the program's container."""
    return cluster.kubectl("-n", NAMESPACE, "exec", pod, "-c", "eurouter", "--", *command)


@dataclass(frozen=True, slots=True)
class Rights:
    """What the program in a pod may do, by what it says of itself. `writes`: the folders that it can write to."""

    user: int
    group: int
    groups: list[int]
    capabilities: int
    no_new_privileges: bool
    seccomp: bool
    token: bool
    writes: list[str]


_RIGHTS: Final = """
import json, os
status = dict(line.split(':\t', 1) for line in open('/proc/1/status').read().splitlines())
def writes(folder):
    try:
        open(folder + '/written', 'w').close()
        os.unlink(folder + '/written')
        return True
    except OSError:
        return False
folders = ['/', '/etc/eurouter/secrets', '/etc/eurouter/settings', '/opt/eurouter', '/tmp', '/var/lib/eurouter']
print(json.dumps({
    'user': os.getuid(), 'group': os.getgid(), 'groups': os.getgroups(),
    'capabilities': int(status['CapEff'], 16) | int(status['CapPrm'], 16) | int(status['CapBnd'], 16),
    'no_new_privileges': status['NoNewPrivs'] == '1', 'seccomp': status['Seccomp'] == '2',
    'token': os.path.exists('/var/run/secrets/kubernetes.io'), 'writes': [one for one in folders if writes(one)],
}))
"""


def rights(cluster: Cluster, pod: str) -> Rights:
    """Asks within the program's container."""
    return Rights(**json.loads(inside(cluster, pod, "python", "-c", _RIGHTS)))


def volume(path: Path) -> dict[str, Any]:
    """A volume for whatever claim comes first: a folder of the node, that of a pod's group once it is mounted."""
    path.mkdir()
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}
    return {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": path.name},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "local": {"path": str(path)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }  # fmt: skip
