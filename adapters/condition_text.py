"""The gauges of adapters.condition_telemetry for who may not load Prometheus' library yet: as text, made by hand.

That library decides when it is loaded whether it counts for one process or for several.
"""

from __future__ import annotations

from typing import Final

CONDITION: Final = "eurouter_condition"
CONDITION_HELP: Final = (
    "Whether a part of the process is good: 1, or 0 where something is wrong that /readyz tells."
)
READY: Final = "eurouter_ready"
READY_HELP: Final = "Whether the process is ready, as /readyz says: 1, or 0 while it waits, starts or drains."


class ConditionText:
    """The same numbers of a process that is not ready."""

    def __init__(self) -> None:
        self._good: dict[str, bool] = {}

    def show(self, part: str, good: bool) -> None:
        """How a part is from now on."""
        self._good[part] = good

    def render(self) -> bytes:
        """In Prometheus' text format."""
        lines = [f"# HELP {CONDITION} {CONDITION_HELP}", f"# TYPE {CONDITION} gauge"]
        lines += [f'{CONDITION}{{part="{part}"}} {float(good)}' for part, good in self._good.items()]
        lines += [f"# HELP {READY} {READY_HELP}", f"# TYPE {READY} gauge", f"{READY} 0.0"]
        return "".join(f"{line}\n" for line in lines).encode()
