"""Settings from a file and the environment, what is said of mistakes, and what a reload may change."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from adapters.documents.watch import WatchedFile
from adapters.providers.secrets import Secrets
from service.domain.preferences import Floor, Preferences
from service.settings import Settings, SettingsError, SettingsFileError, SettingsWatcher
from service.settings import document as settings_page
from service.settings.changes import changes
from service.settings.show import problems

KEY = "{id: 0aB1cD2eF3gH, hash: " + "a" * 64 + ", owner: team}"


def written(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def mistakes(folder: Path, text: str, env: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(written(folder, text), env or {})
    return str(caught.value).splitlines()


def test_without_file_and_environment_the_defaults_serve_loopback() -> None:
    settings = Settings.load(None, {})
    assert (settings.grpc.host, settings.grpc.port, settings.http.port, settings.admin.port) == (
        "127.0.0.1",
        50051,
        8080,
        9090,
    )
    assert settings.loopback_only
    assert settings.grpc.max_message_bytes == settings.http.max_body_bytes == 32 * 1024 * 1024
    assert settings.routing.max_attempts == 4
    assert settings.upstream.timeouts().connect == 5.0


def test_the_environment_wins_over_the_file_key_by_key(tmp_path: Path) -> None:
    path = written(tmp_path, "grpc: {port: 1, max_concurrent_streams: 7}\nhint_fields: [a]\n")
    env = {"EUROUTER_GRPC__PORT": "2", "EUROUTER_FLOOR__DATA_RESIDENCY": '["EU"]', "OTHER": "x"}
    settings = Settings.load(path, env)
    assert (settings.grpc.port, settings.grpc.max_concurrent_streams) == (2, 7)
    assert settings.hint_fields == ("a",)
    assert settings.floor.to_domain() == Floor(data_residency=("eu",))


def test_the_process_environment_is_not_read_behind_the_callers_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EUROUTER_GRPC__PORT", "3")
    assert Settings.load(None, {}).grpc.port == 50051


def test_a_wrong_value_names_its_key_what_is_expected_and_both_ways_to_set_it(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "http: {}\ngrpc:\n  port: 70000\n") == [
        "grpc.port: must be 0..65535, got 70000 (set EUROUTER_GRPC__PORT or grpc.port in config.yaml, line 3)"
    ]


def test_a_wrong_value_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "", {"EUROUTER_GRPC__PORT": "abc"}) == [
        "grpc.port: must be a whole number (it comes from EUROUTER_GRPC__PORT)"
    ]


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "log: {level: loud}\ncommit_wait_seconds: 0\nprocesses: many\n")
    assert [line.partition(":")[0] for line in found] == ["processes", "commit_wait_seconds", "log.level"]
    assert "must be 'debug', 'info', 'warning' or 'error', got 'loud'" in found[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("procesess: 2\n", "procesess: is not a known key; did you mean 'processes'?"),
        ("grpc: {prot: 2}\n", "grpc.prot: is not a known key; did you mean 'port'?"),
        (
            "rules: [{id: 7b0c4f0e-6a55-4f5e-9f0e-0c1f2d3e4a5b, name: a, provder: {}}]\n",
            "did you mean 'provider'?",
        ),
    ],
)
def test_an_unknown_key_is_an_error_with_a_suggestion(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in line for line in mistakes(tmp_path, text))


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("EUROUTER_KEY_PEPER", "did you mean EUROUTER_KEY_PEPPER?"),
        ("EUROUTER_GRCP__PORT", "EUROUTER_GRCP__PORT: is not a known setting"),
        ("EUROUTER_NONSENSE__X", "EUROUTER_NONSENSE__X: is not a known setting"),
        ("EUROUTER_GRPC__HOSTT", "it comes from EUROUTER_GRPC__HOSTT"),
    ],
)
def test_a_misspelt_variable_is_an_error(tmp_path: Path, variable: str, said: str) -> None:
    assert said in mistakes(tmp_path, "", {variable: "x"})[0]


def test_variables_that_kubernetes_makes_for_a_service_of_our_name_are_left_alone() -> None:
    env = {
        "EUROUTER_PORT": "tcp://10.0.0.1:50051",
        "EUROUTER_SERVICE_HOST": "10.0.0.1",
        "EUROUTER_SERVICE_PORT_GRPC": "50051",
        "EUROUTER_PORT_50051_TCP_ADDR": "10.0.0.1",
        "EUROUTER_ADMIN_SERVICE_PORT": "9090",
    }
    assert Settings.load(None, env) == Settings.load(None, {})


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("processes: 2\non: env:A\n", "on"),
        ("processes: 2\n1: {}\n", "1"),
        ("processes: 2\n~: {}\n", "~"),
        ("processes: 2\n2026-01-01: {}\n", "2026-01-01"),
        ("grpc:\n  1.5: {}\n", "grpc.1.5"),
        ("rules:\n  - {id: a, no: 1}\n", "rules[0].no"),
        ("telemetry: {headers: {\nYes: env:A}}\n", "telemetry.headers.Yes"),
    ],
)
def test_a_key_that_yaml_takes_for_something_else_than_text_is_a_mistake_with_its_line(
    tmp_path: Path, text: str, where: str
) -> None:
    (said,) = mistakes(tmp_path, text)
    assert said == (
        f"{tmp_path / 'config.yaml'}: {where}: must be text: put it in quotes (YAML reads yes, no, on and off as "
        "true and false) (line 2)"
    )


@pytest.mark.parametrize("key", ["_env_file", "_cli_parse_args", "_case_sensitive", "__pydantic_self__"])
def test_a_key_that_is_an_argument_of_the_settings_library_is_no_setting(tmp_path: Path, key: str) -> None:
    assert mistakes(tmp_path, f"processes: 2\n{key}: true\n") == [
        f"{key}: is not a known key (mend {key} in config.yaml, line 2)"
    ]


def test_a_variable_that_a_secret_refers_to_is_no_setting(tmp_path: Path) -> None:
    path = written(tmp_path, "key_pepper: env:EUROUTER_KEYS_PEPPER\n")
    assert Settings.load(path, {"EUROUTER_KEYS_PEPPER": "s" * 32}).key_pepper == "env:EUROUTER_KEYS_PEPPER"


@pytest.mark.parametrize("value", ["[1", "top_k"])
def test_a_list_that_is_not_json_in_the_environment_names_the_variable(tmp_path: Path, value: str) -> None:
    assert mistakes(tmp_path, "", {"EUROUTER_HINT_FIELDS": value})[0].startswith("EUROUTER_HINT_FIELDS: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grpc: {port: 1\n", "is not valid YAML"),
        ("- a\n", "must be a mapping of keys to values"),
        ("grpc: {port: 1}\ngrpc: {host: localhost}\n", "grpc: is written twice: keep one (line 2)"),
        ("http: {tls: {cert: a.pem}}\n", "http.tls: needs both `cert` and `key`"),
        ("http: {tls: {require_client_cert: true}}\n", "require_client_cert needs `client_ca`"),
        ("deadlines: {default_seconds: 9, max_seconds: 3}\n", "must not be more than max_seconds"),
        ("media: {allowed_hosts: ['https://a.example']}\n", "media.allowed_hosts[0]: must be a host such as"),
        ("media: {ports: [0]}\n", "media.ports[0]"),
        ("media: {max_bytes: 10}\n", "media.max_bytes"),
        ("floor: {data_residency: [UK]}\n", 'floor.data_residency[0]: "uk" is no ISO 3166-1 code; use "gb"'),
        ("rules: [{id: seven, name: a}]\n", "rules[0].id: must be a UUID"),
        (f"key_pepper: env:P\nkeys: [{KEY}, {KEY}]\n", "keys[1].id: '0aB1cD2eF3gH' is used twice"),
        (f"keys: [{KEY}]\n", "key_pepper: is required as soon as there are keys"),
        (
            "owners: [{name: a, client_certificates: [x]}, {name: b, client_certificates: [x]}]\n",
            "owners[1].client_certificates[0]: 'x' speaks for the owner 'a' already",
        ),
    ],
)
def test_each_mistake_says_what_to_do(tmp_path: Path, text: str, said: str) -> None:
    assert said in mistakes(tmp_path, text)[0]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsFileError) as raised:
        Settings.load(tmp_path / "none.yaml", {})
    (said,) = raised.value.lines
    assert said == (
        f"there is no settings file {tmp_path}/none.yaml: put it there (in Kubernetes: the key 'none.yaml' of the "
        f"ConfigMap that is mounted at {tmp_path})"
    )


def test_a_secret_pasted_in_place_of_its_reference_is_not_repeated(tmp_path: Path) -> None:
    text = "key_pepper: hunter2hunter2\nkeys: [{id: eur_SECRETsecretSECRETsecret, hash: SECRET, owner: a}]\n"
    found = mistakes(tmp_path, text)
    assert len(found) == 3
    assert "hunter2" not in "".join(found)
    assert "SECRET" not in "".join(found)


@pytest.mark.parametrize("door", ["grpc", "http"])
def test_listening_elsewhere_without_keys_is_refused(tmp_path: Path, door: str) -> None:
    (found,) = mistakes(tmp_path, f"{door}: {{host: 0.0.0.0}}\n")
    assert found.startswith(f"{door}.host: without keys only loopback is served, and 0.0.0.0 is not")


@pytest.mark.parametrize(
    "text",
    [
        "grpc: {host: localhost}\nhttp: {host: '::1'}\n",
        "grpc: {host: 127.0.0.9}\n",
        "admin: {host: 0.0.0.0}\n",
        f"grpc: {{host: 0.0.0.0}}\nhttp: {{host: 0.0.0.0}}\nkey_pepper: env:P\nkeys: [{KEY}]\n",
        "grpc: {host: 0.0.0.0, tls: {cert: c, key: k, client_ca: a, require_client_cert: true}}\n",
    ],
)
def test_loopback_keys_or_mutual_tls_are_enough_to_listen(tmp_path: Path, text: str) -> None:
    Settings.load(written(tmp_path, text), {})


def test_optional_client_certificates_are_not_enough_to_listen_elsewhere(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, "http: {host: 0.0.0.0, tls: {cert: c, key: k, client_ca: a}}\n")
    assert "http.host" in found


def test_grpc_can_not_ask_for_client_certificates_without_requiring_them(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, "grpc: {tls: {cert: c, key: k, client_ca: a}}\n")
    assert found.startswith("grpc.tls.require_client_cert: gRPC either requires client certificates or never asks")


def test_rules_and_keys_become_domain_rows(tmp_path: Path) -> None:
    text = f"""
key_pepper: env:P
keys: [{KEY}]
rules:
  - id: 7B0C4F0E-6A55-4F5E-9F0E-0C1F2D3E4A5B
    name: eu-only
    models: [a/b, c]
    provider: {{data_residency: EU, order: [scaleway], max_retention_days: 0}}
"""
    settings = Settings.load(written(tmp_path, text), {})
    (rule,) = settings.rule_rows
    assert rule.id == "7b0c4f0e-6a55-4f5e-9f0e-0c1f2d3e4a5b"
    assert rule.models == ("a/b", "c")
    assert rule.preferences == Preferences(order=("scaleway",), data_residency="eu", max_retention_days=0)
    assert settings.key_rows is settings.key_rows
    assert settings.key_rows[0].owner == "team"


def test_what_changed_is_told_apart_into_at_once_and_after_a_restart(tmp_path: Path) -> None:
    old = Settings.load(None, {})
    new = Settings.load(
        written(
            tmp_path,
            "log: {level: debug, format: json}\ngrpc: {port: 1}\nfloor: {eu_owned: true}\nhint_fields: [a]\n"
            "http: {heartbeat_seconds: 1}\n",
        ),
        {},
    )
    applied, waiting = changes(old, new)
    assert set(applied) == {"log.level", "floor.eu_owned", "hint_fields", "http.heartbeat_seconds"}
    assert set(waiting) == {"log.format", "grpc.port"}


class Heard:
    """Reports, changes and what is wrong with the file, in their order."""

    def __init__(self) -> None:
        self.judged: list[Sequence[str]] = []
        self.events: list[tuple[str, Mapping[str, object]]] = []
        self.settings: list[Settings] = []

    def report(self, event: str, values: Mapping[str, object]) -> None:
        self.events.append((event, values))


def watched(path: Path, heard: Heard, env: Mapping[str, str] | None = None) -> SettingsWatcher:
    settings = Settings.load(path, env or {})
    return SettingsWatcher(
        path, env or {}, settings, report=heard.report, on_change=heard.settings.append, judged=heard.judged.append
    )


def test_an_edit_is_used_once_the_file_has_settled(tmp_path: Path) -> None:
    path, heard = written(tmp_path, "hint_fields: [a]\n"), Heard()
    watcher = watched(path, heard)
    path.write_text("hint_fields: [a, b]\ngrpc: {port: 1}\n")
    assert not watcher.poll(), "the file may still be being written"
    assert watcher.poll()
    assert watcher.current.hint_fields == ("a", "b")
    assert heard.settings == [watcher.current]
    assert heard.events == [
        ("settings_reloaded", {"changed": ["hint_fields"]}),
        ("settings_need_restart", {"changed": ["grpc.port"]}),
    ]
    assert not watcher.poll()


def test_a_bad_edit_keeps_the_old_settings_and_says_why(tmp_path: Path) -> None:
    path, heard = written(tmp_path, "hint_fields: [a]\n"), Heard()
    watcher = watched(path, heard)
    path.write_text("hint_fields: 7\n")
    assert not any(watcher.poll() for _ in range(3))
    assert watcher.current.hint_fields == ("a",)
    assert heard.judged[-1][0].startswith("hint_fields: must be a list")
    assert not heard.events


def test_an_edit_whose_reading_crashes_is_kept_out_like_a_bad_one_and_its_words_are_not_told(
    tmp_path: Path,
) -> None:
    path, heard = written(tmp_path, "hint_fields: [a]\n"), Heard()

    def check(fresh: Settings) -> list[str]:
        if fresh.hint_fields == ("b",):
            raise KeyError("what the file says")
        return []

    watcher = SettingsWatcher(path, {}, Settings.load(path, {}), check=check, judged=heard.judged.append)
    path.write_text("hint_fields: [b]\n")
    assert not any(watcher.poll() for _ in range(3))
    assert watcher.current.hint_fields == ("a",)
    ((said,),) = heard.judged
    assert said.startswith(f"{path}: reading it failed by a fault of eurouter: KeyError at test_settings.py:")
    assert "what the file says" not in said
    path.write_text("hint_fields: [c]\n")
    assert any(watcher.poll() for _ in range(3))
    assert watcher.current.hint_fields == ("c",)


def test_an_edit_between_loading_and_watching_is_not_missed(tmp_path: Path) -> None:
    path, heard = written(tmp_path, "hint_fields: [a]\n"), Heard()
    settings = Settings.load(path, {})
    path.write_text("hint_fields: [b]\n")
    watcher = SettingsWatcher(path, {}, settings, report=heard.report)
    assert watcher.poll()
    assert watcher.current.hint_fields == ("b",)


def test_a_reload_whose_secret_is_missing_is_refused_like_a_bad_edit(tmp_path: Path) -> None:
    path, heard = written(tmp_path, f"key_pepper: env:P\nkeys: [{KEY}]\n"), Heard()
    settings = Settings.load(path, {})

    def check(fresh: Settings) -> list[str]:
        return list(problems(fresh, Secrets({"P": "x" * 32}).resolve))

    watcher = SettingsWatcher(path, {}, settings, judged=heard.judged.append, check=check)
    path.write_text(f"key_pepper: env:Q\nkeys: [{KEY}]\n")
    assert not any(watcher.poll() for _ in range(3))
    assert watcher.current.key_pepper == "env:P"
    assert "env:Q: the environment variable is not set" in str(heard.judged[-1])


def test_an_edit_that_only_lacks_a_secret_is_used_once_that_is_there(tmp_path: Path) -> None:
    """A cluster brings a ConfigMap and a Secret to a pod in any order, minutes apart."""
    path, heard, secrets = written(tmp_path, "hint_fields: [a]\n"), Heard(), {"P": "x" * 32}
    judged: list[Sequence[str]] = []

    def check(fresh: Settings) -> list[str]:
        return list(problems(fresh, Secrets(secrets).resolve))

    settings = Settings.load(path, {})
    watcher = SettingsWatcher(path, {}, settings, report=heard.report, check=check, judged=judged.append)
    path.write_text("hint_fields: [b]\nkey_pepper: env:Q\n")
    assert not any(watcher.poll() for _ in range(4))
    assert judged == [("key_pepper: env:Q: the environment variable is not set",)]
    secrets["Q"] = "y" * 32
    assert watcher.poll()
    assert watcher.current.hint_fields == ("b",)
    assert list(judged[-1]) == []
    assert [event for event, _ in heard.events] == ["settings_reloaded"]
    assert not watcher.poll()


def test_an_edit_that_lacked_a_secret_is_not_used_when_another_took_its_place(tmp_path: Path) -> None:
    path, secrets = written(tmp_path, "hint_fields: [a]\n"), {"P": "x" * 32}

    def check(fresh: Settings) -> list[str]:
        return list(problems(fresh, Secrets(secrets).resolve))

    watcher = SettingsWatcher(path, {}, Settings.load(path, {}), check=check)
    for text in ("hint_fields: [b]\nkey_pepper: env:Q\n", "hint_fields: 7\n"):
        path.write_text(text)
        assert not any(watcher.poll() for _ in range(3))
    secrets["Q"] = "y" * 32
    assert not any(watcher.poll() for _ in range(3))
    assert watcher.current.hint_fields == ("a",)


def test_what_is_wrong_with_the_file_is_told_until_it_is_as_it_was_before(tmp_path: Path) -> None:
    good = "hint_fields: [a]\n"
    path = written(tmp_path, good)
    judged: list[Sequence[str]] = []
    watcher = SettingsWatcher(path, {}, Settings.load(path, {}), judged=judged.append)
    watcher.poll()
    for text in ("hint_fields: 7\n", good):
        path.write_text(text)
        for _ in range(3):
            watcher.poll()
    path.unlink()
    for _ in range(3):
        watcher.poll()
    path.write_text(good)
    for _ in range(3):
        watcher.poll()
    started, (wrong,), mended, (gone,), back, *_ = judged
    assert not started
    assert wrong.startswith("hint_fields: must be a list")
    assert not mended, "the file says again what is in force"
    assert gone == f"there is no file {path} any more"
    assert not back


def test_a_reload_can_not_open_the_doors_by_taking_the_keys_away(tmp_path: Path) -> None:
    path, heard = written(tmp_path, f"grpc: {{host: 0.0.0.0}}\nkey_pepper: env:P\nkeys: [{KEY}]\n"), Heard()
    watcher = watched(path, heard)
    path.write_text("grpc: {host: 0.0.0.0}\n")
    assert not any(watcher.poll() for _ in range(3))
    assert len(watcher.current.keys) == 1


def test_a_file_that_vanishes_is_told_once_and_changes_nothing(tmp_path: Path) -> None:
    path, heard = written(tmp_path, "hint_fields: [a]\n"), Heard()
    watcher = watched(path, heard)
    path.unlink()
    assert not any(watcher.poll() for _ in range(3))
    assert heard.judged == [(f"there is no file {path} any more",)]
    path.write_text("hint_fields: [b]\n")
    watcher.poll()
    assert watcher.poll()
    assert watcher.current.hint_fields == ("b",)


def test_the_environment_stays_over_the_file_in_a_reload(tmp_path: Path) -> None:
    path, heard = written(tmp_path, "routing: {max_attempts: 2}\n"), Heard()
    watcher = watched(path, heard, {"EUROUTER_ROUTING__MAX_ATTEMPTS": "3"})
    path.write_text("routing: {max_attempts: 5, max_retry_wait_seconds: 1}\n")
    watcher.poll()
    assert watcher.poll()
    assert (watcher.current.routing.max_attempts, watcher.current.routing.max_retry_wait_seconds) == (3, 1)


def test_a_watched_link_that_is_swapped_has_changed_at_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, "a: 1\n")
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    file = WatchedFile(tmp_path / "config.yaml")
    assert not file.changed()
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert file.changed()
    assert not file.changed()


def test_the_page_on_settings_is_current(update_golden: bool) -> None:
    page = Path(__file__).parents[2] / settings_page.PAGE
    if update_golden:
        page.write_text(settings_page.page(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == settings_page.page(), "run `python -m service.settings.document`"


def test_every_setting_is_described() -> None:
    text = settings_page.page()
    assert "|  |\n" not in text.replace("| without a restart |  |", "")
    assert "`grpc.port` is `EUROUTER_GRPC__PORT`" in text
