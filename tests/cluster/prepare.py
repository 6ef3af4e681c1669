"""Build what a cluster on one machine is made of: `make cluster-test` calls it first, with the network.

Upstream's programs come from Go modules of ours whose `main` is upstream's command, as in `tests.kube.prepare`, in
whose cache they lie, each in a folder that is named after what it is made of. Nothing is built twice.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.clients.prepare import alone, say
from tests.cluster.configuration import COREDNS, PAUSE, PLUGINS
from tests.cluster.images import OfOneProgram, Ours
from tests.kube import prepare as kube
from tests.kube.prepare import CACHE, Program

_SOURCES: Final = Path(__file__).with_name("programs")
_KEPT: Final = 2

NODE_PROGRAMS: Final = Program(
    "kubernetes-node", str(_SOURCES / "node"), "k8s.io/kubernetes", 8, "k8s.io/component-base/version.gitVersion"
)
CONTAINERD: Final = Program(
    "containerd", str(_SOURCES / "containerd"), "github.com/containerd/containerd/v2", 2,
    "github.com/containerd/containerd/v2/version.Version",
)  # fmt: skip
SHIM: Final = Program("containerd-shim-runc-v2", str(_SOURCES / "shim"), "github.com/containerd/containerd/v2", 1)
NAMES: Final = Program("coredns", str(_SOURCES / "coredns"), "github.com/coredns/coredns", 2)
WAITING: Final = Program("pause", str(_SOURCES / "pause"), "", 1)

PROGRAMS: Final = (NODE_PROGRAMS, CONTAINERD, SHIM, NAMES, WAITING)
IMAGES: Final = (OfOneProgram(PAUSE, WAITING), OfOneProgram(COREDNS, NAMES), Ours())
TOOLS: Final = {
    "go": "install Go 1.26 or newer",
    "buildah": "install buildah",
    "runc": "install runc",
    "mmdebstrap": "install mmdebstrap",
    "iptables": "install iptables",
    "ip": "install iproute2",
}


def available() -> bool:
    """Whether everything that a cluster needs is here."""
    return not missing()


def missing() -> str:
    """What is not here and what to do, in one line; "" if all is."""
    for tool, how in TOOLS.items():
        if shutil.which(tool) is None:
            return how
    if not (PLUGINS / "bridge").exists():
        return "install containernetworking-plugins"
    if not kube.available():
        return kube.how()
    if not all(one.binary().exists() for one in PROGRAMS) or not all(one.archive().exists() for one in IMAGES):
        return "run `make cluster-test`, which builds it once (a quarter of an hour)"
    return ""


def versions() -> str:
    """What is built, for a run's header."""
    return ", ".join(f"{one.name} {one.version()}" for one in PROGRAMS if one.module)


def main() -> int:
    """Prepare what is not there yet; the exit code."""
    for tool, how in TOOLS.items():
        if shutil.which(tool) is None:
            say(f"no cluster: {how}")
            return 1
    kube.main()
    for program in PROGRAMS:
        kube.build(program)
    try:
        for image in IMAGES:
            image.make()
    except subprocess.CalledProcessError as error:
        say(f"an image is not built: {error.cmd[0]} ended with {error.returncode}, see {CACHE}")
        return 1
    _prune()
    if reason := missing():
        say(f"no cluster: {reason}")
        return 1
    return 0


def _prune() -> None:
    # A digest of sixteen digits: containerd's shim begins like containerd.
    digest = "[0-9a-f]" * 16
    archives = [f"{name}-{digest}.tar" for name in ("image", "stand-in")]
    for kind in (*(f"{program.name}-{digest}" for program in PROGRAMS), *archives):
        found = sorted(CACHE.glob(kind), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[_KEPT:]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    with alone(CACHE):
        sys.exit(main())
