"""What a fetch may cost and whom it may ask. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Limits of what is fetched.

    `max_bytes` of one thing, `max_call_bytes` of all of them, of which there are `max_count` at most;
    `max_held_bytes` of all calls that one process has under way. One may take
    `seconds` with all its redirects, of which it has at most `redirects`; `parallel` run at a time. `hosts`: only
    these, where there are any; `*.NAME` is all below NAME. `allow_http`: without TLS, too.
    """

    max_bytes: int = 20 * MIB
    max_call_bytes: int = 50 * MIB
    max_held_bytes: int = 256 * MIB
    max_count: int = 50
    seconds: float = 10.0
    parallel: int = 4
    redirects: int = 3
    allow_http: bool = False
    ports: tuple[int, ...] = (443, 80)
    hosts: tuple[str, ...] = ()

    def allows(self, host: str) -> bool:
        """Whether `host` (in ASCII) may be asked."""
        if not self.hosts:
            return True
        name = host.lower().rstrip(".")
        return any(name.endswith(row[1:]) if row.startswith("*.") else name == row for row in self.hosts)
