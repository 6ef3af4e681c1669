"""A pod whose settings file is not there yet: it says which, waits with its admin port open, takes what comes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from adapters.condition_telemetry import ConditionGauge, ReadyGauge
from adapters.condition_text import ConditionText
from service.admin_place import OF_SERVICE
from service.conditions import Conditions, Part
from service.settings import Settings, SettingsError, SettingsFileError
from service.waiting_for_settings import look, wait_for_settings
from tests.support.parts import ROOT
from tests.support.starting import Starting, free_port, rows, starting, write


def no_file(file: Path) -> str:
    return (
        f"there is no settings file {file}: put it there (in Kubernetes: the key '{file.name}' of the ConfigMap "
        f"that is mounted at {file.parent})"
    )


class Mounted:
    """A folder as a kubelet mounts an optional ConfigMap: what it holds is swapped as a whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "..0").mkdir(parents=True)
        (folder / "..data").symlink_to("..0")
        self.file = folder / "settings.yaml"
        self._versions = 0

    def bring(self, settings: dict[str, object]) -> None:
        """The key as it is from now on."""
        self._versions += 1
        version = self._folder / f"..{self._versions}"
        version.mkdir()
        write(version / "settings.yaml", settings)
        (self._folder / "..data_tmp").symlink_to(version.name)
        (self._folder / "..data_tmp").rename(self._folder / "..data")
        if not self.file.is_symlink():
            self.file.symlink_to("..data/settings.yaml")


async def ends_at_once(child: Starting) -> None:
    began = asyncio.get_running_loop().time()
    child.process.send_signal(signal.SIGTERM)
    assert await child.ended() == 0
    assert asyncio.get_running_loop().time() - began < 5


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
async def test_a_pod_waits_for_its_configmap_says_its_key_and_begins_with_what_that_holds(
    sqlite_url: str, processes: int, tmp_path: Path
) -> None:
    mounted, port = Mounted(tmp_path / "mounted"), free_port()
    settings = rows(admin=port, url=sqlite_url, database={"auto_migrate": True}, processes=processes)
    settings |= {"grpc": {"port": free_port()}, "http": {"port": free_port()}}
    env = {"EUROUTER_ADMIN__PORT": str(port)}
    async with starting(mounted.file, None, env=env, admin=port) as child:
        await child.until(503, f"not ready: settings: {no_file(mounted.file)}\n")
        assert await child.get("/livez") == (200, "ok\n"), "nothing restarts it meanwhile"
        assert (await child.get("/startedz"))[0] == 503
        assert await child.gauge("settings") == 0.0
        mounted.bring({**settings, "databse": {}})
        status, text = await child.says("not ready: settings: databse: is not a known key")
        assert (status, text.count("\n")) == (503, 1)
        mounted.bring(settings)
        await child.until(200, "ready\n")
        assert await child.gauge("settings") == 1.0
        assert len(child.events("server_started")) == processes
        assert not child.events("settings_need_restart"), "it began with what came"
    assert child.process.returncode == 0
    assert [part for _, part, _ in child.conditions()] == ["settings"] * 3, "told, told, mended"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve", "work"])
async def test_a_pod_without_its_settings_ends_at_once_when_it_is_told_to(command: str, tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "settings.yaml"
    env = {"EUROUTER_ADMIN__PORT": str(port), "EUROUTER_JOBS__ADMIN_PORT": str(port)}
    async with starting(file, None, command=(command, "--wait"), env=env, admin=port) as child:
        await child.until(503, f"not ready: settings: {no_file(file)}\n")
        await ends_at_once(child)


@pytest.mark.slow
async def test_a_worker_that_waited_for_its_settings_waits_for_the_rest_and_hears_sigterm_there(
    sqlite_url: str, tmp_path: Path
) -> None:
    port, file = free_port(), tmp_path / "settings.yaml"
    env = {"EUROUTER_JOBS__ADMIN_PORT": str(port)}
    async with starting(file, None, command=("work", "--wait"), env=env, admin=port) as child:
        await child.says("not ready: settings: there is no settings file ")
        write(file, rows(admin=port, url=sqlite_url))
        await child.says("not ready: database: ", "has no schema yet")
        await ends_at_once(child)


@pytest.mark.slow
@pytest.mark.parametrize("command", [("serve",), ("work",), ("db", "migrate")], ids=" ".join)
async def test_without_wait_a_missing_settings_file_is_one_line_and_the_end(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    async with starting(file, None, command=command) as child:
        assert await child.ended() == 1
        assert child.lines() == [no_file(file)]


@pytest.mark.slow
async def test_a_migration_waits_for_its_settings_file_and_says_so_once(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    async with starting(file, None, command=("db", "migrate", "--wait")) as child:
        async with asyncio.timeout(20):
            while not child.lines():
                await asyncio.sleep(0.1)
        await asyncio.sleep(1.5)
        write(file, rows(admin=free_port(), url=sqlite_url))
        assert await child.ended() == 0
    waited, done = child.lines()
    assert waited == f"waiting: {no_file(file)}"
    assert "the schema is up to date" in done


def test_the_wait_for_settings_loads_nothing_that_must_know_how_many_processes_count() -> None:
    code = "import sys, service.waiting_for_settings; print({'prometheus_client', 'grpc'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


@pytest.mark.slow
def test_a_signal_that_comes_when_the_loop_that_waited_has_just_ended_is_not_lost(
    sqlite_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    write(file, rows(admin=free_port(), url=sqlite_url))
    code = f"""
import os, signal
from pathlib import Path
from service import waiting_for_settings as waiting
from service.admin_place import OF_WORKER
from service.sigterm import ended_by_sigterm
run = waiting.run
def run_and_then_be_told(main):
    code = run(main)
    os.kill(os.getpid(), signal.SIGTERM)
    return code
waiting.run = run_and_then_be_told
env = {{"EUROUTER_JOBS__ADMIN_PORT": "{free_port()}"}}
with ended_by_sigterm():
    print(waiting.wait_for_settings(Path({str(file)!r}), env, OF_WORKER, again=0.01))
    os.kill(os.getpid(), signal.SIGTERM)
    print("lost")
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (143, "0\n"), "told to stop; and what was there before handles the next"


def test_its_metrics_read_as_those_of_the_library_do() -> None:
    registry, text = CollectorRegistry(), ConditionText()
    gauge = ConditionGauge(registry)
    ReadyGauge(registry).show(ready=False)
    for show in (gauge.show, text.show):
        show("database", good=False)
        show("settings", good=True)
    assert text.render() == generate_latest(registry)


def test_what_the_environment_says_wrong_of_the_admin_port_ends_the_wait_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        wait_for_settings(tmp_path / "none.yaml", {"EUROUTER_ADMIN__PORT": "99999"}, OF_SERVICE)
    assert raised.value.lines == (
        "admin.port: must be 0..65535, got '99999' (it comes from EUROUTER_ADMIN__PORT)",
    )


def test_what_only_a_settings_file_explains_is_no_mistake_while_there_is_none(tmp_path: Path) -> None:
    """A variable whose name looks like a setting's, and that the file refers to; keys, whose pepper it names."""
    file, port = tmp_path / "settings.yaml", free_port()
    env = {
        "EUROUTER_ADMIN__PORT": str(port),
        "EUROUTER_KEY_PEPER": "x" * 32,
        "EUROUTER_GRPC__TLS__CERT": "tls.crt",
    }
    with pytest.raises(SettingsError, match="EUROUTER_KEY_PEPER: is not a known setting"):
        Settings.load(None, {"EUROUTER_KEY_PEPER": "x" * 32})
    write(file, {"key_pepper": "env:EUROUTER_KEY_PEPER", "grpc": {"tls": {"key": "tls.key"}}})
    found = wait_for_settings(file, env, OF_SERVICE, again=0.01)
    assert isinstance(found, Settings)
    assert found.key_pepper == "env:EUROUTER_KEY_PEPER"


async def test_a_settings_file_that_nobody_may_read_is_looked_at_again_though_it_looks_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, conditions, denied = tmp_path / "settings.yaml", Conditions(), True
    write(file, {"hint_fields": ["mine"]})
    load = Settings.load

    def may(path: Path | None, env: dict[str, str]) -> Settings:
        if denied:
            raise SettingsFileError(["Permission denied"])
        return load(path, env)

    monkeypatch.setattr(Settings, "load", may)
    looking = asyncio.ensure_future(look(file, {}, conditions, 0.01))
    async with asyncio.timeout(5):
        while conditions.why(Part.SETTINGS) != ("Permission denied",):
            await asyncio.sleep(0.01)
    denied = False
    assert (await asyncio.wait_for(looking, 5)).hint_fields == ("mine",)
    assert not conditions.why(Part.SETTINGS)
