"""Nothing of a run stays on the machine, whatever becomes of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import inside
from tests.cluster.world import until
from tests.support.parts import ROOT, require

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

# A process that nobody waits for, in a control group below the run's; a mount, a link.
_LEAVES = """
group=/sys/fs/cgroup/memory/$(basename "$EUROUTER_CLUSTER_FOLDER")/below
mkdir "$group"
sleep 1000 & echo $! > "$group/cgroup.procs"
mount -t tmpfs tmpfs /mnt
ip link add left0 type bridge
echo "$EUROUTER_CLUSTER_FOLDER"
"""


def started(ending: str) -> tuple[subprocess.Popen[str], Path]:
    """A run that leaves things behind and then does as it is told, and its folder."""
    require("namespaces of one's own", inside.FOLDER in os.environ, "run `make cluster-test`, as root on Linux")
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.inside", "sh", "-ec", _LEAVES + ending],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout is not None
    folder = Path(run.stdout.readline().strip())
    assert folder.name.startswith("eurouter-cluster-")
    return run, folder


def left(folder: Path) -> list[str]:
    """What there is of a run on the machine."""
    groups = [str(path / folder.name) for path in inside.hierarchies() if (path / folder.name).exists()]
    mounts = [line for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines() if " /mnt " in line]
    links = [name for _, name in socket.if_nameindex() if name == "left0"]
    return [*groups, *mounts, *links, *([str(folder)] if folder.exists() else [])]


def test_a_command_that_fails_leaves_nothing() -> None:
    run, folder = started("exit 3")
    with run:
        assert run.wait(30) == 3
    assert left(folder) == []


def test_a_run_that_is_told_to_end_leaves_nothing() -> None:
    run, folder = started("sleep 1000")
    with run:
        assert left(folder)
        run.terminate()
        run.wait(30)
    assert left(folder) == []


def test_a_run_that_is_killed_leaves_no_process() -> None:
    run, folder = started("sleep 1000")
    groups = [path / folder.name for path in inside.hierarchies()]
    with run:
        run.send_signal(signal.SIGKILL)
        run.wait(30)
    held = [path for group in groups for path in (group / "cgroup.procs", group / "below" / "cgroup.procs")]
    until(lambda: not any(path.exists() and path.read_text() for path in held), lambda: held, 20)
    for group in groups:
        inside.remove_group(group, 0)
    folder.rmdir()
    assert left(folder) == []
