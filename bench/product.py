"""Starts the service as its users do: the console script, a settings file, a catalogue, a key.

Everything is as shipped but for what a run needs: ports, a catalogue whose only provider is the simulator,
one key (so that authentication counts), its SQLite file in the run's folder (or a database that is given), a short
drain. Its log goes to a file, at the default level.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from adapters.keys import hash_secret, make_key, public_id
from bench import fleet
from bench.fleet import Running, StartError
from bench.traffic import BURST_MODEL, DIALECTS, MODELS, UNARY_MODEL, VENDOR, name_of

SCRIPT: Final = Path(sys.executable).with_name("eurouter")
_PEPPER: Final = b"a pepper for benchmarks only, thirty-two bytes or more"
_OWNER: Final = "bench"


@dataclass(frozen=True, slots=True)
class Product:
    """The running service and the settings that it was given."""

    running: Running
    grpc_port: int
    http_port: int
    key: str
    settings: Mapping[str, Any]

    def wait(self) -> None:
        """Returns when both doors are open.

        Raises:
            StartError: it ended or did not open them in time.
        """
        self.running.wait_for_port(self.grpc_port)
        self.running.wait_for_port(self.http_port)


def start(
    name: str,
    upstream_url: str,
    cores: frozenset[int],
    folder: Path,
    *,
    processes: int = 1,
    profile: Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Product:
    """Starts it; `wait` tells when it serves. `profile`: run it under `bench.profiled`, which writes there.

    `changes` are settings by their first name, instead of the bench's own.

    Raises:
        StartError: it is not installed.
    """
    if not SCRIPT.exists():
        raise StartError(f"{SCRIPT} is missing: run `make setup`")
    ports = {door: fleet.free_port() for door in ("grpc", "http", "admin")}
    key = make_key()
    catalog = write(folder / f"{name}-catalog.yaml", catalog_of(upstream_url))
    pepper = folder / f"{name}-pepper"
    pepper.write_bytes(_PEPPER)
    database = {"database": {"url": f"sqlite:///{folder.resolve() / name}.db"}}
    settings = _settings(ports, catalog, pepper, key, processes) | database | dict(changes or {})
    file = write(folder / f"{name}.yaml", settings)
    command = [str(SCRIPT), "serve", "--config", str(file)]
    wrapper = [sys.executable, "-m", "bench.profiled", str(profile)] if profile else []
    running = Running(name, [*wrapper, *command], cores, folder)
    return Product(running, ports["grpc"], ports["http"], key, settings)


def _settings(ports: dict[str, int], catalog: Path, pepper: Path, key: str, processes: int) -> dict[str, Any]:
    row = {"id": public_id(key), "hash": hash_secret(key, _PEPPER), "name": "bench", "owner": _OWNER}
    return {
        "grpc": {"port": ports["grpc"]},
        "http": {"port": ports["http"]},
        "admin": {"port": ports["admin"]},
        "processes": processes,
        "catalog": {"path": str(catalog)},
        "owners": [{"name": _OWNER}],
        "keys": [row],
        "key_pepper": f"file:{pepper}",
        "drain": {"pause_seconds": 0},
    }


def catalog_of(upstream_url: str) -> dict[str, Any]:
    """The catalogue of a run: the simulator's models at one provider, two of them in every dialect as well.

    `upstream_url` ends in /v1.
    """

    def provider(slug: str, dialect: str, base_url: str) -> dict[str, Any]:
        price = {"prompt": 1, "completion": 2}
        return {"slug": slug, "dialect": dialect, "base_url": base_url, "simulator": True, "price": price}

    address = upstream_url.removesuffix("/v1")
    providers = [provider("simulator", "openai_chat", upstream_url)]
    providers += [provider(dialect, dialect, address + path) for dialect, path in DIALECTS.items()]
    models = [
        {"id": f"{VENDOR}/{model}", "endpoints": [{"provider": "simulator", "model": model}]} for model in MODELS
    ]
    models += [
        {"id": f"{VENDOR}/{name_of(dialect, model)}", "endpoints": [{"provider": dialect, "model": model}]}
        for dialect in DIALECTS
        for model in (UNARY_MODEL, BURST_MODEL)
    ]
    return {"providers": providers, "models": models}


def write(path: Path, document: Mapping[str, Any]) -> Path:
    """Writes a document as YAML; the path once more."""
    path.write_text(yaml.safe_dump(dict(document), sort_keys=False))
    return path
