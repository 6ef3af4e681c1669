"""Several serving processes on one port, started as an operator does: `eurouter serve` with `processes: 2`."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import yaml
from eurouter.v1 import chat_pb2_grpc
from grpc import aio

from adapters.providers.simulator import Script
from tests.support.running import Child, ask, free_ports, plain_channel, running_child, until


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Child]:
    grpc_port, http_port = free_ports(2)
    settings = {
        "processes": 2,
        "grpc": {"port": grpc_port},
        "http": {"port": http_port},
        "drain": {"pause_seconds": 0.3, "finish_seconds": 5},
    }
    async with running_child(tmp_path, settings) as running:
        yield running


def children_of(pid: int) -> list[int]:
    """The serving processes: spawned by multiprocessing, its resource tracker aside."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(p) for p in found if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]


def alive(pid: int) -> bool:
    """Whether a process runs: one that ended and was not collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def metrics(up: Child) -> dict[str, float]:
    """Every sample by its name and labels."""
    async with aiohttp.ClientSession() as web, web.get(f"{up.admin}/metrics") as answer:
        assert answer.status == 200
        lines = (await answer.text()).splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


async def ready(up: Child) -> tuple[int, str]:
    async with aiohttp.ClientSession() as web, web.get(f"{up.admin}/readyz") as answer:
        return answer.status, await answer.text()


async def until_ready(up: Child) -> None:
    async with asyncio.timeout(20):
        while (await ready(up))[0] != 200:
            await asyncio.sleep(0.05)


async def call_once(up: Child, model: str = "sim/alpha") -> None:
    """One call over a connection of its own, as new clients make it."""
    async with plain_channel(up.grpc) as channel:
        await chat_pb2_grpc.ChatServiceStub(channel).CreateChatCompletion(
            ask(model), wait_for_ready=True, timeout=20
        )


async def text_of(stream: Any) -> str:
    """The text of a stream that must come to its end."""
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices[0].finish_reason
    return "".join(c.delta.content for chunk in chunks for c in chunk.choices)


def served(up: Child) -> dict[int, float]:
    """How many calls each process served, by the files that each writes its counters into."""
    from prometheus_client.mmap_dict import MmapedDict

    folder = next(
        entry.partition("=")[2]
        for entry in Path(f"/proc/{children_of(up.process.pid)[0]}/environ").read_text().split("\0")
        if entry.startswith("PROMETHEUS_MULTIPROC_DIR=")
    )
    shares: dict[int, float] = {}
    for file in Path(folder).glob("counter_*.db"):
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            if "eurouter_requests_total" in key:
                pid = int(re.findall(r"\d+", file.name)[0])
                shares[pid] = shares.get(pid, 0.0) + value
    return shares


async def test_both_processes_serve_and_the_metrics_are_their_sum(up: Child) -> None:
    pids = children_of(up.process.pid)
    assert len(pids) == 2
    await until_ready(up)
    assert await ready(up) == (200, "ready\n")
    for _ in range(4):
        await asyncio.gather(*(call_once(up) for _ in range(16)))
    shares = served(up)
    assert set(shares) == set(pids)
    assert min(shares.values()) >= 10, shares
    found = await metrics(up)
    label = '{door="grpc",method="CreateChatCompletion",outcome="ok"}'
    assert found[f"eurouter_requests_total{label}"] == 64
    # Shown as 0 before it happens, also by processes that count in files.
    assert found[f"eurouter_requests_total{label.replace('ok', 'INTERNAL')}"] == 0
    assert found["eurouter_requests_in_flight"] == 0
    async with asyncio.timeout(5):
        while (await metrics(up))["eurouter_ready"] != 1:
            await asyncio.sleep(0.05)
    assert not [name for name in found if "_created" in name]


async def test_a_process_that_dies_is_replaced_and_what_it_had_in_flight_is_not_counted_for_ever(
    up: Child,
) -> None:
    before = children_of(up.process.pid)
    up.alpha.script(Script(first_byte_delay=30))
    held = [asyncio.ensure_future(call_once(up)) for _ in range(6)]
    await up.alpha.wait_for(lambda calls: len(calls) == 6)
    assert (await metrics(up))["eurouter_requests_in_flight"] == 6
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    results = await asyncio.gather(*held, return_exceptions=True)
    assert {error.code() for error in results if isinstance(error, aio.AioRpcError)} == {
        grpc.StatusCode.UNAVAILABLE
    }
    await until(lambda: not any(map(alive, before)), "both ended")

    def two_new_ones() -> bool:
        return len(children_of(up.process.pid)) == 2 and not set(children_of(up.process.pid)) & set(before)

    await until(two_new_ones, "two new processes", 60)
    await until_ready(up)
    up.alpha.script(None)
    await call_once(up)
    found = await metrics(up)
    assert found["eurouter_requests_in_flight"] == 0
    assert up.logged().count('"process_ended"') == 2


async def test_children_end_when_their_parent_is_killed(up: Child) -> None:
    pids = children_of(up.process.pid)
    up.process.send_signal(signal.SIGKILL)
    await up.process.wait()
    began = time.process_time()
    await until(lambda: not any(map(alive, pids)), "the children ended", 10)
    assert time.process_time() - began < 10


async def test_a_signal_drains_all_processes(up: Child) -> None:
    pids = children_of(up.process.pid)
    up.alpha.script(Script(tokens=30, pace=0.05))
    channels = [plain_channel(up.grpc) for _ in range(8)]

    stubs: list[Any] = [chat_pb2_grpc.ChatServiceStub(channel) for channel in channels]
    reading = [asyncio.ensure_future(text_of(stub.StreamChatCompletion(ask()))) for stub in stubs]
    await up.alpha.wait_for(lambda calls: len(calls) == 8 and all(call.tokens_sent for call in calls))
    up.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.15)
    status, why = await ready(up)
    assert (status, why) == (503, "not ready: draining\n")
    texts = await asyncio.gather(*reading)
    assert len(set(texts)) == 1
    assert await asyncio.wait_for(up.process.wait(), 10) == 0
    assert not any(map(alive, pids))
    assert "Traceback" not in up.logged()
    assert "process_ended" not in up.logged(), "an ordered end is no death"
    for channel in channels:
        await channel.close()


async def test_an_edit_of_the_catalogue_reaches_all_processes(up: Child) -> None:
    rows = {
        "providers": [{"slug": "solo", "dialect": "openai_chat", "base_url": f"{up.alpha.url}/v1"}],
        "models": [{"id": "sim/solo", "endpoints": [{"provider": "solo"}]}],
    }
    up.upstreams.write_catalog(rows)
    await until(lambda: up.logged().count("catalog_reloaded") == 2, "both processes took the edit")
    await asyncio.gather(*(call_once(up, "sim/solo") for _ in range(16)))
    assert len(up.alpha.calls) == 16


async def test_a_process_that_replaces_one_has_what_its_sibling_has_whatever_the_file_says(up: Child) -> None:
    started, (other_port,) = up.upstreams.settings_file.read_text(), free_ports(1)
    later = yaml.safe_load(started) | {"floor": {"data_residency": ["eu"]}}
    later["http"]["port"] = other_port
    up.upstreams.settings_file.write_text(yaml.safe_dump(later))
    await until(lambda: up.logged().count('"settings_need_restart"') == 2, "both processes took the edit")
    up.upstreams.settings_file.write_text("floor: {data_residency: [nowhere]}\n")
    await until(lambda: up.logged().count("condition_failed") == 2, "both processes refused the bad edit")
    before = children_of(up.process.pid)
    os.kill(before[0], signal.SIGKILL)
    await until(lambda: len(set(children_of(up.process.pid)) - set(before)) == 1, "a new process", 20)
    await until_ready(up)
    for outcome in await asyncio.gather(*(call_once(up) for _ in range(16)), return_exceptions=True):
        assert isinstance(outcome, aio.AioRpcError)
        assert outcome.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert len(served(up)) == 3, "the new one was asked too"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", other_port)
    await until(lambda: up.logged().count("condition_failed") == 3, "the new one tells of the bad edit too")
    assert "can't start" not in up.logged()


@pytest.mark.slow  # 25 s: more than the drain before the edit and what processes have beside it
async def test_calls_have_as_long_for_their_end_as_an_edit_of_the_drain_says(up: Child) -> None:
    settings = yaml.safe_load(up.upstreams.settings_file.read_text())
    settings["drain"]["finish_seconds"] = 60
    up.upstreams.settings_file.write_text(yaml.safe_dump(settings))
    await until(lambda: up.logged().count('"settings_reloaded"') == 2, "both processes took the edit")
    up.alpha.script(Script(tokens=50, pace=0.5))
    async with plain_channel(up.grpc) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        reading = asyncio.ensure_future(text_of(stub.StreamChatCompletion(ask())))
        await up.alpha.wait_for(lambda calls: bool(calls) and calls[0].tokens_sent > 1)
        up.process.send_signal(signal.SIGTERM)
        await reading
    assert await asyncio.wait_for(up.process.wait(), 10) == 0


async def test_several_processes_need_ports_that_can_be_shared(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"set grpc\.port and http\.port to numbers"):
        async with running_child(tmp_path, {"processes": 2}):
            pass
