"""`python -m bench --profile`: the scenarios with the service under cProfile, and where its time went."""

from __future__ import annotations

import pstats
import re
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.fleet import Running, StartError
from bench.run import Stage, Subject
from bench.scenarios import Scenario

_LINES: Final = 40
_SECONDS: Final = 4.0
_WRITE_SECONDS: Final = 15.0
_OURS: Final = r"/(service|adapters|workers|protos)/"


def profile(stage: Stage, scenarios: Iterable[Scenario], written: Path, target: Path) -> None:
    """Profiles the service in every chosen scenario, gRPC and then HTTP; `written` is `bench.profiled`'s file.

    The profiles stay beside `target` as FILE-SCENARIO-DOOR.prof, for pstats or a viewer.

    Raises:
        StartError: a call failed, or the profile did not come.
    """
    for scenario in scenarios:
        if scenario.group not in stage.options.groups:
            continue
        for name in ("ours", "ours-http"):
            if name in stage.subjects and name in scenario.servers:
                subject = stage.subjects[name]
                kept = target.with_name(f"{target.stem}-{_slug(scenario.name)}-{subject.door}.prof")
                calls = _one(stage, subject, scenario, written)
                written.replace(kept)
                show(kept, f"{scenario.name}, {subject.door}: {calls} calls")


def _one(stage: Stage, subject: Subject, scenario: Scenario, written: Path) -> int:
    stage.loads.run(subject.load(scenario, seconds=0.5))
    with recorded(subject.running, written):
        (result,) = stage.loads.run(subject.load(scenario, seconds=_SECONDS))
    calls: int = result["calls"]
    return calls


@contextmanager
def recorded(running: Running, written: Path) -> Iterator[None]:
    """Profiles a process under `bench.profiled` while the block runs; the profile is there afterwards.

    Raises:
        StartError: it did not come.
    """
    written.unlink(missing_ok=True)
    process = running.process
    process.send_signal(signal.SIGUSR1)
    yield
    process.send_signal(signal.SIGUSR2)
    due = time.monotonic() + _WRITE_SECONDS
    while not written.exists():
        if time.monotonic() > due or process.poll() is not None:
            raise StartError(f"the profile did not come:\n{running.tail()}")
        time.sleep(0.05)


def show(path: Path, title: str) -> None:
    """Prints what was dear."""
    print(f"\n##### {title}; whole profile: {path}\n")
    print(f"--- the {_LINES} functions with most time of their own")
    pstats.Stats(str(path)).strip_dirs().sort_stats("tottime").print_stats(_LINES)
    print(f"--- our own functions with what they call, the {_LINES} dearest")
    pstats.Stats(str(path)).sort_stats("cumulative").print_stats(_OURS, _LINES)


def _slug(name: str) -> str:
    return "-".join(re.findall(r"\w+", name))
