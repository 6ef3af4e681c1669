"""One machine as a whole Kubernetes cluster: upstream's own control plane and node, started in our namespaces.

Each is a real process: etcd, API server, controller manager, scheduler, containerd, kubelet, kube-proxy; names are
resolved by a CoreDNS in a pod. To be used inside of `tests.cluster.inside` only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.cluster import configuration
from tests.cluster.configuration import ADDRESS, NODE, SERVICES
from tests.cluster.inside import FOLDER
from tests.cluster.prepare import CONTAINERD, IMAGES, NODE_PROGRAMS, SHIM
from tests.kube.cluster import Cluster, running

SOCKET: Final = Path("/run/containerd/containerd.sock")
_READY_WITHIN: Final = 120.0
_ENDS_WITHIN: Final = 20.0


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster with one ready node, our images and names; all of it ends with the context.

    Raises:
        RuntimeError: a part did not start; the text has the end of what it wrote.
    """
    folder = Path(os.environ[FOLDER])
    _make_links()
    configuration.write(folder)
    with ExitStack() as stack:
        control = folder / "control"
        control.mkdir()
        made = stack.enter_context(running(control, *_of_the_server(), hosts=configuration.HOSTS))
        for name, command in _programs(folder, made.kubeconfig).items():
            stack.enter_context(_process(folder / f"{name}.log", command))
            if name == "containerd":
                _wait_for(folder, "containerd", SOCKET.exists)
                _import()
        _wait_for(folder, "kubelet", lambda: _is_ready(made))
        made.kubectl("apply", "-f", "-", stdin=configuration.names())
        made.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=90s")
        yield made


def _of_the_server() -> Sequence[str]:
    return (
        "--bind-address=0.0.0.0", f"--advertise-address={ADDRESS}", "--endpoint-reconciler-type=lease",
        f"--service-cluster-ip-range={SERVICES}", "--allow-privileged=false",
        # For logs and exec. By its name it would be looked for in a DNS that knows of no node.
        "--kubelet-preferred-address-types=InternalIP",
    )  # fmt: skip


def _programs(folder: Path, kubeconfig: Path) -> dict[str, list[str]]:
    control, node = folder / "control", str(NODE_PROGRAMS.binary())
    return {
        "containerd": [
            str(CONTAINERD.binary()), "containerd", "--config", str(folder / "containerd.toml"),
        ],
        "kube-controller-manager": [
            node, "kube-controller-manager", f"--kubeconfig={kubeconfig}", "--leader-elect=false",
            f"--service-account-private-key-file={control / 'server.key'}",
            f"--root-ca-file={control / 'authority.pem'}",
            # Sooner than upstream: a pod on a node that is gone is nothing that is looked at here.
            "--horizontal-pod-autoscaler-sync-period=5s",
        ],
        "kube-scheduler": [node, "kube-scheduler", f"--kubeconfig={kubeconfig}", "--leader-elect=false"],
        "kubelet": [
            node, "kubelet", f"--config={folder / 'kubelet.yaml'}", f"--kubeconfig={kubeconfig}",
            f"--hostname-override={NODE}", f"--node-ip={ADDRESS}", f"--root-dir={folder / 'kubelet'}",
            f"--cert-dir={folder / 'kubelet-certificates'}",
        ],
        "kube-proxy": [node, "kube-proxy", f"--config={folder / 'proxy.yaml'}", f"--hostname-override={NODE}"],
    }  # fmt: skip


def _make_links() -> None:
    """An address of the node's own, which pods and the servers outside of the cluster call each other by."""
    for command in (
        "link add node0 type bridge", f"address add {ADDRESS}/24 dev node0", "link set node0 up",
        f"route add default via {ADDRESS} dev node0",
    ):  # fmt: skip
        subprocess.run(["ip", *command.split()], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="utf-8")
    # Without it a pod's call to a Service whose pod is on the same bridge comes back past the translation.
    Path("/proc/sys/net/bridge/bridge-nf-call-iptables").write_text("1", encoding="utf-8")


def ctr(*arguments: str | Path) -> str:
    """Run containerd's command in the namespace of Kubernetes' containers; what it wrote."""
    ran = subprocess.run(
        [CONTAINERD.binary(), "ctr", "--address", SOCKET, "--namespace", "k8s.io", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ran.returncode != 0:
        raise RuntimeError(f"ctr {' '.join(map(str, arguments))}: {ran.stderr}")
    return ran.stdout


def _import() -> None:
    for image in IMAGES:
        ctr("images", "import", image.archive())


def _is_ready(cluster: Cluster) -> bool:
    said = cluster.ask("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=1s")
    return said.good


@contextmanager
def _process(log: Path, command: list[str]) -> Iterator[None]:
    path = f"{SHIM.folder()}:{os.environ['PATH']}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path},
        )  # fmt: skip
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(folder: Path, name: str, ready: object) -> None:
    assert callable(ready)
    until = time.monotonic() + _READY_WITHIN
    while not ready():
        if time.monotonic() > until:
            wrote = (folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"{name} is not ready: {wrote[-4000:]}")
        time.sleep(0.2)
