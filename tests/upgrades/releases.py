"""Where the fixtures of releases stand, and how databases are told and dumped."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from adapters.database.revisions import VERSION_TABLE
from service.domain.consuming import Record
from service.domain.publishing import Message
from tests.support import postgres
from tests.support.http_door import events
from tests.support.parts import ROOT
from tests.support.responses_door import ResponsesDoor

FIXTURES: Final = Path(__file__).with_name("fixtures")
SQLITE: Final = "database.sqlite.xz"
POSTGRES: Final = "database.sql"
KEPT: Final = "SHA256SUMS"

_VERSION_ROW: Final = re.compile(rf"^COPY public\.{VERSION_TABLE} .*\n(\w+)$", re.MULTILINE)

Json = dict[str, Any]


def versions() -> list[str]:
    """The releases whose fixtures are kept."""
    return sorted(path.name for path in FIXTURES.iterdir() if path.is_dir()) if FIXTURES.exists() else []


def heads() -> dict[str, str]:
    """The newest revision that each release knows."""
    dumps = {version: (FIXTURES / version / POSTGRES).read_text(encoding="utf-8") for version in versions()}
    return {version: _VERSION_ROW.findall(dump)[0] for version, dump in dumps.items()}


def is_tagged(version: str) -> bool:
    """Whether git has the release's tag; False where there is no history."""
    return bool(_git("tag", "--list", f"v{version}").strip())


def at_tag(version: str, path: Path) -> str:
    """A file as the release has it."""
    return _git("show", f"v{version}:{path.relative_to(ROOT)}")


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


async def told(door: ResponsesDoor, response_id: str) -> Json:
    """A response as its owner reads it over HTTP: the object, its items, and the events of a job that is over."""
    whole = await door.call("GET", f"/{response_id}")
    items = await door.call("GET", f"/{response_id}/input_items?order=asc")
    found: Json = {"response": whole.json, "items": items.json["data"], "events": None}
    if whole.json.get("background") and whole.json["status"] not in ("queued", "in_progress"):
        found["events"] = await log_of(door, response_id)
    return found


async def log_of(door: ResponsesDoor, response_id: str) -> list[Json]:
    """The events of a job, to its end."""
    async with door.session.get(f"{door.up.http}/v1/responses/{response_id}?stream=true") as response:
        assert response.status == 200, await response.read()
        data = [event.partition(b"data: ")[2] async for event in events(response)]
    assert data[-1] == b"[DONE]", data[-1:]
    return [json.loads(one) for one in data[:-1] if one]


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """One line for each of them, so that a difference names it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{json.dumps(name)}: {json.dumps(one, ensure_ascii=False)}" for name, one in value.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote."""
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def fields_of(record: Record | Message) -> Json:
    """As JSON; bytes as Latin-1 text, in which each byte is one character."""
    fields: Json = _as_text(asdict(record))
    return fields


def with_bytes(fields: Json) -> Json:
    """The fields of a record or message as they were."""
    fields = dict(fields)
    for name in ("key", "value"):
        fields[name] = None if fields[name] is None else fields[name].encode("latin-1")
    fields["headers"] = [(name, value.encode("latin-1")) for name, value in fields["headers"]]
    return fields


def _as_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {name: _as_text(one) for name, one in value.items()}
    return [_as_text(one) for one in value] if isinstance(value, list | tuple) else value


def dump_postgres(url: str) -> str:
    """The whole database as SQL that a server of the same or a newer version takes."""
    options = ("--no-owner", "--no-privileges", "--no-comments")
    said = _postgres_tool("pg_dump", url, options)
    # What newer servers and tools put in says which they are; the rest is the same.
    lines = [
        line for line in said.splitlines() if not line.startswith(("-- Dumped", "\\restrict", "\\unrestrict"))
    ]
    return "\n".join(lines) + "\n"


def restore_postgres(url: str, dump: Path) -> None:
    """Fills an empty database from a dump."""
    _postgres_tool("psql", url, ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={dump}"))


def _postgres_tool(name: str, url: str, options: Sequence[str]) -> str:
    folder = postgres.binaries()
    assert folder is not None
    parts = urlsplit(url)
    env = {**os.environ, "PGPASSWORD": unquote(parts.password or "")}
    place = (f"--host={parts.hostname}", f"--port={parts.port}", f"--username={parts.username}")
    command = [str(folder / name), *place, f"--dbname={parts.path[1:]}", *options]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
