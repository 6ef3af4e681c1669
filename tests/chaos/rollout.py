"""All pods replaced one by one, as a Deployment with maxSurge 1 and maxUnavailable 0 does it, while callers call.

A new one starts; once it is ready it is named; then the old one is asked to leave, and a moment later nobody names
it any more, as names lag behind in a cluster.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.entrance import Entrance
from tests.chaos.foreground import Foreground
from tests.chaos.history import History
from tests.chaos.pods import OURS, Kind, Pod, Pods, Version

_FORGOTTEN_AFTER: Final = 0.5
"""Seconds from SIGTERM until who asks for the name learns that the pod is gone; below the drain's pause."""


@dataclass
class Rollout:
    """`passes`: the version that all pods have after each pass. `first`: the pods that run when it begins."""

    pods: Pods
    first: Sequence[Pod]
    passes: Sequence[Version] = (OURS, OURS)
    seed: int = 1
    starts: list[float] = field(default_factory=list)
    leaves: dict[Kind, list[float]] = field(default_factory=lambda: {"service": [], "worker": []})
    seconds: float = 0.0
    _entrance: Entrance | None = None
    _foreground: Foreground | None = None

    def begin(self, entrance: Entrance, history: History) -> None:
        """The run begins: who calls, and where what is seen goes."""
        self._entrance = entrance
        self._foreground = Foreground(self.pods.target, entrance, history, self.seed)

    async def play(self, at_least: float) -> None:
        """All passes, with callers who wait for answers; for so many seconds at least."""
        assert self._foreground is not None
        began = time.monotonic()
        calling = asyncio.create_task(self._foreground.run())
        try:
            running: dict[Kind, list[Pod]] = {"service": [], "worker": []}
            for pod in self.first:
                running["service" if pod.address is not None else "worker"].append(pod)
            for version in self.passes:
                await self.pods.migrate(version)
                async with asyncio.TaskGroup() as tasks:
                    for kind, pods in running.items():
                        tasks.create_task(self._roll(kind, pods, version))
            self.seconds = time.monotonic() - began
            await asyncio.sleep(max(0.0, began + at_least - time.monotonic()))
        finally:
            self._foreground.stop()
            await calling

    async def _roll(self, kind: Kind, running: list[Pod], version: Version) -> None:
        """Each of those that run is replaced by one of this version."""
        for old in list(running):
            began = time.monotonic()
            new = await self.pods.start(kind, version)
            self.starts.append(time.monotonic() - began)
            running.append(new)
            self._name(new)
            began = time.monotonic()
            forgetting = asyncio.create_task(self._forget(old))
            await old.member.drain()
            self.leaves[kind].append(time.monotonic() - began)
            await forgetting
            running.remove(old)

    def _name(self, pod: Pod) -> None:
        if pod.address is not None and self._entrance is not None:
            self.pods.name(pod)
            self._entrance.add(pod.address)

    async def _forget(self, pod: Pod) -> None:
        await asyncio.sleep(_FORGOTTEN_AFTER)
        if pod.address is not None and self._entrance is not None:
            self.pods.forget(pod)
            self._entrance.remove(pod.member.name)

    def counts(self) -> Mapping[str, int]:
        """As the last line of the run names them."""
        assert self._foreground is not None
        calls = self._foreground.counts
        retries = calls["retries by HTTP"]
        return {
            "pods replaced": len(self.starts),
            "foreground calls": calls.total() - retries,
            "retries by HTTP": retries,
        }

    def told(self) -> str:
        """What a Deployment's numbers should take into account."""
        slowest = {kind: max(seconds, default=0.0) for kind, seconds in self.leaves.items()}
        passes = ", then ".join(version.name for version in self.passes)
        return (
            f"==> {len(self.starts)} pods replaced in {self.seconds:.0f} s (to {passes}); slowest: ready after "
            f"{max(self.starts, default=0.0):.1f} s, a service gone after {slowest['service']:.1f} s, "
            f"a worker after {slowest['worker']:.1f} s"
        )
