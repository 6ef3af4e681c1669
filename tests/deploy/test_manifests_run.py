"""The pods' containers as processes of this machine: their arguments, variables, settings and secrets, no kubelet.

Only ports and folders are others, so that they are free. Probes are asked as the manifests ask them.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.deploy.manifests import GIVEN, SERVICE, WORKER, environment, main_container, migration, workload
from tests.deploy.objects import Object, Workload
from tests.integration.conftest import private_server
from tests.support import parts, postgres
from tests.support.running import free_ports

pytestmark = pytest.mark.slow

DEMO_KEY: Final = "eur_demoDEMO0002onlyForTryingThingsOut02"
PROGRAM: Final = Path(sys.executable).with_name("eurouter")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str


def ask(port: int | str, path: str, body: object = None, key: str = "") -> Answer:
    """One HTTP exchange; status 0: nobody listens."""
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", data, headers), timeout=5) as answer:
            return Answer(answer.status, answer.read().decode())
    except HTTPError as error:
        with error:
            return Answer(error.code, error.read().decode())
    except OSError:
        return Answer(0, "")


def until(condition: Callable[[], bool], what: Callable[[], str], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.1)


class Running:
    """A container's process. It is told to end with the context, as a kubelet tells it."""

    def __init__(self, container: Object, arguments: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        folder.mkdir(parents=True)
        self._container = container
        self._env = env
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [PROGRAM, *arguments], env={"HOME": "/nonexistent", **env}, cwd=folder, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def probe(self, kind: str) -> Answer:
        section = "JOBS__ADMIN" if "work" in self._container["args"] else "ADMIN_"
        port = self._env[f"EUROUTER_{section}_PORT"]
        return ask(port, self._container[kind]["httpGet"]["path"])

    def until_probed(self, kind: str, status: int, text: str = "") -> None:
        def said() -> bool:
            assert self.process.poll() is None, self.log
            answer = self.probe(kind)
            return answer.status == status and text in answer.text

        until(said, lambda: f"{kind}: {self.probe(kind)}, not {status} {text}\n{self.log}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()


def on_free_ports(name: str, of: Workload, folder: Path, secrets: Mapping[str, str]) -> dict[str, str]:
    """A pod's variables, on loopback and without the time that a drain leaves for balancers and long calls."""
    env = environment(name, of, folder, secrets=secrets)
    doors = ("GRPC_", "HTTP_", "ADMIN_", "JOBS__ADMIN")
    env |= {f"EUROUTER_{door}_HOST": "127.0.0.1" for door in doors}
    env |= {f"EUROUTER_{door}_PORT": str(port) for door, port in zip(doors, free_ports(len(doors)), strict=True)}
    return env | {"EUROUTER_DRAIN__PAUSE_SECONDS": "0", "EUROUTER_DRAIN__FINISH_SECONDS": "1"}


def test_dev_answers_with_the_key_and_the_model_that_its_page_names(tmp_path: Path) -> None:
    found = workload("dev", SERVICE)
    env = on_free_ports("dev", found, tmp_path, {})
    env["EUROUTER_DATABASE__URL"] = f"sqlite:///{tmp_path}/state/eurouter.db"
    (port,) = map(str, free_ports(1))
    catalogue = tmp_path / "settings" / "catalogue.yaml"
    catalogue.write_text(catalogue.read_text(encoding="utf-8").replace("9000", port), encoding="utf-8")
    (sidecar,) = found.pod["initContainers"]
    arguments = [argument.replace("9000", port) for argument in sidecar["args"]]
    main = main_container(found)
    with (
        Running(sidecar, arguments, {}, tmp_path / "simulator") as simulator,
        Running(main, main["args"], env, tmp_path / "service") as service,
    ):
        service.until_probed("readinessProbe", 200)
        until(lambda: ask(port, "/").status == 200, lambda: simulator.log)
        question = {"model": "small", "messages": [{"role": "user", "content": "Hello"}]}
        path = "/v1/chat/completions"
        answer = ask(env["EUROUTER_HTTP__PORT"], path, question, DEMO_KEY)
        assert answer.status == 200, answer
        assert "Hello" in json.loads(answer.text)["choices"][0]["message"]["content"]
        assert ask(env["EUROUTER_HTTP__PORT"], path, question).status == 401
    assert (service.process.returncode, simulator.process.returncode) == (0, 0)


def test_prod_waits_for_its_secrets_and_for_its_schema_and_then_is_ready(tmp_path: Path, certificate: str) -> None:
    parts.require("a private PostgreSQL", postgres.can_start(), postgres.HOW)
    with private_server() as server, ExitStack() as stack:
        given = {**GIVEN, "database-url": server.database(), "kafka-ca.crt": certificate}
        pods = {}
        for which in (SERVICE, WORKER):
            folder, found = tmp_path / which, workload("prod", which)
            env = on_free_ports("prod", found, folder, {})
            main = main_container(found)
            pods[folder] = stack.enter_context(Running(main, main["args"], env, folder / "run"))
        for pod in pods.values():
            pod.until_probed("startupProbe", 200)
            pod.until_probed("readinessProbe", 503, "database-url")
        for folder in pods:
            for key, value in given.items():
                (folder / "secrets" / key).write_text(value, encoding="utf-8")
        for pod in pods.values():
            pod.until_probed("readinessProbe", 503, "eurouter db migrate")
            assert pod.probe("livenessProbe").status == 200
        migrate(tmp_path / "job", given)
        for pod in pods.values():
            pod.until_probed("readinessProbe", 200)
    assert {pod.process.returncode for pod in pods.values()} == {0}
    assert not [secret for secret in given.values() for pod in pods.values() if secret in pod.log]


def migrate(folder: Path, given: Mapping[str, str]) -> None:
    """What the Job does."""
    found = migration()
    env = environment("prod", found, folder, secrets={"database-url": given["database-url"]})
    main = main_container(found)
    with Running(main, main["args"], env, folder / "run") as job:
        assert job.process.wait(60) == 0, job.log
