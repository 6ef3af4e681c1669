"""Serving processes side by side as pods behind a headless Service are: one name, one port, an address each.

The addresses are those of loopback that Linux has besides 127.0.0.1. Each process has simulators of its own behind
it, so that their journals say which process took a call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapters.providers.simulator import Script
from tests.support.name_server import changing_names
from tests.support.running import Child, free_ports, running_child

NAME: Final = "eurouter-headless.test"
_ANSWERS_AFTER: Final = 0.02
"""Seconds that the providers take for an answer: calls overlap."""


@dataclass
class Pods:
    """The processes by address; `listed` is what the name has at this moment, `hosts` the same as a file."""

    folder: Path
    stack: AsyncExitStack
    settings: dict[str, Any]
    port: int
    names: str
    listed: list[str]
    up: dict[str, Child] = field(default_factory=dict)

    @property
    def hosts(self) -> Path:
        """For clients that can't be told a name server: a hosts file."""
        return self.folder / "hosts"

    async def add(self, *addresses: str) -> None:
        """Starts a process at each address, and then lists it."""
        for address in addresses:
            folder = self.folder / address
            folder.mkdir()
            settings = {**self.settings, "grpc": {**self.settings["grpc"], "host": address, "port": self.port}}
            self.up[address] = await self.stack.enter_async_context(running_child(folder, settings))
            self.up[address].alpha.script(Script(text="Hello!", first_byte_delay=_ANSWERS_AFTER))
        self.list(*self.listed, *addresses)

    def list(self, *addresses: str) -> None:
        """Changes what the name has."""
        self.listed[:] = addresses
        fresh = self.hosts.with_suffix(".new")
        fresh.write_text("".join(f"{address} {NAME}\n" for address in addresses))
        fresh.replace(self.hosts)

    def calls(self, address: str) -> int:
        """How many calls the process at this address passed on so far."""
        return len(self.up[address].alpha.calls)


@asynccontextmanager
async def pods(folder: Path, settings: dict[str, Any]) -> AsyncIterator[Pods]:
    """No process yet, and a name server; all of it ends with the context."""
    listed: list[str] = []
    async with AsyncExitStack() as stack, changing_names(listed) as names:
        (port,) = free_ports(1)
        yield Pods(folder, stack, settings, port, names, listed)
