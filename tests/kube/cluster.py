"""An etcd and a kube-apiserver on free loopback ports, with certificates and tokens made for them; and kubectl.

RBAC is on, and the admission plugins are those that a server has by default: Pod Security among them. It ends with
the context that began it. What is asked of it stands in the tests.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme
import yaml

from tests.kube.prepare import API_SERVER, ETCD, definitions

KUBECTL: Final = Path(sys.executable).with_name("kubectl")

_READY_WITHIN = 90.0
_ENDS_WITHIN = 20.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said: its exit code, and its two outputs."""

    code: int
    out: str
    err: str

    @property
    def good(self) -> bool:
        """Whether it went well."""
        return self.code == 0


class KubectlError(AssertionError):
    """A command that had to go well did not."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server that runs, and the administrator's way to it."""

    folder: Path

    @property
    def kubeconfig(self) -> Path:
        """The file for kubectl."""
        return self.folder / "kubeconfig"

    def ask(self, *arguments: str | Path, stdin: str | None = None) -> Said:
        """Run kubectl, whatever comes of it."""
        ran = subprocess.run(
            [KUBECTL, *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=100,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "KUBECONFIG": str(self.kubeconfig)},
        )  # fmt: skip
        return Said(ran.returncode, ran.stdout, ran.stderr)

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run kubectl; what it wrote.

        Raises:
            KubectlError: it failed; the text is what it said.
        """
        said = self.ask(*arguments, stdin=stdin)
        if not said.good:
            raise KubectlError(f"kubectl {' '.join(map(str, arguments))}: {said.err or said.out}")
        return said.out

    def apply(self, objects: Sequence[dict[str, object]], *options: str) -> Said:
        """Apply objects on the server's side with strict validation: a field that it doesn't know is an error."""
        return self.ask(
            "apply", "--server-side", "--validate=strict", *options, "-f", "-", stdin=yaml.safe_dump_all(objects)
        )  # fmt: skip


@contextmanager
def running(
    folder: Path, *options: str, others_kinds: bool = True, hosts: Sequence[str] = ()
) -> Iterator[Cluster]:
    """A server with its state in an empty folder; it knows the kinds of `prepare.DEFINITIONS`, if it is to.

    `options` are more of kube-apiserver's own; `hosts`: names and addresses besides loopback that it answers for.

    Raises:
        RuntimeError: it did not become ready; the text has the end of what it wrote.
    """
    store, peers, port = _free_ports(3)
    token = secrets.token_urlsafe(24)
    _write_credentials(folder, port, token, hosts)
    with ExitStack() as stack:
        address = f"http://127.0.0.1:{store}"
        stack.enter_context(_process(folder / "etcd.log", _etcd(folder, address, f"http://127.0.0.1:{peers}")))
        server = stack.enter_context(
            _process(folder / "apiserver.log", [*_api_server(folder, address, port), *options])
        )
        cluster = Cluster(folder)
        _wait_until_ready(cluster, server)
        if others_kinds:
            cluster.kubectl("apply", "--server-side", "-f", definitions())
            cluster.kubectl("wait", "--for=condition=Established", "--all", "crd", "--timeout=60s")
        yield cluster


def _etcd(folder: Path, clients: str, peers: str) -> list[str]:
    # Nothing here outlives the test: without fsync a busy disk slows nobody down.
    return [
        str(ETCD.binary()), f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn",
        f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    ]  # fmt: skip


def _api_server(folder: Path, store: str, port: int) -> list[str]:
    # An address to advertise, or it looks for a network interface, and the tests have none. No endpoint
    # reconciler: it refuses a loopback address, and nobody here calls the Service `kubernetes`.
    return [
        str(API_SERVER.binary()), f"--etcd-servers={store}", "--bind-address=127.0.0.1", f"--secure-port={port}",
        "--advertise-address=127.0.0.1", "--external-hostname=127.0.0.1",
        f"--tls-cert-file={folder / 'server.pem'}", f"--tls-private-key-file={folder / 'server.key'}",
        f"--token-auth-file={folder / 'tokens.csv'}", "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'server.key'}",
        f"--service-account-signing-key-file={folder / 'server.key'}",
        "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none",
        f"--cert-dir={folder / 'certificates'}", "--v=0",
    ]  # fmt: skip


def _write_credentials(folder: Path, port: int, token: str, hosts: Sequence[str]) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost", *hosts, key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    for position, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(str(folder / "server.pem"), append=position > 0)
    for name, text in (
        ("tokens.csv", f"{token},administrator,administrator,system:masters\n"),
        ("kubeconfig", _kubeconfig(f"https://127.0.0.1:{port}", folder / "authority.pem", token)),
    ):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")


def _kubeconfig(server: str, authority: Path, token: str) -> str:
    return yaml.safe_dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": "administrator", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "administrator"}}],
    })  # fmt: skip


@contextmanager
def _process(log: Path, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(cluster: Cluster, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _READY_WITHIN
    while not (said := cluster.ask("get", "--raw=/readyz", "--request-timeout=5s")).good:
        if server.poll() is not None or time.monotonic() > until:
            wrote = (cluster.folder / "apiserver.log").read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"the API server is not ready ({said.err.strip()}): {wrote[-3000:]}")
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
