"""A secret that a process reads once is replaced while it runs: it goes on with the old one, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.starting import free_port, rows, starting

SAID = "has changed since this process started, which goes on with the old one until it is restarted"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve", "work"])
async def test_another_url_of_the_database_is_told_and_makes_no_pod_unready_until_it_is_restarted(
    sqlite_url: str, command: str, tmp_path: Path
) -> None:
    secret, file = tmp_path / "database-url", tmp_path / "settings.yaml"
    other = f"sqlite:///{tmp_path}/state/another.db"
    secret.write_text(sqlite_url)
    settings = rows(admin=free_port(), url=f"file:{secret}", database={"auto_migrate": True})
    degraded = f"ready\ndegraded: restart: database.url: file:{secret} {SAID}\n"
    async with starting(file, settings, command=(command, "--wait")) as child:
        await child.until(200, "ready\n")
        assert await child.gauge("restart") == 1.0
        secret.write_text(other)
        await child.until(200, degraded)
        assert await child.gauge("restart") == 0.0
        assert await child.gauge("database") == 1.0
        secret.write_text(sqlite_url)
        await child.until(200, "ready\n")
        assert await child.gauge("restart") == 1.0
        secret.write_text(other)
        await child.until(200, degraded)
        logged = [(event, part) for event, part, _ in child.conditions()]
        assert logged == [("condition_failed", "restart"), ("condition_ended", "restart")], "once in five minutes"
        assert "another.db" not in "".join(child.lines())
    assert not (tmp_path / "state" / "another.db").exists()
    async with starting(file, settings, command=(command, "--wait")) as child:
        await child.until(200, "ready\n")
    assert (tmp_path / "state" / "another.db").exists()
