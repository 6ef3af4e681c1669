"""A private PostgreSQL server: made in an empty folder, on a free loopback port, gone with the tests.

EUROUTER_TEST_POSTGRES_URL names a server of one's own instead (its user must be allowed to create databases); what
stops and starts the server then doesn't run.
"""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

OWN_SERVER = "EUROUTER_TEST_POSTGRES_URL"
PASSWORD = "very-secret-Pa55word"
HOW = f"install PostgreSQL (Debian, Ubuntu: apt install postgresql), or name a server in {OWN_SERVER}"

_numbers = count()


@cache
def binaries() -> Path | None:
    """The folder of the newest `initdb` on this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def _user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


@cache
def as_user() -> tuple[str, ...] | None:
    """What stands before a command of PostgreSQL's, which refuses root; None where root can't become another.

    In a user namespace root owns no other user's id: there a namespace inside it shows the same user under
    another name. Where namespaces are refused, as in many containers, root becomes that user.
    """
    if os.geteuid() != 0:
        return ()
    user = _user()
    unshare = ("unshare", "--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}")
    setpriv = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    for before in (unshare, setpriv):
        if shutil.which(before[0]) and subprocess.run((*before, "true"), capture_output=True).returncode == 0:
            return before
    return None


def named() -> str | None:
    """The URL of a server of one's own, if one is named."""
    return os.environ.get(OWN_SERVER) or None


def can_start() -> bool:
    """Whether `private` can work."""
    return binaries() is not None and as_user() is not None


def available() -> bool:
    """Whether there is a server or one can be made."""
    return named() is not None or can_start()


@dataclass
class Postgres:
    """A server. `private`: it is ours to stop."""

    url: str
    private: bool = False
    folder: Path | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Starts the private server and waits until it answers."""
        assert self.folder is not None
        bin_folder, before = binaries(), as_user()
        assert bin_folder is not None
        assert before is not None
        port = urlsplit(self.url).port
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "32MB",
            "max_connections": 60,
            "logging_collector": "off",
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [*before, str(bin_folder / "postgres"), "-D", str(self.folder / "data"), *settings]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        until = time.monotonic() + 60
        while True:
            try:
                run(statement(self.url, "SELECT 1"))
            except (OSError, asyncpg.PostgresError):
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stops it: SIGINT cuts the connections in order, SIGQUIT like a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"eurouter_test_{os.getpid()}_{next(_numbers)}"
        run(statement(self.url, f"CREATE DATABASE {name}"))
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def drop(self, url: str) -> None:
        """Removes a database that `database` made, whoever is connected."""
        run(statement(self.url, f"DROP DATABASE IF EXISTS {urlsplit(url).path[1:]} WITH (FORCE)"))


def private(folder: Path) -> Postgres:
    """A new server in an empty folder, started; stop it in the end."""
    bin_folder, before = binaries(), as_user()
    assert bin_folder is not None
    assert before is not None
    password = folder / "password"
    password.write_text(PASSWORD)
    if before[:1] == ("setpriv",):
        for path in (folder, password):
            os.chown(path, _user().pw_uid, _user().pw_gid)
    subprocess.run(
        [
            *(*before, str(bin_folder / "initdb"), "-D", str(folder / "data"), "-U", "eurouter"),
            *("-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--no-locale", "--no-sync"),
        ],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Postgres(f"postgresql://eurouter:{PASSWORD}@127.0.0.1:{port}/postgres", private=True, folder=folder)
    server.start()
    return server


def run(work: Coroutine[Any, Any, None]) -> None:
    """Runs it to its end, whether or not an event loop runs in this thread."""
    failed: list[BaseException] = []

    def act() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = Thread(target=act)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


async def statement(url: str, sql: str) -> None:
    """Runs it on a connection of its own."""
    connection = await asyncpg.connect(url, timeout=5)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
