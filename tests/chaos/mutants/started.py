"""How a mutant is started: as `python -m workers` is, with a worker of its own making."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from service.engine import Start
from service.settings import Settings
from service.worker_service import WorkerService, work


def main(make: Callable[[Settings, Start], WorkerService]) -> int:
    """Works until told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    config = parser.parse_args().config
    return work(Settings.load(config, os.environ), config, make)
