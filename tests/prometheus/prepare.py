"""Build Prometheus and its promtool for `make alerts-test` and `make dashboards`, and for tests marked slow.

Go builds what go.mod names, held to go.sum, into a folder of the cache: once per content, in about five minutes.
Service discoveries are left out: they are most of the code, and targets stand in a file here.
What could not be had ends nothing: the tests name it as a missing part.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.clients import prepare as clients

CACHE = clients.CACHE.parent / "prometheus"
LIMIT = 1500
"""Seconds that building may take: it took 280 on two cores that were busy."""

_HERE = Path(__file__).parent
_FILES = ("go.mod", "go.sum")
_KEPT = 2
_SCRIPT = """
for program in promtool prometheus; do
  nice go build -mod=mod -tags remove_all_sd -trimpath -ldflags=-s -o $program \
    github.com/prometheus/prometheus/cmd/$program
done
"""


def prepared() -> Path:
    """The folder of what go.mod and go.sum ask for now."""
    digest = hashlib.sha256(b"\0".join((_HERE / name).read_bytes() for name in _FILES) + _SCRIPT.encode())
    return CACHE / digest.hexdigest()[:16]


def available() -> bool:
    """Whether both programs are here."""
    return clients.is_ready(prepared())


def how() -> str:
    """What to do where `available` says no, in one line."""
    if shutil.which("go") is None:
        return "install Go 1.26 or newer, then `make alerts-test`"
    if not (prepared() / "commands.log").exists():
        return "run `make alerts-test` once, which builds it"
    return clients.why_not(prepared())


def program(name: str) -> str:
    """The path of `promtool` or `prometheus`. Call it only where `available` says yes."""
    return str(prepared() / name)


def _build(folder: Path) -> bool:
    with (folder / "commands.log").open("wb") as log:
        try:
            command = ("bash", "-euxc", _SCRIPT)
            done = subprocess.run(command, cwd=folder, stdout=log, stderr=log, timeout=LIMIT, check=False)
        except subprocess.TimeoutExpired:
            log.write(f"\nit took more than {LIMIT} seconds\n".encode())
            return False
    return done.returncode == 0


def main() -> None:
    """Build what is not there yet, and say so."""
    folder = prepared()
    if available():
        os.utime(folder)
        return
    if shutil.which("go") is None:
        clients.say("no Go here: alerts are not tried (install Go 1.26 or newer)")
        return
    clients.say("building Prometheus and promtool (about five minutes the first time)")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in _FILES:
        shutil.copy(_HERE / name, folder)
    began = time.monotonic()
    if _build(folder):
        (folder / ".ready").touch()
        clients.say(f"Prometheus is ready after {time.monotonic() - began:.0f} s")
    else:
        clients.say(f"Prometheus is not built: {clients.why_not(folder)}")
        return
    older = sorted(CACHE.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in older[_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    with clients.alone():
        main()
