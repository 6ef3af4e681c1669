"""`make dashboards`: the real service under load, a real Prometheus on it, every panel of every dashboard drawn.

Writes build/dashboards/*.txt and *.html, and *.png where a Chromium is here. Exit code 1: a panel has nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml

from tests.prometheus import prepare, rules
from tests.prometheus.render import Asked, Json, Span, dashboards, render
from tests.prometheus.world import Load, World
from tests.support.parts import ROOT
from tests.support.running import free_ports

OUT: Final = ROOT / "build" / "dashboards"
STEP: Final = 5
"""Seconds between two scrapes."""


def main() -> int:
    """Runs it all; the exit code."""
    parser = argparse.ArgumentParser(prog="make dashboards")
    parser.add_argument("--seconds", type=int, default=240, help="how long the load lasts")
    seconds = parser.parse_args().seconds
    if not prepare.available():
        return _fail(prepare.how())
    # The simulator's, of connections that go away with a process.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="eurouter-dashboards-") as folder:
        return asyncio.run(_show(Path(folder), seconds))


async def _show(folder: Path, seconds: int) -> int:
    async with World(folder) as world:
        with prometheus(folder, world.targets) as url:
            begin = time.time()
            load = Load(world)
            driving = asyncio.create_task(load.run())
            await _with_faults(world, seconds)
            driving.cancel()
            await asyncio.gather(driving, return_exceptions=True)
            end = time.time()
            span = Span(begin, end, STEP, f"{4 * STEP}s")
            _say(
                f"{load.calls} calls and records in {end - begin:.0f} s; PostgreSQL and Kafka where they are here"
            )
            return await asyncio.to_thread(_draw, Asked(url, span))


async def _with_faults(world: World, seconds: int) -> None:
    """A worker dies after a third and is back soon; after two thirds the database is away for a while."""
    third = seconds / 3
    await asyncio.sleep(third)
    await world.kill("worker-1")
    await asyncio.sleep(5)
    world.begin("worker-1")
    await asyncio.sleep(third - 5)
    away = min(20.0, third / 3)
    await world.database_away(away)
    await asyncio.sleep(third - away)


@contextmanager
def prometheus(folder: Path, targets: dict[str, int]) -> Iterator[str]:
    """A Prometheus with our rules that scrapes these ports by pod, as the operator would; gives its URL."""
    found = rules.groups()
    for rule in (rule for group in found for rule in group["rules"] if "for" in rule):
        # Minutes of waiting would be the whole show.
        rule["for"] = "15s"
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": found}))
    scraped = [
        {
            "job_name": f"eurouter-{part}",
            "honor_labels": True,
            "static_configs": [
                {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "eurouter", "pod": pod}}
                for pod, port in targets.items()
                if pod.startswith(part)
            ],
        }
        for part in ("service", "worker")
    ]
    every = f"{STEP}s"
    settings = {
        "global": {"scrape_interval": every, "scrape_timeout": "4s", "evaluation_interval": every},
        "rule_files": ["rules.yaml"],
        "scrape_configs": scraped,
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    (port,) = free_ports(1)
    command = (
        prepare.program("prometheus"), "--config.file=prometheus.yaml", "--storage.tsdb.path=data",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    )  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/-/ready", folder / "prometheus.log")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise RuntimeError(log.read_text(encoding="utf-8")) from None
            time.sleep(0.1)


def _draw(asked: Asked) -> int:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    for dashboard in dashboards():
        text, page = render(dashboard, asked)
        name = dashboard["uid"].removeprefix("eurouter-")
        (OUT / f"{name}.txt").write_text(text, encoding="utf-8")
        (OUT / f"{name}.html").write_text(page, encoding="utf-8")
        if browser is not None:
            _photograph(browser, OUT / f"{name}.html", OUT / f"{name}.png", _height(dashboard))
    for panel in asked.empty:
        _say(f"nothing in {panel}")
    _say(f"see {OUT.relative_to(ROOT)}")
    return 1 if asked.empty else 0


def _height(dashboard: Json) -> int:
    """About how many pixels it takes."""
    lowest = dashboard["panels"][-1]["gridPos"]
    return int((lowest["y"] + lowest["h"]) * 30 + 260)


def _photograph(browser: str, page: Path, picture: Path, height: int) -> None:
    subprocess.run(
        (
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--window-size=1530,{height}", f"--screenshot={picture}", page.as_uri(),
        ),
        check=False, capture_output=True, timeout=60,
    )  # fmt: skip


def _fail(why: str) -> int:
    _say(why)
    return 1


def _say(line: str) -> None:
    sys.stdout.write(f"==> {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
