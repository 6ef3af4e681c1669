"""Measurements that are no cost per call: added time to first token, two processes against one, memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from bench import measure, product
from bench.fleet import StartError
from bench.load import Load
from bench.run import Stage, Subject, watched
from bench.scenarios import FIRST_TOKEN_STREAMS, MEMORY_STREAMS, PROCESS_CONNECTIONS, SERVER_NAMES, Server
from bench.traffic import BURST_MODEL, FIRST_TOKEN_MODEL, UNARY_MODEL

_FIRST_TOKEN_SECONDS: Final = 3.0
_FIRST_TOKEN_QUICK_SECONDS: Final = 1.0
_STREAM_SECONDS: Final = 0.32  # what a stream of FIRST_TOKEN_MODEL takes
_PROCESS_SECONDS: Final = 1.5
_STEPS: Final = 10
_SETTLE_SECONDS: Final = 0.2

_FIRST_TOKEN_SERVERS: Final[tuple[Server, ...]] = ("sketch", "ours", "ours-http")
_MEMORY_SERVERS: Final[tuple[Server, ...]] = ("merged", "ours")


def first_tokens(stage: Stage, say: Callable[[str], None]) -> None:
    """Seconds to the first token through a server and straight from the upstream, at the same time, all rounds."""
    if "ttft" not in stage.options.groups:
        return
    for number in range(stage.options.rounds):
        for name in _FIRST_TOKEN_SERVERS:
            if name in stage.subjects:
                say(f"round {number + 1} of {stage.options.rounds}: time to first token, {SERVER_NAMES[name]}")
                direct, through = _first_tokens_once(stage, stage.subjects[name])
                kept = stage.raw.first_token.setdefault(name, {"direct": [], "through": []})
                kept["direct"].append(direct)
                kept["through"].append(through)


def _first_tokens_once(stage: Stage, subject: Subject) -> tuple[list[float], list[float]]:
    count = FIRST_TOKEN_STREAMS
    through = Load(
        door=subject.door,
        port=subject.port,
        key=subject.key,
        model=FIRST_TOKEN_MODEL,
        stream=True,
        in_flight=count,
        connections=count,
        spread=_STREAM_SECONDS,
        seconds=_FIRST_TOKEN_QUICK_SECONDS if stage.options.quick else _FIRST_TOKEN_SECONDS,
        connection_set="first token",
    )
    # Half a step later, so that the two kinds begin in turn and never together.
    direct = Load(
        door="http",
        port=stage.upstream_port,
        model=FIRST_TOKEN_MODEL,
        stream=True,
        in_flight=count,
        connections=count,
        delay=_STREAM_SECONDS / count / 2,
        spread=_STREAM_SECONDS,
        seconds=through.seconds,
    )
    results = stage.loads.run(direct, through)
    return results[0]["first"], results[1]["first"]


def processes(stage: Stage, say: Callable[[str], None]) -> None:
    """CPU per call with one and with two processes, over 64 connections; how the two share them."""
    if "processes" not in stage.options.groups or "ours" not in stage.subjects:
        return
    products: dict[int, product.Product] = {}
    try:
        for count in (1, 2):
            name = f"processes-{count}"
            # Both on all cores: one process gets the same cores as two.
            products[count] = product.start(
                name, stage.upstream_url, stage.cores.every, stage.folder, processes=count
            )
            stage.keep(products[count].running)
            products[count].wait()
        for number in range(stage.options.rounds):
            for count, served in products.items():
                say(f"round {number + 1} of {stage.options.rounds}: {count} process{'es' * (count > 1)}")
                stage.raw.processes.setdefault(str(count), []).append(_processes_once(stage, served))
    except StartError as error:
        stage.raw.missing["two processes"] = str(error)


def _processes_once(stage: Stage, served: product.Product) -> dict[str, Any]:
    def load(seconds: float, *, close: bool) -> Load:
        return Load(
            door="grpc",
            port=served.grpc_port,
            key=served.key,
            model=UNARY_MODEL,
            stream=False,
            in_flight=PROCESS_CONNECTIONS,
            connections=PROCESS_CONNECTIONS,
            seconds=seconds,
            close=close,
        )

    stage.loads.run(load(_PROCESS_SECONDS / 3, close=False))
    members = measure.family(served.running.pid)
    held = measure.connections(members, served.grpc_port)
    with watched(served.running.pid) as watch:
        (result,) = stage.loads.run(load(_PROCESS_SECONDS, close=True))
    return {
        "cost": watch.total / result["calls"] * 1e6,
        "rate": result["calls"] / result["seconds"],
        "connections": sorted((count for count in held.values() if count), reverse=True),
        "cpu_shares": sorted((spent / watch.total for spent in watch.spent.values()), reverse=True),
    }


def memory(stage: Stage, say: Callable[[str], None]) -> None:
    """Resident memory after every tenth of the streams."""
    if "memory" not in stage.options.groups:
        return
    streams = MEMORY_STREAMS // 5 if stage.options.quick else MEMORY_STREAMS
    for name in _MEMORY_SERVERS:
        if name not in stage.subjects:
            continue
        subject, step = stage.subjects[name], streams // _STEPS
        kept = stage.raw.memory.setdefault(name, [])
        for at in range(1, _STEPS + 1):
            say(f"memory, {SERVER_NAMES[name]}: {at * step} of {streams} streams")
            stage.loads.run(
                Load(
                    door=subject.door,
                    port=subject.port,
                    key=subject.key,
                    model=BURST_MODEL,
                    stream=True,
                    in_flight=min(64, step),
                    connections=8,
                    calls=step,
                )
            )
            time.sleep(_SETTLE_SECONDS)
            kept.append((at * step, measure.resident_bytes(measure.family(subject.running.pid))))
