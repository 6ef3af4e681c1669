"""The built image's commands as a pod runs them: a read-only root, user 10001, no capabilities.

`make image-test` builds it (see `image_build`) and runs these.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from eurouter.v1 import chat_pb2_grpc
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.clients.prepare import is_ready
from tests.deploy.image_build import can_run, prepared, tidy
from tests.deploy.image_pod import Pod
from tests.deploy.image_rules import AT_MOST_MEGABYTES
from tests.support.parts import ROOT, require
from tests.support.running import ask, free_ports, plain_channel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MEGABYTE: Final = 1_000_000
ADDED_AT_MOST: Final = 205 * MEGABYTE
"""/opt/eurouter with the bytecode of the standard library and everything else that is added to the base."""

MODEL: Final = "simulator/sim-echo"


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    users = Path("/proc/self/uid_map")
    if users.exists() and "4294967295" not in users.read_text(encoding="utf-8"):
        # `make test-all` has no users but its own; that is no fault of the machine, in CI neither.
        pytest.skip("part missing: the built image: run `make image-test`, as root on Linux")
    there = can_run() and is_ready(prepared())
    require("the built image", there, "run `make image-test`, as root on Linux")
    yield prepared()
    tidy(prepared())


@pytest.fixture
def pod(built: Path, tmp_path: Path) -> Pod:
    return Pod(built, tmp_path)


def files(built: Path, folder: str) -> list[Path]:
    """Every file that the image has under a folder beyond what its base has."""
    return [path for path in (built / "runtime" / folder).rglob("*") if path.is_file() and not path.is_symlink()]


def in_packages(built: Path) -> Path:
    (found,) = (built / "runtime/opt/eurouter/lib").glob("python3.*/site-packages")
    return found


def test_its_version_is_the_packages(pod: Pod) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    assert pod.run("--version").stdout == f"eurouter {version}\n"


def test_nobody_can_write_anything_but_in_the_two_folders(pod: Pod) -> None:
    tried = ("/", "/opt/eurouter", "/var/lib", "/etc/eurouter/..", "/usr/local/lib", "/tmp", "/var/lib/eurouter")
    script = "; ".join(f"touch {folder}/probe && echo {folder}" for folder in tried)
    said = pod.run("sh", "-c", script, entry=False)
    assert said.stdout.split() == ["/tmp", "/var/lib/eurouter"]
    assert said.stderr.count("Read-only file system") == len(tried) - 2


def test_it_is_nobody_and_may_nothing(pod: Pod) -> None:
    said = pod.run(
        "sh", "-c", "id -u; id -g; id -G; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status", entry=False
    )
    *ids, effective, bounding, no_new = said.stdout.split("\n")[:6]
    assert ids == ["10001", "10001", "10001"]
    assert {int(line.split()[1], 16) for line in (effective, bounding)} == {0}
    assert no_new.split()[1] == "1"


def test_the_settings_can_be_checked(pod: Pod) -> None:
    said = pod.run("config", "check")
    assert said.returncode == 0, said.stderr
    assert "1 model, of which 1 can be used now" in said.stdout


def test_a_migration_makes_the_schema_and_the_status_tells_it(pod: Pod) -> None:
    assert pod.run("db", "status").returncode == 1
    migrated = pod.run("db", "migrate")
    assert migrated.returncode == 0, migrated.stderr
    status = pod.run("db", "status")
    assert status.returncode == 0, status.stderr
    assert "up to date" in status.stdout
    assert "state/eurouter.db" in pod.written()
    assert not [path for path in pod.written() if not path.startswith("state/eurouter.db")]


def test_without_a_folder_for_its_database_it_says_which_one_it_needs(pod: Pod) -> None:
    pod.state_mounted = False
    said = pod.run("db", "migrate")
    assert said.returncode == 1
    assert len(said.stderr.splitlines()) <= 2
    assert "/var/lib/eurouter" in said.stderr


@pytest.mark.parametrize("processes", [1, 2])
async def test_the_service_answers_at_both_doors_and_leaves_nothing_in_tmp(pod: Pod, processes: int) -> None:
    grpc, http, admin, upstream = free_ports(4)
    doors = {"grpc": {"port": grpc}, "http": {"port": http}, "admin": {"port": admin}}
    pod.configure({**doors, "processes": processes}, upstream)
    async with (
        pod.running("simulate", "--port", str(upstream), until="/v1"),
        pod.running("serve", until="==> HTTP on "),
        aiohttp.ClientSession() as session,
    ):
        await ready(session, admin)
        question = {"model": "small", "messages": [{"role": "user", "content": "over HTTP"}]}
        async with session.post(f"http://127.0.0.1:{http}/v1/chat/completions", json=question) as answer:
            assert (await answer.json())["choices"][0]["message"]["content"] == "over HTTP"
        async with plain_channel(f"127.0.0.1:{grpc}") as channel:
            said = await chat_pb2_grpc.ChatServiceStub(channel).CreateChatCompletion(ask(MODEL, "over gRPC"))
            assert said.choices[0].message.content == "over gRPC"
        in_tmp = [path for path in pod.written() if path.startswith("tmp/")]
        assert bool(in_tmp) == (processes > 1), in_tmp
    assert not [path for path in pod.written() if not path.startswith("state/eurouter.db")]


async def test_a_worker_does_what_the_service_accepted(pod: Pod) -> None:
    grpc, http, admin, upstream, at_work = free_ports(5)
    doors = {"grpc": {"port": grpc}, "http": {"port": http}, "admin": {"port": admin}}
    pod.configure({**doors, "jobs": {"here": False, "admin_port": at_work}}, upstream)
    async with (
        pod.running("simulate", "--port", str(upstream), until="/v1"),
        pod.running("serve", until="==> HTTP on "),
        pod.running("work", until="==> probes and metrics on "),
        aiohttp.ClientSession(f"http://127.0.0.1:{http}") as session,
    ):
        await ready(session, at_work)
        question = {"model": "small", "input": "in the background", "background": True}
        async with session.post("/v1/responses", json=question) as accepted:
            job = (await accepted.json())["id"]
        async with asyncio.timeout(20):
            while (response := await fetched(session, job))["status"] in ("queued", "in_progress"):
                await asyncio.sleep(0.05)
    assert response["status"] == "completed", response
    assert response["output"][0]["content"][0]["text"] == "in the background"


async def ready(session: aiohttp.ClientSession, admin: int) -> None:
    """Waits until a process says that it is."""
    async with asyncio.timeout(20):
        while True:
            async with session.get(f"http://127.0.0.1:{admin}/readyz") as said:
                if said.status == 200:
                    return
            await asyncio.sleep(0.05)


async def fetched(session: aiohttp.ClientSession, job: str) -> dict[str, Any]:
    async with session.get(f"/v1/responses/{job}") as answer:
        return dict(json.loads(await answer.text()))


def test_the_packages_in_it_are_those_of_the_lock_file_and_no_others(built: Path) -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    locked = [Requirement(line.partition("\\")[0]) for line in lines if re.match(r"[a-z]", line)]
    expected = {canonicalize_name(one.name) for one in locked if one.marker is None or one.marker.evaluate()}
    found = {path.name.split("-")[0] for path in in_packages(built).glob("*.dist-info")}
    assert {canonicalize_name(name) for name in found} == {*expected, "eurouter"}
    assert not {"pytest", "ruff", "mypy"} & expected


def test_no_compiler_no_pip_no_tests_and_nothing_to_build_with(built: Path, pod: Pod) -> None:
    names = {path.name for path in files(built, "opt")}
    assert not names & {"pip", "pip3", "gcc", "cc", "ld", "make", "hatchling", "conftest.py"}
    assert not [path for path in (built / "runtime/opt").rglob("tests") if path.is_dir()]
    asked = [
        pod.run("python", "-c", f"import {name}", entry=False).stderr
        for name in ("pip", "setuptools", "hatchling")
    ]
    assert all("ModuleNotFoundError" in said for said in asked), asked
    # The base's own are gone, too.
    for python in ("/usr/local/bin/python", "/opt/eurouter/bin/python"):
        assert pod.run(python, "-m", "ensurepip", "--version", entry=False).returncode != 0


def test_every_module_has_bytecode_that_no_time_makes_old(built: Path) -> None:
    modules = [path for path in files(built, "opt/eurouter/lib") if path.suffix == ".py"]
    assert len(modules) > 2000
    for module in modules:
        (compiled,) = (module.parent / "__pycache__").glob(f"{module.stem}.cpython-*.pyc")
        # PEP 552: bit 0 says hash instead of time, bit 1 whether the source is looked at.
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 1, compiled


def test_aws_credentials_find_the_descriptions_that_they_need(pod: Pod) -> None:
    code = """
from botocore.session import Session
for name in ("sts", "sso", "sso-oidc", "signin"):
    client = Session().create_client(name, "eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
    print(name, client.meta.endpoint_url)
"""
    said = pod.run("python", "-c", code, entry=False)
    assert said.returncode == 0, said.stderr
    assert "sts https://sts.eu-central-1.amazonaws.com" in said.stdout
    assert len(said.stdout.splitlines()) == 4


def test_it_weighs_no_more_than_it_may(built: Path) -> None:
    packages = in_packages(built)
    weights: dict[str, int] = {}
    for path in files(built, "opt/eurouter"):
        below = path.relative_to(packages).parts[0] if path.is_relative_to(packages) else "(environment)"
        weights[below] = weights.get(below, 0) + path.stat().st_size
    added = sum(path.stat().st_size for path in files(built, ""))
    largest = sorted(weights, key=lambda name: -weights[name])[:10]
    print(
        f"\n/opt/eurouter {sum(weights.values()) / MEGABYTE:.0f} MB, all that is added {added / MEGABYTE:.0f} MB"
    )
    print("\n".join(f"{weights[name] / MEGABYTE:6.1f} MB  {name}" for name in largest))
    assert 100 * MEGABYTE < sum(weights.values()) < AT_MOST_MEGABYTES * MEGABYTE
    assert added < ADDED_AT_MOST


def test_the_same_files_make_the_same_wheel(built: Path, tmp_path: Path) -> None:
    wheels = []
    for moment in (1_000_000_000, 1_700_000_000):
        source = tmp_path / str(moment)
        shutil.copytree(built / "context", source)
        for path in source.rglob("*"):
            os.utime(path, (moment, moment))
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
            cwd=source, check=True, capture_output=True,
        )  # fmt: skip
        wheels += [path.read_bytes() for path in (source / "dist").glob("*.whl")]
    assert len(wheels) == 2
    assert wheels[0] == wheels[1]
