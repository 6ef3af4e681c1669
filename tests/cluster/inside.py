"""Run a command in namespaces of its own (network, processes, mounts), where a node can run and leave no traces.

Usage, as root on Linux: python -m tests.cluster.inside COMMAND ARGUMENT...
Whatever becomes of the command, its processes end with the process namespace, its links and rules with the
network, its mounts with the mount namespace; the control groups and the folder are removed here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.namespace import bring_loopback_up

FOLDER: Final = "EUROUTER_CLUSTER_FOLDER"
"""The variable with the folder for everything that the command keeps; its name is that of the control groups."""

_INSIDE: Final = "--inside"
_ENDS_WITHIN: Final = 60.0
# Where a kubelet, containerd and network plugins write, whatever they are told.
_COVERED: Final = tuple(Path(path) for path in ("/run", "/var/lib/cni", "/var/log/pods", "/var/log/containers"))


def hierarchies() -> list[Path]:
    """The mounted hierarchies of control groups, of both versions."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines())
    return [Path(mount[1]) for mount in mounts if mount[2] in ("cgroup", "cgroup2")]


def why_not() -> str:
    """What keeps this machine from it, in one line; "" if nothing does."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it takes root on Linux"
    if missing := [
        name for name in ("unshare", "setpriv", "ip", "iptables", "runc") if shutil.which(name) is None
    ]:
        return f"install {', '.join(missing)}"
    if not {"cpu", "cpuacct", "cpuset", "memory"} <= {path.name for path in hierarchies()}:
        return "the controllers cpu, cpuacct, cpuset and memory are not mounted as those of version 1"
    tried = subprocess.run(_unshare("true"), capture_output=True, text=True, check=False)
    return tried.stderr.strip()


def _unshare(*command: str) -> list[str]:
    # Whoever kills one of the two, this process or unshare, leaves no process behind.
    spaces = ("--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc")
    return ["setpriv", "--pdeathsig", "KILL", "unshare", *spaces, "--propagation", "private", *command]


@contextmanager
def _groups(name: str) -> Iterator[None]:
    made = [path / name for path in hierarchies()]
    for group in made:
        group.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (group / file).exists():
                (group / file).write_text((group.parent / file).read_text(encoding="utf-8"), encoding="utf-8")
    try:
        yield
    finally:
        until = time.monotonic() + _ENDS_WITHIN
        for group in made:
            remove_group(group, until)


def remove_group(group: Path, until: float) -> None:
    """Removes a control group and those below it: empty ones, at the latest by `until` of the monotonic clock.

    Raises:
        OSError: one is still in use.
    """
    for path in sorted((path for path in group.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts)):
        _remove(path, until)
    _remove(group, until)


def _remove(group: Path, until: float) -> None:
    while True:
        try:
            group.rmdir()
        except OSError:
            # A process that was just killed is still counted for a moment.
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def _run(command: list[str]) -> int:
    folder = Path(tempfile.mkdtemp(prefix="eurouter-cluster-", dir="/var/tmp"))
    made = [path for path in _COVERED if not path.exists()]
    for path in made:
        path.mkdir(parents=True)
    with _groups(folder.name):
        process = subprocess.Popen(
            _unshare(sys.executable, "-m", __spec__.name, _INSIDE, *command),
            env={**os.environ, FOLDER: str(folder)},
        )
        # Ctrl-C reaches the command by itself; it is waited for, so that it can say what it has to.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # unshare lets SIGTERM pass; when it is killed, the kernel kills all that it began.
        signal.signal(signal.SIGTERM, lambda *_: process.kill())
        code = process.wait()
    shutil.rmtree(folder)
    for path in made:
        path.rmdir()
    return code


def _enter(command: list[str]) -> None:
    bring_loopback_up()
    # A kubelet wants its mounts to be seen by containers that begin later. None leaves this namespace.
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    # In memory: images are unpacked sooner, and what is not on a disk need not be removed from it.
    for path in (*_COVERED, Path(os.environ[FOLDER])):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path], check=True)
    os.execvp(command[0], command)


def main() -> int:
    """Run the command; its exit code."""
    command = sys.argv[1:]
    if command[:1] == [_INSIDE]:
        _enter(command[1:])
    if reason := why_not():
        sys.stderr.write(f"==> no cluster: {reason}\n")
        return 1
    return _run(command)


if __name__ == "__main__":
    sys.exit(main())
