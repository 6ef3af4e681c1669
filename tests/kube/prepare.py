"""Build the API server and its etcd, and fetch the definitions of others' kinds: `make kube-test` calls it first.

The tests have no network. Each program comes from a Go module of ours whose `main` is upstream's command; what is
built lies in a folder of the cache that is named after the module's files. The definitions (KEDA's, the Prometheus
operator's, the Gateway API's) come out of those projects' own Go modules, pinned by version and sum.
What could not be had ends nothing here: the tests name it as a missing part.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.clients.prepare import alone, say

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eurouter" / "kube"
INSTALL: Final = "install Go 1.26 or newer, then run `make kube-test`"

_SOURCES: Final = Path(__file__).with_name("server")
_LOG: Final = "commands.log"
_READY: Final = ".ready"
_KEPT: Final = 2
_LIMIT: Final = 1800
"""Seconds that one step may take: a slow machine compiles the API server for a quarter of an hour."""


@dataclass(frozen=True, slots=True)
class Program:
    """A server that is built here: `source` is its folder below `server`, `minutes` counts for two cores."""

    name: str
    source: str
    module: str
    minutes: int
    stamp: str = ""
    """The variable that upstream's build script sets to the version."""

    def folder(self) -> Path:
        """Where the binary of exactly these sources is kept."""
        digest = hashlib.sha256()
        for path in sorted((_SOURCES / self.source).iterdir()):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        return CACHE / f"{self.name}-{digest.hexdigest()[:16]}"

    def binary(self) -> Path:
        """The program, once it is built."""
        return self.folder() / self.name

    def command(self) -> list[str]:
        """What builds it, in the folder of its sources."""
        flags = "-s -w"
        if self.stamp:
            flags += f" -X {self.stamp}={self.version()}"
        return ["go", "build", "-trimpath", f"-ldflags={flags}", "-o", str(self.binary()), "."]

    def version(self) -> str:
        """The version of the module that it is made of.

        Raises:
            LookupError: go.mod doesn't require that module.
        """
        for line in (_SOURCES / self.source / "go.mod").read_text(encoding="utf-8").splitlines():
            words = line.removeprefix("require ").split()
            if len(words) == 2 and words[0] == self.module:
                return words[1]
        raise LookupError(f"{self.source}/go.mod does not require {self.module}")


ETCD: Final = Program("etcd", "etcd", "go.etcd.io/etcd/server/v3", 2)
# Without its stamp the server calls itself v0.0.0-master.
API_SERVER: Final = Program(
    "kube-apiserver", "apiserver", "k8s.io/kubernetes", 8, "k8s.io/component-base/version.gitVersion"
)


@dataclass(frozen=True, slots=True)
class Definitions:
    """CustomResourceDefinitions of one project: files of a Go module, held to the sum that `go` computes of it."""

    project: str
    module: str
    version: str
    sum: str
    files: tuple[str, ...]


DEFINITIONS: Final = (
    Definitions(
        "KEDA", "github.com/kedacore/keda/v2", "v2.21.0", "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
        ("config/crd/bases/keda.sh_scaledobjects.yaml", "config/crd/bases/keda.sh_triggerauthentications.yaml"),
    ),
    Definitions(
        "Prometheus operator", "github.com/prometheus-operator/prometheus-operator", "v0.85.0",
        "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
        tuple(
            f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
            for kind in ("podmonitors", "prometheusrules", "servicemonitors")
        ),
    ),
    Definitions(
        "Gateway API", "sigs.k8s.io/gateway-api", "v1.5.1", "h1:RqVRIlkhLhUO8wOHKTLnTJA6o/1un4po4/6M1nRzdd0=",
        tuple(
            f"config/crd/standard/gateway.networking.k8s.io_{kind}.yaml"
            for kind in ("gateways", "grpcroutes", "httproutes", "backendtlspolicies")
        ),
    ),
)  # fmt: skip


def definitions() -> Path:
    """The folder of the definitions, one file each."""
    return CACHE / f"definitions-{hashlib.sha256(repr(DEFINITIONS).encode()).hexdigest()[:16]}"


def available() -> bool:
    """Whether everything that a server needs is here."""
    return all((folder / _READY).exists() for folder in (ETCD.folder(), API_SERVER.folder(), definitions()))


def how() -> str:
    """What to do where `available` says no, in one line."""
    if shutil.which("go") is None:
        return INSTALL
    for folder in (ETCD.folder(), API_SERVER.folder(), definitions()):
        if (log := folder / _LOG).exists() and not (folder / _READY).exists():
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return f"preparing it failed, see {log}: {lines[-1] if lines else 'nothing was said'}"
    return "run `make kube-test`, which builds it once (10 minutes)"


def versions() -> str:
    """What is built and fetched, for a run's header."""
    programs = [f"{one.name} {one.version()}" for one in (API_SERVER, ETCD)]
    return ", ".join(programs + [f"{one.project} {one.version}" for one in DEFINITIONS])


def build(program: Program) -> None:
    """Build one program if it isn't there yet, and say so."""
    folder = program.folder()
    if (folder / _READY).exists():
        os.utime(folder)
        return
    say(f"building {program.name} from Go modules (up to {program.minutes} minutes on two cores, the first time)")
    began = time.monotonic()
    _empty(folder)
    with (folder / _LOG).open("wb") as log:
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
        built = _run(program.command(), _SOURCES / program.source, log.fileno(), environment)
    if not built:
        say(f"{program.name} could not be built: {how()}")
        return
    (folder / _READY).touch()
    megabytes = program.binary().stat().st_size >> 20
    say(f"{program.name} is ready after {time.monotonic() - began:.0f} s ({megabytes} MB)")


def fetch() -> None:
    """Fetch the definitions if they aren't there yet, and say so."""
    folder = definitions()
    if (folder / _READY).exists():
        os.utime(folder)
        return
    say(f"fetching the definitions of others' kinds ({', '.join(one.project for one in DEFINITIONS)})")
    _empty(folder)
    for one in DEFINITIONS:
        # Outside of any module: a go.mod nearby would have a say in the version.
        ran = subprocess.run(
            ["go", "mod", "download", "-json", f"{one.module}@{one.version}"],
            cwd=folder, capture_output=True, text=True, check=False, timeout=_LIMIT,
        )  # fmt: skip
        said = json.loads(ran.stdout or "{}")
        if ran.returncode != 0 or said.get("Sum") != one.sum:
            reason = said.get("Error") or ran.stderr or f"its sum is {said.get('Sum')}, not {one.sum}"
            (folder / _LOG).write_text(f"{one.module}@{one.version}: {reason.strip()}\n", encoding="utf-8")
            say(f"the definitions are not there: {how()}")
            return
        for name in one.files:
            shutil.copyfile(Path(said["Dir"]) / name, folder / Path(name).name)
    (folder / _READY).touch()


def main() -> None:
    """Prepare what is not there yet."""
    if not available() and shutil.which("go") is None:
        say(f"no Kubernetes API server: {INSTALL}")
        return
    build(ETCD)
    build(API_SERVER)
    fetch()
    for kind in ("etcd-*", "kube-apiserver-*", "definitions-*"):
        for path in sorted(CACHE.glob(kind), key=lambda path: path.stat().st_mtime, reverse=True)[_KEPT:]:
            shutil.rmtree(path, ignore_errors=True)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _run(command: list[str], folder: Path, log: int, environment: dict[str, str]) -> bool:
    try:
        ran = subprocess.run(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, timeout=_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return ran.returncode == 0


if __name__ == "__main__":
    # A lock of its own: whoever fetches for other tests has no need to wait for a compiler.
    with alone(CACHE):
        main()
    sys.exit(0 if available() else 1)
