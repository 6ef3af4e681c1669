"""The group `dialects`: translation by itself. The calls through the service are scenarios like others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bench.fleet import Piped, StartError
from bench.run import Stage

_SECONDS: Final = 0.1
_QUICK_SECONDS: Final = 0.03


def measure(stage: Stage, say: Callable[[str], None]) -> None:
    """Measures when the group was asked for; the figures go to `stage.raw.dialects`."""
    options = stage.options
    if "dialects" not in options.groups:
        return
    say("dialects: translation alone")
    # On the core of the server under test, which is idle meanwhile.
    cores = replace(stage.cores, rest=stage.cores.server)
    timer = Piped("translation", "bench.dialects.pure", cores, stage.folder)
    try:
        asked = {"rounds": options.rounds, "seconds": _QUICK_SECONDS if options.quick else _SECONDS}
        stage.raw.dialects |= timer.ask(asked)
    except StartError as error:
        stage.raw.missing["translation alone"] = str(error)
    finally:
        timer.stop()
