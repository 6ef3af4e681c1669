"""A dump amid many jobs, and recovery to a moment: what docs/kubernetes/backup.md says of PostgreSQL."""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from adapters.providers.simulator import Script
from tests.support import backups, postgres
from tests.support.background import OVER, ended, follow, worker_child
from tests.support.postgres import Postgres
from tests.support.responses_door import TERMINAL, ResponsesDoor, asked, responses_door
from tests.support.running import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WORKERS: Final = 2
JOBS: Final = 160
SETTINGS: Final[dict[str, Any]] = {
    "jobs": {"here": False, "lease_seconds": 3, "concurrency": 8, "admin_port": 0},
    "drain": {"finish_seconds": 1},
}


@asynccontextmanager
async def service_and_workers(folder: Path, url: str, text: str) -> AsyncIterator[ResponsesDoor]:
    """On this database; the provider streams the text's words, 20 ms each."""
    folder.mkdir()
    async with responses_door(folder, {**SETTINGS, "database": {"url": url}}) as door:
        door.up.alpha.script(Script(text=tuple(f"{text} {n} " for n in range(20)), pace=0.02))
        async with worker_child(door, "one"), worker_child(door, "two"):
            yield door


async def submit(door: ResponsesDoor, number: int, told: dict[str, Any]) -> None:
    """A background response, and what its caller read of it once it was over."""
    body = asked(text=f"job {number}", background=True)
    answer = await door.create(body, headers={"idempotency-key": f"job-{number}"})
    assert answer.status == 200, answer.raw
    told[answer.json["id"]] = await ended(door, answer.json["id"], 60)


async def rows(url: str, sql: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()


async def test_of_a_dump_amid_many_jobs_everything_is_readable_and_what_was_not_over_ends_exactly_once(
    postgres_server: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    told: dict[str, Any] = {}
    async with service_and_workers(tmp_path / "first", postgres_url, "before") as door:
        submitting = []
        for number in range(JOBS):
            submitting.append(asyncio.ensure_future(submit(door, number, told)))
            await asyncio.sleep(0.03)
            if number == JOBS // 2:
                told_before = dict(told)
                dumping = asyncio.ensure_future(backups.dump(postgres_url, tmp_path / "backup"))
        await asyncio.gather(*submitting)
        await dumping

    restored = postgres_server.database()
    await backups.restore(restored, tmp_path / "backup")
    found = {row["id"]: row["status"] for row in await rows(restored, "SELECT id, status FROM responses")}
    unfinished = {job for job, status in found.items() if status not in OVER}
    assert set(told_before) <= set(found) - unfinished, "whoever was told the end before the dump finds it there"
    assert len(told_before) >= JOBS // 10
    assert len(unfinished) >= WORKERS, "the dump was taken while jobs ran"

    async with service_and_workers(tmp_path / "second", restored, "after") as door:
        for job in found:
            response = await ended(door, job, 60)
            assert response["status"] == "completed", response["error"]
            text = response["output"][0]["content"][0]["text"]
            assert text.split()[0] == ("after" if job in unfinished else "before")
            types = (await follow(door, job)).types
            assert [each for each in types if each in TERMINAL] == ["response.completed"]
            assert types[-1] == "response.completed"
        for job, response in told_before.items():
            assert (await door.call("GET", f"/{job}")).json == response
        calls = Counter(call.headers["x-request-id"].rpartition(".")[0] for call in door.up.alpha.calls)
    assert calls == dict.fromkeys(unfinished, 1)
    left = await rows(
        restored, "SELECT count(*) FROM jobs WHERE status NOT IN ('completed') OR worker IS NOT NULL"
    )
    assert left[0][0] == 0
    postgres_server.drop(restored)
    print(len(told_before), "told before,", len(found), "in the dump,", len(unfinished), "not over")


async def test_a_server_recovered_to_a_moment_has_what_was_told_before_it_and_nothing_after(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    assert own_postgres.folder is not None
    archive = own_postgres.folder / "archive"
    command(own_postgres, "mkdir", str(archive))
    postgres.run(postgres.statement(own_postgres.url, "ALTER SYSTEM SET archive_mode = on"))
    archiving = f"ALTER SYSTEM SET archive_command = 'cp %p {archive}/%f'"
    postgres.run(postgres.statement(own_postgres.url, archiving))
    own_postgres.stop()
    own_postgres.start()
    url = own_postgres.database()
    recovered = Postgres("", private=True, folder=own_postgres.folder / "recovered")
    assert recovered.folder is not None
    command(own_postgres, "mkdir", str(recovered.folder))

    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    async with responses_door(folders[0], {"database": {"url": url}, "jobs": {"here": False}}) as door:
        await door.create(asked(text="the schema is there"))
        data = recovered.folder / "data"
        command(own_postgres, "pg_basebackup", "-d", own_postgres.url, "-D", str(data), "-c", "fast")
        before = (await door.create(asked(text="before"))).json
        job = (await door.create(asked(text="a job", background=True))).json
        (moment,) = (await rows(url, "SELECT clock_timestamp()::text"))[0]
        after = (await door.create(asked(text="after"))).json
        assert (await door.call("DELETE", f"/{before['id']}")).status == 200
    # What is archived is whole segments: the last one is told to be over.
    await rows(url, "SELECT pg_switch_wal()")
    own_postgres.stop()

    options = (
        f"restore_command = 'cp {archive}/%f %p'\nrecovery_target_time = '{moment}'\n"
        "recovery_target_action = 'promote'\narchive_mode = off\n"
    )
    with (data / "postgresql.auto.conf").open("a") as conf:
        conf.write(options)
    command(own_postgres, "touch", str(data / "recovery.signal"))
    (port,) = free_ports(1)
    netloc = urlsplit(url).netloc.rpartition(":")[0]
    recovered.url = urlunsplit(urlsplit(url)._replace(netloc=f"{netloc}:{port}"))
    recovered.start()
    try:
        async with asyncio.timeout(30):
            while (await rows(recovered.url, "SELECT pg_is_in_recovery()"))[0][0]:
                await asyncio.sleep(0.05)
        async with responses_door(folders[1], {"database": {"url": recovered.url}}) as door:
            assert (await door.call("GET", f"/{before['id']}")).json == before
            assert (await door.call("GET", f"/{after['id']}")).status == 404
            assert (await ended(door, job["id"]))["status"] == "completed"
    finally:
        recovered.stop()


def command(server: Postgres, name: str, *arguments: str) -> None:
    """Runs it as the server's user, with PostgreSQL's own programs."""
    before, bins = postgres.as_user(), postgres.binaries()
    assert before is not None
    assert bins is not None
    program = str(bins / name) if (bins / name).exists() else name
    ran = subprocess.run(
        [*before, program, *arguments], cwd=server.folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout.decode()
