"""A cluster for trying things out, as root on Linux: a shell or another command, with a KUBECONFIG for it.

.venv/bin/python -m tests.cluster.inside .venv/bin/python -m tests.cluster [COMMAND ARGUMENT...]
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.cluster import node, prepare
from tests.kube.cluster import KUBECTL


def main() -> int:
    """Runs it; the command's exit code, or 1: a cluster can't be had here."""
    if reason := prepare.missing():
        sys.stderr.write(f"==> no cluster: {reason}\n")
        return 1
    command = sys.argv[1:] or [os.environ.get("SHELL", "sh")]
    with node.cluster() as cluster:
        sys.stdout.write("==> a cluster of one node, with the image; it ends with this command\n")
        sys.stdout.flush()
        # Ctrl-C is for what runs in the shell.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        path = f"{KUBECTL.parent}:{os.environ['PATH']}"
        return subprocess.run(
            command, env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "PATH": path}, check=False
        ).returncode  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
