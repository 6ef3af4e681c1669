"""What a result was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from bench.fleet import ROOT, Cores

_PACKAGES: Final = ("grpcio", "protobuf", "aiohttp", "httpx", "httpx-aiohttp", "orjson", "uvloop", "structlog")


def describe(cores: Cores) -> dict[str, Any]:
    """Processor, system, versions, and how busy the machine was before the run."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "server_cores": sorted(cores.server),
        "load_and_upstream_cores": sorted(cores.rest),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average_before": [round(value, 2) for value in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "revision": _revision(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _revision() -> str:
    """The commit, with a mark when the tree differs from it; empty outside a checkout."""
    try:
        command = ("git", "describe", "--always", "--dirty")
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
