"""An API server on loopback for trying manifests out, until Ctrl-C: `.venv/bin/python -m tests.kube`."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from pathlib import Path

from tests.kube import prepare
from tests.kube.cluster import KUBECTL, running


def main() -> int:
    """Runs it; exit code 1: it can't be had here."""
    if not prepare.available():
        sys.stderr.write(f"==> no API server: {prepare.how()}\n")
        return 1
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="eurouter-kube-") as folder, running(Path(folder)) as cluster:
        sys.stdout.write(f"==> KUBECONFIG={cluster.kubeconfig} {KUBECTL} get namespaces\n")
        sys.stdout.write("==> an API server alone: no pod runs; Ctrl-C ends it and forgets everything\n")
        sys.stdout.flush()
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
