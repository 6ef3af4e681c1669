"""What docs/kubernetes/scale.md says of clients that balance by themselves, with real clients and real processes.

Each language calls three processes behind one name while one of them drains, one is killed and one more comes.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients.build import Client, build, call
from tests.clients.prepare import LANGUAGES, Language
from tests.support.balanced_cluster import NAME, Pods, pods
from tests.support.parts import require

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BALANCED = [language for language in LANGUAGES if language.slug in ("go", "java", "python")]
ONE, TWO, THREE, FOUR = (f"127.0.0.{last}" for last in (1, 2, 3, 4))
CONNECTION_AGE = 6.0
SETTINGS: dict[str, Any] = {
    "grpc": {"max_connection_age_seconds": CONNECTION_AGE},
    "drain": {"pause_seconds": 2, "finish_seconds": 10},
    "jobs": {"here": False},
}
COMMANDS = {
    "go": "./balanced-client",
    "java": (
        "java -Dnetworkaddress.cache.ttl=5 -Dsun.net.inetaddr.ttl=5 "
        "-cp 'target/classes:target/dependency/*' com.example.chat.Balanced"
    ),
    "python": ".venv/bin/python balanced.py",
}


@pytest.fixture(params=BALANCED, ids=[language.slug for language in BALANCED])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    require("client-side balancing", sys.platform == "linux", "needs loopback addresses that only Linux has")
    language: Language = request.param
    built = build(language, tmp_path / "client")
    if language.slug == "go":
        call("go", "build", "-o", "balanced-client", "./balanced", folder=built.folder, variables=built.variables)
    return built


@asynccontextmanager
async def calling(client: Client, up: Pods) -> AsyncIterator[Callable[[], Any]]:
    """The client's program under way; what is yielded ends it and gives what it says."""
    variables = {**client.variables, "EUROUTER_KEY": "any", "EUROUTER_MODEL": "sim/alpha"}
    # Java can't be told a name server, only names.
    variables["JAVA_TOOL_OPTIONS"] = f"-Djdk.net.hosts.file={up.hosts}"
    authority = "" if client.language == "java" else up.names
    variables["EUROUTER_TARGET"] = f"dns://{authority}/{NAME}:{up.port}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", f"exec {COMMANDS[client.language]}"), cwd=client.folder, env=variables,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip

    async def totals() -> Any:
        async with asyncio.timeout(60):
            printed, complaints = await process.communicate(b"")
        assert process.returncode == 0, complaints.decode()
        return json.loads(printed)

    try:
        yield totals
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def taken(up: Pods, addresses: list[str], seconds: float) -> list[int]:
    """How many calls each of the processes took within this time."""
    before = [up.calls(address) for address in addresses]
    await asyncio.sleep(seconds)
    return [up.calls(address) - had for address, had in zip(addresses, before, strict=True)]


async def first_call(up: Pods, address: str) -> float:
    """Seconds until this process was called for the first time."""
    began = time.monotonic()
    async with asyncio.timeout(60):
        while not up.calls(address):
            await asyncio.sleep(0.01)
    return time.monotonic() - began


async def test_calls_spread_and_none_fails_when_pods_drain_die_and_come(client: Client, tmp_path: Path) -> None:
    async with pods(tmp_path, SETTINGS) as up:
        await up.add(ONE, TWO, THREE)
        async with calling(client, up) as totals:
            async with asyncio.timeout(30):
                await asyncio.gather(*(first_call(up, address) for address in (ONE, TWO, THREE)))
            spread = await taken(up, [ONE, TWO, THREE], 4.0)

            up.up[ONE].process.send_signal(signal.SIGTERM)
            up.list(TWO, THREE)
            # Clients that watch health are told at once; the process itself refuses nobody for two seconds more.
            await asyncio.sleep(1.0)
            (while_it_drains,) = await taken(up, [ONE], 0.9)
            assert await asyncio.wait_for(up.up[ONE].process.wait(), 20) == 0

            await up.add(FOUR)
            found_after = await first_call(up, FOUR)
            again = await taken(up, [TWO, THREE, FOUR], 4.0)

            up.up[TWO].process.kill()
            up.list(THREE, FOUR)
            rest = await taken(up, [THREE, FOUR], 3.0)
            said = await totals()
    print(client.language, spread, while_it_drains, f"{found_after:.1f}", again, rest, said)
    assert said["failed"] == []
    assert min(spread) > 0.9 * max(spread), spread
    assert while_it_drains == 0
    assert found_after < CONNECTION_AGE * 1.1 + 5 + 2
    assert min(again) > 0.9 * max(again), again
    assert min(rest) > 0
    assert said["calls"] > sum(spread) + sum(again) + sum(rest)
