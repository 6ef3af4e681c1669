"""What the processes of a run are told: their settings, and the catalogue that says which process calls."""

from __future__ import annotations

from typing import Any, Final

from tests.chaos.schedule import BUSY, CALM, LEASE

PROCESS_HEADER: Final = "x-chaos-process"
"""With this each worker process tells the provider which one it is."""


def settings_of(database: str) -> dict[str, Any]:
    """The settings of all processes, without Kafka."""
    return {
        "grpc": {"port": 0},
        "http": {"port": 0},
        "admin": {"port": 0},
        "database": {"url": database, "pool_size": 6},
        "drain": {"pause_seconds": 0, "finish_seconds": 2},
        # Few at a time, so that every worker has some at every moment.
        "jobs": {
            "here": False,
            "admin_port": 0,
            "concurrency": 10,
            "per_owner": 1000,
            "lease_seconds": LEASE,
        },
        "upstream": {"connect_seconds": 5, "first_byte_seconds": 30, "idle_seconds": 30},
    }


def catalogue_of(provider: str, process: str) -> dict[str, Any]:
    """The catalogue of one process."""
    price = {"prompt": 1, "completion": 1}
    names = {f"chaos/{name}": f"sim-echo-pace-{pace}ms" for name, pace in CALM.items()}
    for name, (calls, seconds) in BUSY.items():
        names[f"chaos/{name}"] = f"sim-echo-pace-30ms-busy-{calls}-{seconds}s"
    return {
        "providers": [
            {
                "slug": "simulator",
                "dialect": "openai_chat",
                "base_url": f"{provider}/v1",
                "ours": True,
                "quirks": {"headers": {PROCESS_HEADER: process}},
            }
        ],
        "models": [
            {"id": name, "endpoints": [{"provider": "simulator", "model": model, "price": price}]}
            for name, model in names.items()
        ],
    }
