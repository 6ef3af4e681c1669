"""Runs a console script under cProfile: on after SIGUSR1, off and written after SIGUSR2.

`python -m bench.profiled FILE SCRIPT ARGUMENTS…`. Only the main thread is seen, which is where the event loop
runs; cProfile makes small Python functions look dearer than they are, so compare its shares, not its times.
"""

from __future__ import annotations

import cProfile
import os
import runpy
import signal
import sys
from pathlib import Path


def main() -> None:
    """Never returns before the script does."""
    target, script, *arguments = sys.argv[1:]
    profile = cProfile.Profile()

    def write(*_: object) -> None:
        profile.disable()
        profile.create_stats()
        # Renamed when whole: whoever waits for the file reads all of it.
        draft = Path(f"{target}.draft")
        profile.dump_stats(draft)
        draft.replace(target)

    def begin(*_: object) -> None:
        profile.clear()
        profile.enable()

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, write)
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.fspath(Path.cwd()))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
