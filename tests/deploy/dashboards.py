"""The dashboards' files: `python -m tests.deploy.dashboards` writes the JSON that Grafana imports."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from tests.deploy.board_calls import DASHBOARD as CALLS
from tests.deploy.board_jobs import DASHBOARD as JOBS
from tests.deploy.board_kafka import DASHBOARD as KAFKA
from tests.deploy.board_overview import DASHBOARD as OVERVIEW
from tests.deploy.board_providers import DASHBOARD as PROVIDERS
from tests.support.parts import ROOT

FOLDER: Final = ROOT / "deploy" / "kubernetes" / "components" / "monitoring" / "dashboards"
DASHBOARDS: Final = (OVERVIEW, CALLS, PROVIDERS, JOBS, KAFKA)


def files() -> dict[Path, str]:
    """The JSON of each dashboard, by its file."""
    return {
        FOLDER / f"{one.uid.removeprefix('eurouter-')}.json": json.dumps(one.json(), indent=2) + "\n"
        for one in DASHBOARDS
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
