"""The simulator as a process of its own: `python -m adapters.providers.simulator --port 9000`."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import signal
import sys
from typing import TYPE_CHECKING, Any

from .formats import BASES
from .server import LABEL, Simulator

if TYPE_CHECKING:
    from collections.abc import Callable


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGINT or SIGTERM. 0: stopped; 2: it could not listen."""
    parser = argparse.ArgumentParser(prog="python -m adapters.providers.simulator", description=LABEL)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=9000, help="0 takes a free one (default 9000)")
    parser.add_argument("--calls-kept", type=int, default=1000, help="size of the journal (default 1000)")
    options = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(_serve(Simulator(host=options.host, port=options.port, calls_kept=options.calls_kept)))
        except (OSError, ValueError) as error:
            sys.stderr.write(f"The simulator can't listen on {options.host}:{options.port}: {error}\n")
            return 2
    return 0


async def _serve(simulator: Simulator) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with simulator:
        sys.stdout.write(f"{LABEL} It listens on {simulator.url} (GET / lists models).\n")
        for dialect, base in BASES.items():
            sys.stdout.write(f"  {dialect:<16} {simulator.url}{base}\n")
        sys.stdout.flush()
        await stop.wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed (it is not on Windows)."""
    try:
        uvloop: Any = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


if __name__ == "__main__":
    sys.exit(main())
