"""The settings of each overlay, checked by the product itself, and the secrets that they name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import yaml

from adapters.catalog.load import DEFAULT_CATALOG
from adapters.catalog.watch import FileCatalog
from adapters.database.url import SqliteTarget, parse_url
from adapters.keys import PREFIX, SettingsKeys, hash_secret, is_key
from adapters.providers.registry import DIALECTS
from adapters.providers.secrets import Secrets
from service import cli
from service.domain.catalog import ProviderStatus
from service.settings import Settings
from service.settings.show import problems
from tests.deploy.manifests import (
    GIVEN,
    LONG_RUNNING,
    SECRETS,
    SERVICE,
    WORKER,
    environment,
    main_container,
    one,
    overlay,
    settings,
    workload,
)
from tests.deploy.objects import OVERLAYS, of_kind

EXAMPLE: Final = OVERLAYS / "prod" / "secrets.example.yaml"


@pytest.mark.parametrize(("name", "which"), LONG_RUNNING)
def test_config_check_finds_nothing_wrong(
    name: str, which: str, tmp_path: Path, certificate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    env = environment(name, workload(name, which), tmp_path, secrets={**GIVEN, "kafka-ca.crt": certificate})
    assert cli.main(["config", "check"], env) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert not [secret for secret in GIVEN.values() if secret in said.out]


def test_config_check_would_find_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = environment("prod", workload("prod", SERVICE), tmp_path, secrets={"key-pepper": "too short"})
    assert cli.main(["config", "check"], env) == 1
    wrong = capsys.readouterr().err
    assert all(key in wrong for key in ("key_pepper", "database.url", "kafka.security.password", "ca_file"))


def test_production_keeps_data_in_europe_unless_somebody_edits_that(tmp_path: Path) -> None:
    said = settings("prod", workload("prod", SERVICE), tmp_path)
    assert said.floor.data_residency == ("eu",)
    assert said.floor.data_collection == "deny"


@pytest.mark.parametrize("which", [SERVICE, WORKER])
def test_in_production_workers_do_the_work_and_the_job_the_migrations(which: str, tmp_path: Path) -> None:
    said = settings("prod", workload("prod", which), tmp_path)
    assert said.database.auto_migrate is False
    if which == SERVICE:
        assert said.jobs.here is False


def test_dev_is_one_process_that_does_everything_on_a_file_that_lasts(tmp_path: Path) -> None:
    found = workload("dev", SERVICE)
    said = settings("dev", found, tmp_path)
    assert said.jobs.here is True
    assert said.database.auto_migrate is True
    target = parse_url(said.database.url or "")
    assert isinstance(target, SqliteTarget)
    volumes = {volume["name"]: volume for volume in found.pod["volumes"]}
    (at,) = [
        volumes[mount["name"]]
        for mount in main_container(found)["volumeMounts"]
        if Path(mount["mountPath"]) in Path(target.path).parents
    ]
    (claim,) = of_kind(overlay("dev"), "PersistentVolumeClaim")
    assert at["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_the_key_of_dev_is_told_where_its_hash_stands_and_is_that_keys(tmp_path: Path) -> None:
    found = workload("dev", SERVICE)
    text = (OVERLAYS / "dev" / "settings.yaml").read_text(encoding="utf-8")
    (key,) = {word for word in re.findall(rf"{PREFIX}\w+", text) if is_key(word)}
    said = settings("dev", found, tmp_path)
    (row,) = said.keys
    pepper = (tmp_path / "secrets" / "key-pepper").read_text(encoding="utf-8")
    assert row.hash == hash_secret(key, pepper.encode())
    assert row.id == key[len(PREFIX) :][:12]
    secrets = Secrets({})
    assert not list(problems(said, secrets.resolve))


def test_the_simulator_of_dev_is_where_its_catalogue_says_and_on_loopback() -> None:
    (sidecar,) = workload("dev", SERVICE).pod["initContainers"]
    assert (sidecar["args"][0], sidecar["restartPolicy"]) == ("simulate", "Always")
    port = sidecar["args"][sidecar["args"].index("--port") + 1]
    catalogue = yaml.safe_load(one("dev", "ConfigMap", "eurouter-settings")["data"]["catalogue.yaml"])
    (provider,) = catalogue["providers"]
    assert provider["base_url"] == f"http://127.0.0.1:{port}/v1"
    assert provider["simulator"] is True


def test_the_key_that_production_begins_with_opens_nothing(tmp_path: Path) -> None:
    (row,) = settings("prod", workload("prod", SERVICE), tmp_path).keys
    assert row.disabled
    assert set(row.hash) == {"0"}


def test_the_first_key_is_made_in_a_pod_and_takes_that_ones_place(
    tmp_path: Path, certificate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command of the page, which runs with the pod's settings and secrets."""
    env = environment("prod", workload("prod", SERVICE), tmp_path, secrets={**GIVEN, "kafka-ca.crt": certificate})
    assert cli.main(["keys", "create", "--name", "ci", "--owner", "team-a"], env) == 0
    said = capsys.readouterr().out
    (key,) = {word for word in said.split() if is_key(word)}
    (row,) = yaml.safe_load(said.partition("`keys:`\n")[2])
    path = Path(env["EUROUTER_CONFIG"])
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [placeholder["id"] for placeholder in written["keys"]] == ["replaceMe000"]
    path.write_text(yaml.safe_dump(written | {"keys": [row]}), encoding="utf-8")
    assert cli.main(["config", "check"], env) == 0
    rows = Settings.load(path, env).key_rows
    keys = SettingsKeys(lambda: rows, lambda: GIVEN["key-pepper"].encode())
    assert keys.authenticate(key).owner == "team-a"


def test_every_secret_that_production_names_stands_in_the_example() -> None:
    example = {one["metadata"]["name"]: one["stringData"] for one in yaml.safe_load_all(EXAMPLE.read_text())}
    text = one("prod", "ConfigMap", "eurouter-settings")["data"]["settings.yaml"]
    named = set(re.findall(rf"{SECRETS}/([\w.-]+)", text))
    assert named == {"database-url", "key-pepper", "kafka-password", "kafka-ca.crt"}
    assert named <= set(example["eurouter-secrets"])
    asked = {
        (row["name"], row["key"])
        for found in of_kind(overlay("prod"), "TriggerAuthentication")
        for row in found["spec"]["secretTargetRef"]
    }
    assert asked == {
        *(("eurouter-keda", key) for key in example["eurouter-keda"]),
        ("eurouter-secrets", "kafka-ca.crt"),
    }


def test_the_example_of_secrets_holds_none_and_is_not_applied() -> None:
    for example in yaml.safe_load_all(EXAMPLE.read_text(encoding="utf-8")):
        assert set(example["stringData"].values()) == {""}
    assert not of_kind(overlay("prod"), "Secret")


def test_a_providers_key_that_comes_into_the_secret_switches_it_on_without_a_restart(tmp_path: Path) -> None:
    env = environment("prod", workload("prod", SERVICE), tmp_path)
    ticks = iter(range(0, 1000, 2))
    secrets = Secrets(env, clock=lambda: float(next(ticks)))
    dialects = {name: dialect.expressible_with for name, dialect in DIALECTS.items()}
    catalog = FileCatalog(DEFAULT_CATALOG, dialects, secrets.is_configured)
    assert catalog.current().providers["mistral"].status is ProviderStatus.NOT_CONFIGURED
    key = tmp_path / "secrets" / "MISTRAL_API_KEY"
    key.write_text("sk-of-the-test\n", encoding="utf-8")
    assert catalog.poll()
    assert catalog.current().providers["mistral"].status is ProviderStatus.ACTIVE
    key.unlink()
    assert catalog.poll()
    assert catalog.current().providers["mistral"].status is ProviderStatus.NOT_CONFIGURED


def test_the_example_names_providers_keys_as_the_catalogue_does() -> None:
    catalogue = DEFAULT_CATALOG.read_text(encoding="utf-8")
    (secret, _) = yaml.safe_load_all(EXAMPLE.read_text(encoding="utf-8"))
    keys = [key for key in secret["stringData"] if key.isupper()]
    assert keys
    assert all(f"env:{key}" in catalogue for key in keys)
