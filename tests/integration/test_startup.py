"""How a pod begins: real processes that lack something say what, wait or end, and are ready when it is true.

The sentences are those of docs/kubernetes/troubleshooting.md: see tests/unit/test_troubleshooting_page.py.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from adapters.database.migrate import _LOCK_KEY, migrate
from adapters.database.revisions import HEAD
from adapters.database.url import parse_url
from tests.support.postgres import Postgres
from tests.support.schemas import make_too_new
from tests.support.starting import free_port, rows, starting, write

PEPPER = "x" * 32
AGAIN = "; mend that, or database.url: it is tried again"


def name_of(url: str) -> str:
    """A database as it is named to people."""
    parts = urlsplit(url)
    return f"postgresql://{parts.hostname}:{parts.port}{parts.path}"


async def migrated(url: str) -> None:
    await asyncio.to_thread(migrate, parse_url(url))


async def test_a_pod_waits_for_its_secret_its_database_and_its_schema(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    url = own_postgres.database()
    own_postgres.stop()
    name, pepper = name_of(url), tmp_path / "key-pepper"
    settings = rows(admin=free_port(), url=url, key_pepper=f"file:{pepper}")
    refused = f"{name}: can't be reached (Connection refused){AGAIN}"
    no_file = no_pepper(pepper)
    short = f"key_pepper: file:{pepper} is shorter than 16 characters: make one with `openssl rand -base64 32`"
    async with starting(tmp_path / "settings.yaml", settings) as child:
        await child.until(503, f"not ready: secrets: {no_file}\nnot ready: database: {refused}\n")
        assert await child.get("/livez") == (200, "ok\n")
        assert (await child.get("/startedz"))[0] == 503
        assert (await child.gauge("secrets"), await child.gauge("database")) == (0.0, 0.0)
        pepper.write_text("short")
        await child.until(503, f"not ready: secrets: {short}\nnot ready: database: {refused}\n")
        pepper.write_text(PEPPER)
        own_postgres.start()
        await child.until(503, f"not ready: database: {no_schema(name)}\n")
        assert await child.gauge("secrets") == 1.0
        assert not child.events("server_started"), "no door opens before everything was there"
        await migrated(url)
        await child.until(200, "ready\n")
        assert await child.get("/startedz") == (200, "started\n")
        assert await child.gauge("database") == 1.0
    assert child.process.returncode == 0
    assert [(part, why) for event, part, why in child.conditions() if event == "condition_failed"] == [
        ("secrets", no_file),
        ("database", refused),
        ("secrets", short),
        ("database", no_schema(name)),
    ]
    assert PEPPER not in "".join(child.lines())
    assert "Traceback" not in "".join(child.lines())


@pytest.mark.slow
async def test_a_pod_that_was_ready_outlives_an_outage_of_its_database_and_its_secret(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    url = own_postgres.database()
    name, pepper = name_of(url), tmp_path / "key-pepper"
    pepper.write_text(PEPPER)
    await migrated(url)
    settings = rows(admin=free_port(), url=url, key_pepper=f"file:{pepper}")
    async with starting(tmp_path / "settings.yaml", settings) as child:
        await child.until(200, "ready\n")
        own_postgres.stop()
        pepper.unlink()
        status, text = await child.says("degraded: database: ", "degraded: secrets: ")
        assert status == 200, "chat that stores nothing is still served"
        assert f"degraded: database: {name}: " in text
        assert f"degraded: secrets: {no_pepper(pepper)}\n" in text
        assert (await child.gauge("secrets"), await child.gauge("database")) == (0.0, 0.0)
        assert await child.get("/startedz") == (200, "started\n")
        own_postgres.start()
        pepper.write_text(PEPPER)
        await child.until(200, "ready\n")
    assert child.process.returncode == 0
    failed = {part for event, part, _ in child.conditions() if event == "condition_failed"}
    # Settings that are looked at while their secret is gone are those of a mistake, until it is back.
    assert failed - {"settings"} == {"database", "secrets"}
    assert "Traceback" not in "".join(child.lines())


@pytest.mark.slow
async def test_settings_that_are_edited_while_a_pod_waits_are_taken_as_a_whole(
    sqlite_url: str, tmp_path: Path
) -> None:
    file, secret = tmp_path / "settings.yaml", tmp_path / "database-url"
    admin, other = free_port(), free_port()
    settings = rows(admin=admin, url=f"file:{secret}", database={"auto_migrate": True})
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    taken = server.sockets[0].getsockname()[1]
    async with server, starting(file, settings) as child:
        await child.says("not ready: secrets: ")
        write(file, {**settings, "admin": {"port": taken}})
        status, _ = await child.says("settings: admin.port: ", "; what was read before stays in force")
        assert status == 503, "where it was, and waiting"
        write(file, {**settings, "catalog": {"path": "/nowhere/catalogue.yaml"}})
        await child.says("settings: /nowhere/catalogue.yaml: can't be read")
        write(file, {**settings, "key_pepper": "env:NO_SUCH_PEPPER"})
        await child.says("settings: key_pepper: env:NO_SUCH_PEPPER: the environment variable is not set")
        write(file, {**settings, "admin": {"port": other}, "log": {"format": "console"}, "processes": 2})
        child.admin = f"http://127.0.0.1:{other}"
        await child.says("not ready: secrets: ")
        secret.write_text(sqlite_url)
        await child.until(200, "ready\n")
        async with asyncio.timeout(10):
            while not any("settings_need_restart" in line for line in child.lines()):
                await asyncio.sleep(0.1)
    assert child.process.returncode == 0
    (started,) = (line for line in child.lines() if "server_started" in line)
    assert not started.startswith("{"), "the form that the edit asks for"
    assert any("settings_need_restart" in line and "processes" in line for line in child.lines())


@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve", "work"])
async def test_a_pod_that_waits_for_anothers_migration_ends_at_once_when_it_is_told_to(
    postgres_url: str, command: str, tmp_path: Path
) -> None:
    settings = rows(admin=free_port(), url=postgres_url, database={"auto_migrate": True})
    other = await asyncpg.connect(postgres_url)
    try:
        await other.execute(f"SELECT pg_advisory_lock({_LOCK_KEY})")
        async with starting(tmp_path / "settings.yaml", settings, command=(command, "--wait")) as child:
            await child.says("not ready: database: not reached yet")
            async with asyncio.timeout(20):
                while not await other.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'COMMIT|pg_try_advisory_lock' AND pid <> "
                    "pg_backend_pid()"
                ):
                    await asyncio.sleep(0.1)
            child.process.send_signal(signal.SIGTERM)
            assert await child.ended(5) == 0
    finally:
        await other.close()


@pytest.mark.slow
async def test_a_worker_waits_like_a_service_and_is_not_ready_while_its_database_is_away(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    url = own_postgres.database()
    name = name_of(url)
    settings = rows(admin=free_port(), url=url)
    async with starting(tmp_path / "settings.yaml", settings, command=("work", "--wait")) as child:
        await child.until(503, f"not ready: database: {no_schema(name)}\n")
        assert await child.get("/livez") == (200, "ok\n")
        assert not child.events("worker_started")
        libraries = Path(f"/proc/{child.process.pid}/maps").read_text()
        assert "sqlalchemy" not in libraries, "what only a migration needs"
        await migrated(url)
        await child.until(200, "ready\n")
        own_postgres.stop()
        assert (await child.says(f"not ready: database: {name}: "))[0] == 503
        assert await child.get("/startedz") == (200, "started\n")
        assert await child.gauge("database") == 0.0
        own_postgres.start()
        await child.until(200, "ready\n")
        assert await child.gauge("database") == 1.0
    assert child.process.returncode == 0
    causes = {line["error"] for line in child.events("job_store_failed")}
    assert causes, "why a claim failed is told with it"
    assert all(cause.startswith(name) for cause in causes)


@pytest.mark.slow
async def test_several_processes_wait_once_and_their_parent_tells_what_they_tell(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    url = own_postgres.database()
    settings = rows(admin=free_port(), url=url, processes=2)
    settings |= {"grpc": {"port": free_port()}, "http": {"port": free_port()}}
    async with starting(tmp_path / "settings.yaml", settings) as child:
        await child.until(503, f"not ready: database: {no_schema(name_of(url))}\n")
        assert await child.gauge("database") == 0.0
        await migrated(url)
        await child.until(200, "ready\n")
        assert await child.gauge("database") == 1.0
        own_postgres.stop()
        assert (await child.says("degraded: database: "))[0] == 200
        assert await child.gauge("database") == 0.0
        own_postgres.start()
        await child.until(200, "ready\n")
    assert child.process.returncode == 0


@pytest.mark.slow
async def test_an_edit_of_the_mounted_settings_with_a_mistake_is_told_and_its_repair_ends_that(
    sqlite_url: str, tmp_path: Path
) -> None:
    """As a kubelet does it: the link `..data` is swapped for one to another folder."""
    mounted = tmp_path / "mounted"
    good = rows(admin=free_port(), url=sqlite_url, database={"auto_migrate": True})
    mistake = {**good, "floor": {"data_residency": ["nowhere"]}}
    mended = {**good, "floor": {"data_residency": ["eu"]}}
    for number, version in enumerate((good, mistake, mended)):
        (mounted / f"..{number}").mkdir(parents=True)
        write(mounted / f"..{number}" / "settings.yaml", version)
    (mounted / "settings.yaml").symlink_to("..data/settings.yaml")

    def swap(number: int) -> None:
        (mounted / "..data_tmp").symlink_to(f"..{number}")
        (mounted / "..data_tmp").rename(mounted / "..data")

    swap(0)
    file = mounted / "settings.yaml"
    async with starting(file, None, admin=good["admin"]["port"]) as child:
        await child.until(200, "ready\n")
        assert await child.gauge("settings") == 1.0
        swap(1)
        status, text = await child.says("degraded: settings: ")
        assert status == 200
        assert text.startswith("ready\ndegraded: settings: floor.data_residency[0]: ")
        assert text.endswith("in settings.yaml, line 12); what was read before stays in force\n"), text
        assert await child.gauge("settings") == 0.0
        assert not child.events("settings_reloaded")
        swap(2)
        await child.until(200, "ready\n", 10)
        assert await child.gauge("settings") == 1.0
        assert child.events("settings_reloaded")[0]["changed"] == ["floor.data_residency"]
    assert child.process.returncode == 0
    assert [event for event, part, _ in child.conditions() if part == "settings"] == [
        "condition_failed",
        "condition_ended",
    ]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a value": (
        {"grpc": {"port": 99999}},
        "grpc.port: must be 0..65535, got 99999 (set EUROUTER_GRPC__PORT or grpc.port in settings.yaml, line 11)",
    ),
    "a key": (
        {"databse": {"url": "x"}},
        "databse: is not a known key; did you mean 'database'? (mend databse in settings.yaml, line 7)",
    ),
    "a variable that is not set": (
        {"key_pepper": "env:NO_SUCH_PEPPER"},
        "key_pepper: env:NO_SUCH_PEPPER: the environment variable is not set",
    ),
    "a catalogue": (
        {"catalog": {"path": "/nowhere/catalogue.yaml"}},
        "can't start: /nowhere/catalogue.yaml: can't be read: No such file or directory",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve", "work"])
@pytest.mark.parametrize("what", WRONG)
async def test_what_can_not_come_right_by_itself_ends_the_pod_with_that_as_its_last_line(
    what: str, command: str, sqlite_url: str, tmp_path: Path
) -> None:
    more, said = WRONG[what]
    settings = {**rows(admin=free_port(), url=sqlite_url), **more}
    async with starting(tmp_path / "settings.yaml", settings, command=(command, "--wait")) as child:
        if what == "a variable that is not set" and command == "work":
            await child.until(503, f"not ready: database: {no_schema(sqlite_url)}\n")
            return  # a worker has no doors, and needs no pepper
        assert await child.ended() == 1
        assert child.lines()[-1] == said


@pytest.mark.slow
async def test_a_port_that_is_taken_ends_the_pod_and_the_setting_is_named(sqlite_url: str, tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = rows(admin=port, url=sqlite_url)
    async with server, starting(tmp_path / "settings.yaml", settings) as child:
        assert await child.ended() == 1
        assert "It is the admin listener: end what listens there, or set admin.port" in child.lines()[-1]


@pytest.mark.slow
async def test_a_schema_that_is_too_new_ends_the_pod_and_is_left_alone_by_an_older_migration(
    postgres_url: str, tmp_path: Path
) -> None:
    await migrated(postgres_url)
    await asyncio.to_thread(make_too_new, postgres_url)
    said = f"{name_of(postgres_url)}: its schema has revision 9999, which this version "
    settings = rows(admin=free_port(), url=postgres_url)
    for command in ("serve", "work"):
        async with starting(tmp_path / "settings.yaml", settings, command=(command, "--wait")) as child:
            assert await child.ended() == 1
            assert child.lines()[-1].startswith(f"database: {said}")
    async with starting(tmp_path / "settings.yaml", settings, command=("db", "migrate", "--wait")) as child:
        assert await child.ended() == 0
        assert child.lines()[-1].startswith(said)
        assert child.lines()[-1].endswith("; nothing was changed")


@pytest.mark.slow
async def test_a_migration_waits_for_the_secret_and_the_database_and_says_each_once(
    own_postgres: Postgres, tmp_path: Path
) -> None:
    url = own_postgres.database()
    own_postgres.stop()
    secret = tmp_path / "database-url"
    settings = rows(admin=free_port(), url=f"file:{secret}")
    async with starting(tmp_path / "settings.yaml", settings, command=("db", "migrate", "--wait")) as child:
        await _says(child.lines, "waiting: database.url: file:")
        await asyncio.sleep(1.5)
        secret.write_text(url)
        await _says(child.lines, f"waiting: {name_of(url)}: can't be reached")
        await asyncio.sleep(1.5)
        own_postgres.start()
        assert await child.ended() == 0
    first, second, last = child.lines()
    assert first.endswith("put it there (in Kubernetes: the Secret's key 'database-url')")
    assert second.endswith(AGAIN)
    assert last == f"{name_of(url)}: the schema is up to date (this version's revision is {HEAD}, before: none)"


@pytest.mark.slow
async def test_a_migration_that_is_told_to_stop_does_not_claim_to_be_done(tmp_path: Path) -> None:
    settings = rows(admin=free_port(), url=f"file:{tmp_path}/none")
    async with starting(tmp_path / "settings.yaml", settings, command=("db", "migrate", "--wait")) as child:
        await _says(child.lines, "waiting: database.url")
        child.process.send_signal(signal.SIGTERM)
        assert await child.ended(5) == 143


@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve", "work"])
async def test_a_pod_that_waits_ends_at_once_when_it_is_told_to(command: str, tmp_path: Path) -> None:
    settings = rows(admin=free_port(), url="postgresql://eurouter@127.0.0.1:1/none")
    async with starting(tmp_path / "settings.yaml", settings, command=(command, "--wait")) as child:
        await child.says("not ready: ")
        began = asyncio.get_running_loop().time()
        child.process.send_signal(signal.SIGTERM)
        assert await child.ended() == 0
        assert asyncio.get_running_loop().time() - began < 5


def no_pepper(path: Path) -> str:
    return (
        f"key_pepper: file:{path}: the file can't be read (No such file or directory): put it there (in "
        f"Kubernetes: the Secret's key '{path.name}')"
    )


def no_schema(name: str) -> str:
    return f"{name}: has no schema yet: run `eurouter db migrate`, or set database.auto_migrate to true"


async def _says(lines: object, start: str, seconds: float = 20.0) -> None:
    assert callable(lines)
    async with asyncio.timeout(seconds):
        while not any(line.startswith(start) for line in lines()):
            await asyncio.sleep(0.05)
