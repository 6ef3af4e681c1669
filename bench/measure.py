"""What a process costs: CPU time of all its threads, memory, connections. Linux only, read from outside."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_ESTABLISHED: Final = "01"
_WHOLE_PROCESS: Final = 2  # CPUCLOCK_SCHED of a process, all threads, ended ones too; the bits are Linux's


def supported() -> bool:
    """Whether this system has what this module reads."""
    return _PROC.joinpath("self", "stat").exists()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far, in nanosecond steps (`/proc/PID/stat` counts in 10 ms)."""
    return time.clock_gettime_ns((~pid << 3) | _WHOLE_PROCESS) / 1e9


def family(pid: int) -> tuple[int, ...]:
    """The process and all its descendants that run now."""
    children: dict[int, list[int]] = {}
    for stat in _PROC.glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, at = [pid], 0
    while at < len(found):
        found += children.get(found[at], ())
        at += 1
    return tuple(found)


def family_cpu(pids: tuple[int, ...]) -> dict[int, float]:
    """CPU seconds by process; those that ended are left out."""
    used = {}
    for pid in pids:
        try:
            used[pid] = cpu_seconds(pid)
        except OSError:
            continue
    return used


def spent(before: dict[int, float], after: dict[int, float]) -> dict[int, float]:
    """CPU seconds between two readings, by process; one that was not there at first has used all of its own."""
    return {pid: used - before.get(pid, 0.0) for pid, used in after.items()}


def resident_bytes(pids: tuple[int, ...]) -> int:
    """Resident memory, summed."""
    total = 0
    for pid in pids:
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


def connections(pids: tuple[int, ...], port: int) -> dict[int, int]:
    """How many established connections to a local port each process holds."""
    sockets = _sockets_of(port)
    held = dict.fromkeys(pids, 0)
    for pid in pids:
        for entry in (_PROC / str(pid) / "fd").iterdir():
            try:
                target = str(entry.readlink())
            except OSError:
                continue
            if target.startswith("socket:[") and target[8:-1] in sockets:
                held[pid] += 1
    return held


def _sockets_of(port: int) -> set[str]:
    inodes = set()
    for table in ("tcp", "tcp6"):
        path = _PROC / "net" / table
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _ESTABLISHED and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes
