"""A broker on 127.0.0.1:9092 for trying things out, until Ctrl-C: `make run-kafka`. Its data goes with it."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path

from tests.kafka import prepare
from tests.support.kafka import KafkaCluster, Node

PORT = 9092


class OneBroker(KafkaCluster):
    """A broker whose clients find it at a port that they know."""

    def __init__(self, folder: Path, port: int) -> None:
        self._port = port
        super().__init__(folder)
        # What the base class took for it before the port was set.
        self.bootstrap = f"127.0.0.1:{port}"

    def _of_node(self, node: Node) -> dict[str, str]:
        node.client_port = self._port
        return super()._of_node(node)


def main(arguments: list[str] | None = None) -> int:
    """Runs it; exit code 1: it can't be had here, or ended by itself."""
    parser = argparse.ArgumentParser(prog="make run-kafka", description="A broker for trying things out.")
    parser.add_argument("--port", type=int, default=PORT)
    port = parser.parse_args(arguments).port
    if not prepare.can_start():
        return _fail(prepare.how())
    if _is_taken(port):
        return _fail(f"something listens on 127.0.0.1:{port} already: end it, or use it if it is a Kafka")
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="eurouter-kafka-") as folder:
        broker = OneBroker(Path(folder), port)
        try:
            broker.start()
            process = broker.nodes[0].process
            assert process is not None
            sys.stdout.write(f"==> Kafka on {broker.bootstrap}, without topics; Ctrl-C ends it and its data\n")
            sys.stdout.flush()
            # Ctrl-C reaches the broker, too: it may be the first that ends.
            while not stop.wait(0.5) and process.poll() is None:
                pass
            stopped = stop.wait(1)
        finally:
            broker.close()
    return 0 if stopped else _fail("the broker ended by itself")


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _fail(why: str) -> int:
    sys.stderr.write(f"==> no broker: {why}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
