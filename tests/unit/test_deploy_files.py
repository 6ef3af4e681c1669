"""What deploy/compose.yaml says, as far as it can be checked without an engine; the image is in tests/deploy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from adapters.catalog import build_catalog, read_catalog
from adapters.keys import PREFIX, hash_secret, is_key
from adapters.providers.registry import DIALECTS
from adapters.providers.secrets import Secrets
from service.cli import main
from service.settings import Settings
from service.settings.show import problems
from tests.support.parts import ROOT

DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: Final[dict[str, Any]] = COMPOSE["services"]
OURS: Final = ("serve", "work")
PINNED: Final = re.compile(r"(?:[a-z0-9-]+/)?[a-z0-9-]+:\d+\.\d+(\.\d+)?[a-z0-9.-]*")


def mounts(service: str) -> dict[str, Path]:
    """Where folders of the repository are inside of a container."""
    found = {}
    for mount in SERVICES[service]["volumes"]:
        source, target, mode = mount.split(":")
        assert mode == "ro"
        found[target] = (DEPLOY / source).resolve()
    return found


def outside(path: str, service: str) -> Path:
    """The file of the repository that is `path` inside of a container."""
    for target, source in mounts(service).items():
        if path.startswith(f"{target}/"):
            return source / path.removeprefix(f"{target}/")
    raise AssertionError(f"{path} is mounted nowhere")


def settings_of(service: str) -> Settings:
    environment = SERVICES[service]["environment"]
    return Settings.load(outside(environment["EUROUTER_CONFIG"], service), environment)


def test_every_image_has_a_version() -> None:
    images = [service["image"] for service in SERVICES.values()]
    assert len(images) == 4
    assert not [image for image in images if not PINNED.fullmatch(image)]


def test_the_image_has_the_version_of_the_package() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    assert {SERVICES[name]["image"] for name in OURS} == {f"eurouter:{version}"}


def test_nothing_listens_beyond_this_machine() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("service", OURS)
def test_the_settings_are_right_and_their_secrets_are_there(service: str) -> None:
    settings = settings_of(service)
    secrets = Secrets(SERVICES[service]["environment"])
    assert not list(problems(settings, secrets.resolve))
    assert settings.jobs.here is False
    assert settings.kafka.topics == "create"


def test_the_catalogue_has_a_model_that_can_be_used() -> None:
    settings = settings_of("work")
    path = outside(str(settings.catalog.path), "work")
    catalog = build_catalog(
        read_catalog(path),
        {name: dialect.expressible_with for name, dialect in DIALECTS.items()},
        Secrets({}).is_configured,
    )
    assert "simulator/sim-echo" in catalog.models


def test_the_demos_key_is_told_where_its_hash_stands_and_is_that_keys() -> None:
    text = (DEPLOY / "compose.settings.yaml").read_text(encoding="utf-8")
    (key,) = {word for word in re.findall(rf"{PREFIX}\w+", text) if is_key(word)}
    (row,) = settings_of("serve").keys
    pepper = SERVICES["serve"]["environment"]["KEY_PEPPER"]
    assert row.hash == hash_secret(key, pepper.encode())
    assert key[len(PREFIX) :].startswith(row.id)
    assert row.owner == settings_of("serve").kafka.intake[0].owner


def test_clients_find_the_broker_where_it_says_it_is() -> None:
    broker = SERVICES["kafka"]
    advertised = dict(
        listener.split("://") for listener in broker["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    )
    assert settings_of("work").kafka.bootstrap_servers == advertised["INSIDE"]
    assert broker["ports"] == [f"{advertised['HOST']}:9092"]
    assert broker["healthcheck"]["test"][-1] == advertised["INSIDE"]
    # Each listener has a place, a protocol and, but for the controllers', an address.
    listeners = {part.split("://")[0] for part in broker["environment"]["KAFKA_LISTENERS"].split(",")}
    protocols = broker["environment"]["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    assert listeners == {part.split(":")[0] for part in protocols} == {*advertised, "CONTROLLER"}


def test_the_database_is_the_one_that_is_named() -> None:
    given = SERVICES["postgres"]["environment"]
    url = "postgresql://{POSTGRES_USER}:{POSTGRES_PASSWORD}@postgres:5432/{POSTGRES_DB}".format(**given)
    assert {SERVICES[name]["environment"]["DATABASE_URL"] for name in OURS} == {url}


@pytest.mark.parametrize("service", OURS)
def test_every_command_exists(service: str, capsys: pytest.CaptureFixture[str]) -> None:
    (script,) = SERVICES[service]["command"]
    commands = re.findall(r"\beurouter (\w+)", script)
    assert commands == ["simulate", service]
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"], {})
        assert ended.value.code == 0
    assert "usage: eurouter" in capsys.readouterr().out


@pytest.mark.parametrize(("service", "port"), [("serve", "admin.port"), ("work", "jobs.admin_port")])
def test_whether_it_is_healthy_is_asked_where_it_is_told(service: str, port: str) -> None:
    section, _, key = port.partition(".")
    expected = getattr(getattr(settings_of(service), section), key)
    assert f"127.0.0.1:{expected}/readyz" in SERVICES[service]["healthcheck"]["test"][-1]


@pytest.mark.parametrize("service", OURS)
def test_it_may_write_nowhere_but_in_tmp_and_gains_no_rights(service: str) -> None:
    described = SERVICES[service]
    assert described["read_only"] is True
    assert described["tmpfs"] == ["/tmp"]
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    assert not [mount for mount in described["volumes"] if not mount.endswith(":ro")]


@pytest.mark.parametrize("service", OURS)
def test_a_container_is_stopped_no_sooner_than_it_has_drained(service: str) -> None:
    settings = settings_of(service)
    given = int(SERVICES[service]["stop_grace_period"].removesuffix("s"))
    assert given >= settings.drain.pause_seconds + settings.drain.finish_seconds + 5
