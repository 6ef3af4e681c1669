"""Run foreign Responses clients: `python -m tests.clients.run [NAME...]`, or all by `make clients-heavy`.

Each is installed in the pinned version (`--latest`: the newest) into a folder of the cache and talks to a service
of its own over loopback, with the simulator behind it: first chat-shaped, then Anthropic-shaped. Prints one line a
client and ends with 1 when one fails. Not a part of `make test`: it downloads too much. The outcome is written
down in docs/clients/responses.md.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.providers.simulator import Simulator
from tests.clients.prepare import CACHE, say
from tests.clients.responses import codex, talk
from tests.support.running import Child, running_child

_PROGRAMS: Final = Path(__file__).parent / "responses"
_INSTALL_SECONDS: Final = 600
_RUN_SECONDS: Final = 180


@dataclass(frozen=True, slots=True)
class Client:
    """`packages` as pip or npm take them; the first names the client. `program` "" is Codex, which needs none."""

    slug: str
    packages: tuple[str, ...]
    program: str

    @property
    def is_python(self) -> bool:
        """Whether it comes from pip."""
        return self.program.endswith(".py")


CLIENTS: Final = (
    Client("openai-agents", ("openai-agents==0.24.0",), "agents_sdk.py"),
    Client("langchain-openai", ("langchain-openai==1.7.3",), "langchain_chat.py"),
    Client("pydantic-ai", ("pydantic-ai-slim[openai]==2.68.0",), "pydantic_agent.py"),
    Client("ai-sdk", ("ai@7.0.173", "@ai-sdk/openai@4.0.118", "zod@4"), "ai_sdk.mjs"),
    Client("codex", ("@openai/codex@0.169.0",), ""),
)


class Unavailable(Exception):  # noqa: N818 - an outcome, not a fault
    """A client can't be had here; the text says why."""


def latest(client: Client) -> Client:
    """The same with whatever is newest."""
    if client.is_python:
        cut = [package.split("==")[0] for package in client.packages]
    else:
        # The first character may be the @ of a scope.
        cut = [package[0] + package[1:].split("@")[0] for package in client.packages]
    return Client(client.slug, tuple(cut), client.program)


def install(client: Client) -> Path:
    """The folder with the client's packages, made at the first use.

    Raises:
        Unavailable: a tool is missing or the packages could not be had.
    """
    digest = hashlib.sha256("\n".join(client.packages).encode()).hexdigest()[:16]
    folder = CACHE / f"responses-{client.slug}-{digest}"
    if (folder / ".ready").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say(f"installing {' '.join(client.packages)}")
    if client.is_python:
        _call(folder, sys.executable, "-m", "venv", ".venv")
        _call(folder, ".venv/bin/python", "-m", "pip", "install", "--quiet", *client.packages)
    else:
        if shutil.which("npm") is None:
            raise Unavailable("Node.js 20 or newer with npm is not here")
        (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
        _call(folder, "npm", "install", "--silent", "--no-audit", "--no-fund", *client.packages)
    (folder / ".ready").touch()
    return folder


def _call(folder: Path, *command: str) -> None:
    ran = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, timeout=_INSTALL_SECONDS,
    )  # fmt: skip
    if ran.returncode != 0:
        raise Unavailable(f"{' '.join(command)} failed: {ran.stdout.strip()[-500:]}")


async def talked(client: Client, installed: Path, folder: Path) -> tuple[str, list[str]]:
    """The packages' versions, and what is not as it must be in a whole conversation over both shapes."""
    program = installed / client.program
    shutil.copy(_PROGRAMS / client.program, program)
    interpreter = str(installed / ".venv" / "bin" / "python") if client.is_python else "node"
    versions: dict[str, str] = {}
    found: list[str] = []
    async with running_child(folder, catalog=talk.functions_only) as up:
        for model, upstream in _shapes(up, "sim/alpha", "sim/beta"):
            upstream.enqueue(*talk.SCRIPTS)
            variables = {"EUROUTER_URL": f"{up.http}/v1", "EUROUTER_MODEL": model}
            code, printed, complaints = await _ran(installed, variables, interpreter, str(program))
            if code != 0:
                found.append(f"{model}: it ended with {code}: {complaints[-1500:]}")
                continue
            outcome = json.loads(printed.splitlines()[-1])
            versions = outcome["versions"]
            found += [f"{model}: {problem}" for problem in talk.problems(outcome["said"], upstream.calls)]
            say(f"{client.slug} over {model} takes a cut stream for: {outcome['said']['cut']}")
    return ", ".join(f"{name} {version}" for name, version in versions.items()), found


async def coded(client: Client, installed: Path, folder: Path) -> tuple[str, list[str]]:
    """The same for Codex: its own loop is the program."""
    binary = installed / "node_modules" / ".bin" / "codex"
    _, version, _ = await _ran(folder, {}, str(binary), "--version")
    found: list[str] = []
    async with running_child(folder, catalog=codex.catalog) as up:
        for model, upstream in (*_shapes(up, *codex.UNKNOWN), (codex.KNOWN, up.alpha)):
            upstream.enqueue(*codex.scripts(model))
            before = len(upstream.calls)
            scratch = folder / model.replace("/", "-")
            (scratch / "here").mkdir(parents=True)
            codex.write_settings(scratch / "home", f"{up.http}/v1")
            variables = {"CODEX_HOME": str(scratch / "home"), "EUROUTER_KEY": "any"}
            command = codex.command(binary, scratch / "here", model)
            code, printed, complaints = await _ran(scratch, variables, *command)
            if code != 0:
                found.append(f"{model}: it ended with {code}: {(printed + complaints)[-1500:]}")
            calls = upstream.calls[before:]
            found += [f"{model}: {each}" for each in codex.problems(model, scratch / "here", printed, calls)]
        up.alpha.enqueue(talk.SCRIPTS[-1])
        code, printed, _ = await _ran(scratch, variables, *command)
        found += codex.problems_of_a_cut(code, printed)
    return version.strip(), found


def _shapes(up: Child, chat_shaped: str, other: str) -> Sequence[tuple[str, Simulator]]:
    return ((chat_shaped, up.alpha), (other, up.beta))


async def _ran(folder: Path, variables: dict[str, str], *command: str) -> tuple[int, str, str]:
    """The exit code and both outputs of a program that has until `_RUN_SECONDS`."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env={**os.environ, **variables, "NO_COLOR": "1"}, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=2**24,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_RUN_SECONDS):
            printed, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, printed.decode(), complaints.decode()


def installed_or_said(client: Client) -> Path | None:
    """The folder with the client's packages; None when it was said why there is none."""
    try:
        return install(client)
    except Unavailable as why:
        say(f"{client.slug}: NOT RUN: {why}")
        return None


def prove(client: Client) -> bool:
    """Installs and runs one client, says how it went; whether all was as it must be."""
    installed = installed_or_said(client)
    if installed is None:
        return False
    run: Callable[[Client, Path, Path], Any] = talked if client.program else coded
    # Below the cache: Codex wants no home among temporary files.
    with tempfile.TemporaryDirectory(prefix="run-", dir=installed) as folder:
        versions, found = asyncio.run(run(client, installed, Path(folder)))
    for problem in found:
        say(f"{client.slug}: {problem}")
    say(f"{client.slug}: {'FAILED' if found else 'proven'} with {versions}")
    return not found


def main() -> None:
    """Every client that is named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients.run")
    parser.add_argument("names", nargs="*", help=", ".join(client.slug for client in CLIENTS))
    parser.add_argument("--latest", action="store_true", help="the newest versions instead of the pinned ones")
    parser.add_argument("--install-only", action="store_true", help="what needs a network, and nothing else")
    asked = parser.parse_args()
    if unknown := set(asked.names) - {client.slug for client in CLIENTS}:
        parser.error(f"no client is called {', '.join(sorted(unknown))}")
    chosen = [client for client in CLIENTS if not asked.names or client.slug in asked.names]
    if asked.latest:
        chosen = [latest(client) for client in chosen]
    if asked.install_only:
        done = [installed_or_said(client) is not None for client in chosen]
    else:
        done = [prove(client) for client in chosen]
    sys.exit(0 if all(done) else 1)


if __name__ == "__main__":
    main()
