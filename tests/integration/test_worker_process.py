"""`python -m workers` beside a service: works on its jobs, tells how it is, and leaves in good order."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.providers.simulator import Script
from tests.support.parts import ROOT
from tests.support.postgres import Postgres
from tests.support.responses_door import ResponsesDoor, asked, responses_door
from tests.support.running import until
from tests.support.worker_child import worker_child

DONE = {"completed", "incomplete", "failed", "cancelled"}


def settings(url: str, **more: Any) -> dict[str, Any]:
    jobs = {"here": False, "admin_port": 0, "lease_seconds": 3, **more.pop("jobs", {})}
    return {"database": {"url": url}, "jobs": jobs, "log": {"format": "json"}, **more}


@pytest.fixture
async def door(tmp_path: Path, database_url: str) -> AsyncIterator[ResponsesDoor]:
    async with responses_door(tmp_path, settings(database_url)) as opened:
        yield opened


async def ended(door: ResponsesDoor, response_id: str, seconds: float = 20.0) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        while True:
            found: dict[str, Any] = (await door.call("GET", f"/{response_id}")).json
            if found["status"] in DONE:
                return found
            await asyncio.sleep(0.05)


async def test_a_worker_process_makes_what_a_service_only_accepts(door: ResponsesDoor) -> None:
    door.up.alpha.script(Script(text="one two"))
    waiting = (await door.create(asked(background=True))).json
    await asyncio.sleep(0.3)
    assert (await door.call("GET", f"/{waiting['id']}")).json["status"] == "queued"
    async with worker_child(door.up.upstreams.settings_file) as worker:
        made = await ended(door, waiting["id"])
        assert made["status"] == "completed"
        assert made["output"][0]["content"][0]["text"] == "one two"
        assert await worker.get("/livez") == (200, "ok\n")
        assert await worker.get("/readyz") == (200, "ready\n")
        async with asyncio.timeout(5):
            while "\neurouter_ready 1.0\n" not in (metrics := (await worker.get("/metrics"))[1]):
                await asyncio.sleep(0.05)
        assert 'eurouter_job_runs_total{outcome="completed"} 1.0' in metrics
        assert "hello" not in worker.log.read_text()
    assert worker.process.returncode == 0


async def test_sigterm_lets_a_job_end_and_says_that_it_drains(door: ResponsesDoor) -> None:
    door.up.upstreams.write_settings(settings(_url(door), drain={"finish_seconds": 20}))
    door.up.alpha.script(Script(text="one two three", first_byte_delay=1.5))
    async with worker_child(door.up.upstreams.settings_file) as worker:
        await worker.ready()
        made = (await door.create(asked(background=True))).json
        await until(lambda: len(door.up.alpha.calls) == 1, "it is asked")
        worker.process.send_signal(signal.SIGTERM)
        await until(lambda: bool(worker.events("drain_started")), "the drain begins")
        assert await worker.get("/readyz") == (503, "not ready: draining\n")
        later = (await door.create(asked(background=True))).json
        assert (await ended(door, made["id"]))["status"] == "completed"
        assert await asyncio.wait_for(worker.process.wait(), 10) == 0
    assert (await door.call("GET", f"/{later['id']}")).json["status"] == "queued"
    assert len(door.up.alpha.calls) == 1


async def test_a_job_that_outlasts_the_drain_is_handed_back_uncounted_and_taken_at_once(
    door: ResponsesDoor,
) -> None:
    door.up.upstreams.write_settings(
        settings(_url(door), drain={"finish_seconds": 0.3}, jobs={"lease_seconds": 600})
    )
    door.up.alpha.enqueue(Script(text="never told", first_byte_delay=60), Script(text="told"))
    async with worker_child(door.up.upstreams.settings_file, "first") as first:
        made = (await door.create(asked(background=True))).json
        await until(lambda: len(door.up.alpha.calls) == 1, "it is asked")
        first.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(first.process.wait(), 10) == 0
    assert (await door.call("GET", f"/{made['id']}")).json["status"] == "queued"
    async with worker_child(door.up.upstreams.settings_file, "second"):
        # Not after the lease of ten minutes.
        assert (await ended(door, made["id"]))["output"][0]["content"][0]["text"] == "told"


async def test_a_worker_needs_no_key_and_no_certificate_of_the_doors(door: ResponsesDoor, tmp_path: Path) -> None:
    key = {"id": "a" * 12, "hash": "0" * 64, "owner": "a"}
    tls = {"cert": str(tmp_path / "no.pem"), "key": str(tmp_path / "none.pem")}
    door.up.upstreams.write_settings(
        settings(_url(door), keys=[key], key_pepper="env:NO_PEPPER_HERE", grpc={"tls": tls})
    )
    async with worker_child(door.up.upstreams.settings_file) as worker:
        await worker.ready()


@pytest.mark.slow
async def test_a_worker_whose_database_is_away_says_so_and_works_when_it_is_back(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    async with responses_door(tmp_path, settings(own_postgres.database())) as door:
        waiting = (await door.create(asked(background=True))).json
        own_postgres.stop()
        async with worker_child(door.up.upstreams.settings_file) as worker:
            status, text = await worker.get("/readyz")
            assert status == 503
            assert text.startswith("not ready: database: ")
            assert await worker.get("/livez") == (200, "ok\n")
            own_postgres.start()
            await worker.ready()
            assert (await ended(door, waiting["id"]))["status"] == "completed"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("jobs: {admin_port: 70000}", "jobs.admin_port"),
        ("database: {url: env:NOT_SET_ANYWHERE}", "NOT_SET_ANYWHERE"),
        ("catalog: {path: /nowhere/catalogue.yaml}", "/nowhere/catalogue.yaml"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    arguments = [sys.executable, "-m", "workers", "--config", str(file)]
    done = subprocess.run(arguments, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def _url(door: ResponsesDoor) -> str:
    return door.up.service.watcher.current.database.url or ""
