"""Backups of databases in use, by the commands of docs/kubernetes/backup.md, and services on what was restored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.keys import hash_secret, make_key, public_id
from adapters.providers.simulator import Script
from tests.support import backups
from tests.support.background import ended, follow
from tests.support.http_door import body
from tests.support.postgres import Postgres
from tests.support.responses_door import ResponsesDoor, asked, responses_door
from tests.support.running import until

LEASE = 3


def settings(url: str) -> dict[str, Any]:
    # Two at a time: others wait.
    return {"database": {"url": url}, "jobs": {"lease_seconds": LEASE, "concurrency": 2}}


class Backup:
    """Takes one of a database in use, and gives the URL of a database made of it."""

    def __init__(self, folder: Path, url: str, server: Postgres | None) -> None:
        self._url, self._server = url, server
        self._file = folder / "backup"
        self._restored: str | None = None

    async def take(self) -> None:
        """By the page's commands."""
        if self._server is not None:
            await backups.dump(self._url, self._file)
        else:
            await backups.copy_sqlite(Path(self._url.removeprefix("sqlite:///")), self._file)

    async def restored(self) -> str:
        """The URL of what was made of it."""
        if self._server is None:
            return f"sqlite:///{self._file}"
        self._restored = self._server.database()
        await backups.restore(self._restored, self._file)
        return self._restored

    def drop(self) -> None:
        """Removes what was restored."""
        if self._server is not None and self._restored is not None:
            self._server.drop(self._restored)


@pytest.fixture(params=["sqlite", "postgresql"])
async def backed_up(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, Backup]]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/first/state/eurouter.db"
        yield url, Backup(tmp_path, url, None)
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    url = request.getfixturevalue("postgres_url")
    backup = Backup(tmp_path, url, server)
    yield url, backup
    backup.drop()


async def background(door: ResponsesDoor, key: str, **fields: Any) -> str:
    """The id of a new background response."""
    answer = await door.create(asked(background=True, **fields), headers={"idempotency-key": key})
    assert answer.status == 200, answer.raw
    return str(answer.json["id"])


async def test_a_backup_of_a_database_in_use_has_what_was_answered_and_the_jobs_under_way_end_once_on_it(
    backed_up: tuple[str, Backup], tmp_path: Path
) -> None:
    url, backup = backed_up
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    async with responses_door(folders[0], settings(url)) as door:
        door.up.alpha.script(Script(text="first"))
        kept = (await door.create(asked(text="keep me"))).json
        erased = (await door.create(asked(text="forget me"))).json
        done = await background(door, "done")
        over = await ended(door, done)
        door.up.alpha.script(Script(tokens=400, pace=0.02))
        running = [await background(door, f"running-{n}") for n in range(2)]
        await until(lambda: len(door.up.alpha.calls) == 5, "both are asked")
        waiting = await background(door, "waiting")

        await backup.take()

        assert (await door.call("DELETE", f"/{erased['id']}")).status == 200
        after = (await door.create(asked("sim/beta", text="after it"))).json
    async with responses_door(folders[1], settings(await backup.restored())) as door:
        door.up.alpha.script(Script(text="second"))
        assert (await door.call("GET", f"/{kept['id']}")).json == kept
        assert (await door.call("GET", f"/{done}")).json == over
        assert await background(door, "done") == done, "its idempotency key is there, too"
        for job in (*running, waiting):
            made = await ended(door, job)
            assert made["output"][0]["content"][0]["text"] == "second"
            types = (await follow(door, job)).types
            assert types[:2] == ["response.created", "response.queued"]
            assert [types.count(end) for end in ("response.completed", "response.failed")] == [1, 0]
            assert types[-1] == "response.completed"
        assert len(door.up.alpha.calls) == len([*running, waiting]), (
            "each was asked once, what was over not at all"
        )

        assert (await door.call("GET", f"/{after['id']}")).status == 404
        going_on = await door.create(asked(previous_response_id=after["id"]))
        assert going_on.error["reason"] == "PREVIOUS_RESPONSE_NOT_FOUND"
        # Erasure has to be repeated.
        assert (await door.call("GET", f"/{erased['id']}")).status == 200
        said = await backups.erase(door.up.http, erased["id"], after["id"])
        assert said == [f"{erased['id']} deleted", f"{after['id']} was not there"]
        assert (await door.call("GET", f"/{erased['id']}")).status == 404


async def test_a_pepper_that_is_gone_from_its_file_keeps_opening_to_a_running_service(tmp_path: Path) -> None:
    key, pepper = make_key(), tmp_path / "pepper"
    pepper.write_text("the pepper that somebody takes out of the Secret")
    row = {"id": public_id(key), "hash": hash_secret(key, pepper.read_bytes()), "owner": "team-a", "name": "a"}
    with_keys = {"keys": [row], "key_pepper": f"file:{pepper}", "jobs": {"here": False}}
    (tmp_path / "service").mkdir()
    async with responses_door(tmp_path / "service", with_keys) as door:
        pepper.unlink()
        # Longer than a file that was read is not looked at again.
        await asyncio.sleep(1.2)
        headers = {"authorization": f"Bearer {key}"}
        assert (await door.call("POST", "/v1/chat/completions", json=body(), headers=headers)).status == 200
        headers = {"authorization": f"Bearer {make_key()}"}
        assert (await door.call("POST", "/v1/chat/completions", json=body(), headers=headers)).status == 401


async def test_keys_work_with_their_pepper_and_with_another_one_every_call_is_told_that_its_key_is_not_valid(
    tmp_path: Path,
) -> None:
    key, pepper = make_key(), b"the pepper that was kept beside the database"
    row = {"id": public_id(key), "hash": hash_secret(key, pepper), "owner": "team-a", "name": "laptop"}
    said: dict[str, Any] = {}
    for name, restored in (("same", pepper), ("another", b"a pepper that somebody made in a hurry")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "pepper").write_bytes(restored)
        with_keys = {"keys": [row], "key_pepper": f"file:{folder / 'pepper'}", "jobs": {"here": False}}
        async with responses_door(folder, with_keys) as door:
            headers = {"authorization": f"Bearer {key}"}
            said[name] = await door.call("POST", "/v1/chat/completions", json=body(), headers=headers)
    assert said["same"].status == 200
    assert said["another"].status == 401
    assert said["another"].error["message"].startswith("this API key is not valid here")
