"""The command line: what it prints, where, and with which exit code."""

import os
import re
import socket
import subprocess
import sys
import urllib.request
from importlib import metadata
from pathlib import Path

import pytest
import trustme
import yaml

from adapters import keys
from service import cli
from service.settings import Settings

PEPPER = {"KEY_PEPPER": "x" * 32, "EUROUTER_KEY_PEPPER": "env:KEY_PEPPER"}
Capture = pytest.CaptureFixture[str]


def test_config_check_prints_settings_as_yaml_and_the_providers(tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("routing: {max_attempts: 2}\n")
    env = {"EUROUTER_GRPC__PORT": "1234", "SCW_SECRET_KEY": "very-secret"}
    assert cli.main(["config", "check", "--config", str(config)], env) == 0
    printed = capsys.readouterr().out
    settings = yaml.safe_load(printed)
    assert settings["grpc"]["port"] == 1234
    assert settings["routing"]["max_attempts"] == 2
    assert printed.startswith(f"# Settings: {config}, and over it EUROUTER_GRPC__PORT\n")
    assert re.search(r"^#   scaleway +active +3 models$", printed, re.MULTILINE)
    assert "Its key is missing: set the environment variable OPENAI_API_KEY." in printed
    assert re.search(r"^# \d+ models, of which 3 can be used now$", printed, re.MULTILINE)
    assert "very-secret" not in printed


def test_config_check_shows_references_and_neither_secrets_nor_hashes(tmp_path: Path, capsys: Capture) -> None:
    key = keys.make_key()
    hashed = keys.hash_secret(key, b"x" * 32)
    config = tmp_path / "config.yaml"
    config.write_text(f"keys: [{{id: {keys.public_id(key)}, hash: {hashed}, owner: a}}]\n")
    assert cli.main(["config", "check", "--config", str(config)], PEPPER) == 0
    printed = capsys.readouterr().out
    assert "key_pepper: env:KEY_PEPPER" in printed
    assert keys.public_id(key) in printed
    assert hashed not in printed
    assert "x" * 32 not in printed


def test_what_config_check_prints_is_a_settings_file(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["config", "check"], {"EUROUTER_FLOOR__MAX_RETENTION_DAYS": "0"}) == 0
    config = tmp_path / "printed.yaml"
    config.write_text(capsys.readouterr().out)
    assert Settings.load(config, {}).floor.max_retention_days == 0
    assert Settings.load(config, {}).upstream == Settings.load(None, {}).upstream


def test_config_check_fails_with_one_line_per_mistake(tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("grpc: {port: 99999}\nlog: {level: x}\n")
    assert cli.main(["config", "check"], {"EUROUTER_CONFIG": str(config)}) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [line.partition(":")[0] for line in printed.err.splitlines()] == ["grpc.port", "log.level"]


def test_config_check_fails_on_a_bad_catalogue_and_names_the_place(tmp_path: Path, capsys: Capture) -> None:
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text("providers:\n  - slug: a\n    dialect: openai_chat\n")
    assert cli.main(["config", "check"], {"EUROUTER_CATALOG__PATH": str(catalogue)}) == 1
    assert capsys.readouterr().err == f"{catalogue}: providers[0].base_url: is required (line 2)\n"


@pytest.mark.parametrize("command", [["config", "check"], ["serve"]])
@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"EUROUTER_KEY_PEPPER": "env:NOT_SET"}, "key_pepper: env:NOT_SET: the environment variable is not set"),
        ({"EUROUTER_KEY_PEPPER": "env:P", "P": "short"}, "key_pepper: env:P is shorter than 16 characters"),
        (
            {"EUROUTER_HTTP__TLS__CERT": "/nope/c.pem", "EUROUTER_HTTP__TLS__KEY": "/nope/k.pem"},
            "http.tls.cert: there is no file /nope/c.pem: put it there (in Kubernetes: the Secret's key 'c.pem')",
        ),
    ],
)
def test_what_would_stop_the_service_is_told_before_it_starts(
    command: list[str], env: dict[str, str], said: str, capsys: Capture
) -> None:
    assert cli.main(command, env) == 1
    assert said in capsys.readouterr().err


def test_config_check_warns_of_rules_that_name_unknown_models(tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "config.yaml"
    rule = "{id: 7b0c4f0e-6a55-4f5e-9f0e-0c1f2d3e4a5b, name: r, models: [gpt-oss-20b, 'gpt-oss-20b:floor', nope]}"
    config.write_text(f"rules: [{rule}]\n")
    assert cli.main(["config", "check", "--config", str(config)], {}) == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if "Warning: rule" in line]
    assert warned == ["# Warning: rule 'r': no model is called 'nope'"]


def test_config_check_warns_of_rules_that_name_unknown_providers(tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "config.yaml"
    rule = "{id: 7b0c4f0e-6a55-4f5e-9f0e-0c1f2d3e4a5b, name: r, provider: {only: [mistral, mistrall]}}"
    config.write_text(f"rules: [{rule}]\n")
    assert cli.main(["config", "check", "--config", str(config)], {}) == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if "Warning: rule" in line]
    said = "rule 'r': provider.only: no provider has the slug 'mistrall'; did you mean 'mistral'?"
    assert warned == [f"# Warning: {said}"]


def test_config_check_warns_of_hint_fields_that_do_nothing(capsys: Capture) -> None:
    env = {"EUROUTER_HINT_FIELDS": '["top_k", "messages.content.cache_control", "seed", "messages[0].x", ""]'}
    assert cli.main(["config", "check"], env) == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if "Warning: hint_fields" in line]
    assert [line.split("'")[1] for line in warned] == ["seed", "messages[0].x", ""]


def test_a_key_that_is_another_certificates_is_told_before_the_start(tmp_path: Path, capsys: Capture) -> None:
    ca = trustme.CA()
    one, other = ca.issue_cert("127.0.0.1"), ca.issue_cert("127.0.0.1")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    cert.write_bytes(one.cert_chain_pems[0].bytes())
    key.write_bytes(other.private_key_pem.bytes())
    env = {"EUROUTER_HTTP__TLS__CERT": str(cert), "EUROUTER_HTTP__TLS__KEY": str(key)}
    assert cli.main(["config", "check"], env) == 1
    assert f"http.tls: {cert} and {key} can't be used (KEY_VALUES_MISMATCH)" in capsys.readouterr().err
    key.write_bytes(one.private_key_pem.bytes())
    assert cli.main(["config", "check"], env) == 0


def test_keys_create_prints_a_key_once_and_a_row_that_lets_it_in(tmp_path: Path, capsys: Capture) -> None:
    arguments = ["keys", "create", "--name", "CI: deploys", "--owner", "team-a", "--admin"]
    assert cli.main(arguments, PEPPER) == 0
    printed = capsys.readouterr().out
    key = next(word for word in printed.split() if keys.is_key(word))
    assert printed.count(key[16:]) == 1
    config = tmp_path / "config.yaml"
    config.write_text("keys:\n" + printed.partition("`keys:`\n")[2])
    settings = Settings.load(config, PEPPER)
    assert settings.keys[0].name == "CI: deploys"
    store = keys.SettingsKeys(lambda: settings.key_rows, lambda: b"x" * 32)
    principal = store.authenticate(key)
    assert (principal.owner, principal.admin) == ("team-a", True)


def test_keys_create_works_before_the_first_key_lets_the_service_listen(capsys: Capture) -> None:
    env = PEPPER | {"EUROUTER_GRPC__HOST": "0.0.0.0"}
    assert cli.main(["serve"], env) == 1
    assert "grpc.host: without keys only loopback is served" in capsys.readouterr().err
    assert cli.main(["keys", "create", "--name", "first", "--owner", "a"], env) == 0


def test_keys_create_without_a_pepper_says_how_to_make_one(capsys: Capture) -> None:
    assert cli.main(["keys", "create", "--name", "a", "--owner", "b"], {}) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "openssl rand -base64 32" in printed.err
    assert "key_pepper: env:KEY_PEPPER" in printed.err


@pytest.mark.parametrize(
    ("name", "owner", "said"),
    [
        ("a", "", "--owner: must not be empty"),
        ("a", "b" * 256, "--owner: must have at most 255 characters"),
        ("a", "\udcff", "--owner: "),
        ("a" * 256, "b", "--name: must have at most 255 characters"),
    ],
)
def test_no_key_is_made_for_a_row_that_the_settings_would_refuse(
    name: str, owner: str, said: str, capsys: Capture
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["keys", "create", "--name", name, "--owner", owner], PEPPER)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err.splitlines()[-1]


@pytest.mark.parametrize("port", ["65536", "99999", "-5", "1.5", "\u00b2", "1" * 5000, ""])
def test_simulate_refuses_what_is_no_port(port: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["simulate", "--port", port], {})
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("--port: must be a number from 0 to 65535")


@pytest.mark.parametrize("arguments", [[], ["config"], ["keys", "create"], ["nonsense"]])
def test_an_incomplete_command_line_is_exit_code_2(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments, {})
    assert caught.value.code == 2
    assert "usage: eurouter" in capsys.readouterr().err


def test_simulate_serves_the_labelled_simulator_until_it_is_told_to_stop() -> None:
    command = [sys.executable, "-m", "service.cli", "simulate", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert "no model runs here" in process.stdout.readline()
            dialect, url = process.stdout.readline().split()
            assert dialect == "openai_chat"
            with urllib.request.urlopen(f"{url}/models", timeout=10) as answer:
                assert answer.headers["x-simulator"] == "true"
        finally:
            process.terminate()
        assert process.wait(timeout=10) == 0


def test_config_check_says_that_a_server_of_ones_own_is_asked_for_its_models(
    tmp_path: Path, capsys: Capture
) -> None:
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(
        'providers: [{slug: gpu, dialect: openai_chat, base_url: "http://127.0.0.1:1/v1", discover: true}]\n'
    )
    assert cli.main(["config", "check"], {"EUROUTER_CATALOG__PATH": str(catalogue)}) == 0
    printed = capsys.readouterr().out
    assert "gpu  active" in printed
    assert "asked for theirs once it serves" in printed
    assert "no provider can be used" not in printed


@pytest.mark.parametrize("door", ["grpc", "http", "admin"])
def test_a_port_that_is_taken_is_told_with_the_setting_that_names_it(door: str, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        ports = {f"EUROUTER_{name.upper()}__PORT": "0" for name in ("grpc", "http", "admin")}
        ports[f"EUROUTER_{door.upper()}__PORT"] = str(taken)
        command = [sys.executable, "-m", "service", "serve"]
        ran = subprocess.run(
            command, env={**os.environ, **ports}, capture_output=True, text=True, check=False, timeout=30
        )
    assert ran.returncode == 1
    assert f"127.0.0.1:{taken}" in ran.stderr.replace("', ", ":")
    assert f"set {door}.port (EUROUTER_{door.upper()}__PORT)" in ran.stderr


def test_two_listeners_on_one_port_are_told_before_anything_starts(capsys: Capture) -> None:
    assert cli.main(["serve"], {"EUROUTER_ADMIN__PORT": "8080"}) == 1
    assert "admin.port: is the port of http already" in capsys.readouterr().err
    assert cli.main(["config", "check"], {f"EUROUTER_{door}__PORT": "0" for door in ("GRPC", "HTTP")}) == 0


def test_a_catalogue_that_can_not_be_used_stops_the_service_with_its_place(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text("providers:\n  - {slug: a, dialekt: openai_chat, base_url: 'http://127.0.0.1:1/v1'}\n")
    ports = {f"EUROUTER_{name}__PORT": "0" for name in ("GRPC", "HTTP", "ADMIN")}
    env = {**os.environ, **ports, "EUROUTER_CATALOG__PATH": str(catalogue)}
    command = [sys.executable, "-m", "service", "serve"]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=30)
    assert ran.returncode == 1
    assert "providers[0].dialekt: is not a known key; did you mean 'dialect'? (line 2)" in ran.stderr


def test_config_check_warns_of_a_dialect_that_looks_like_a_typing_error(tmp_path: Path, capsys: Capture) -> None:
    catalogue = tmp_path / "catalogue.yaml"
    rows = [
        {"slug": "a", "dialect": "openai-chat", "base_url": "http://127.0.0.1:1/v1"},
        {"slug": "b", "dialect": "bedrock", "base_url": "http://127.0.0.1:1/v1"},
    ]
    catalogue.write_text(yaml.safe_dump({"providers": rows}))
    assert cli.main(["config", "check"], {"EUROUTER_CATALOG__PATH": str(catalogue)}) == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if "Warning: provider" in line]
    assert warned == ["# Warning: provider 'a': there is no dialect 'openai-chat'; did you mean 'openai_chat'?"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "docs/settings.md"),
        (["--version"], f"eurouter {metadata.version('eurouter')}"),
        (["serve", "--help"], "gRPC on 127.0.0.1:50051"),
        (["simulate", "--help"], "runs no model"),
    ],
)
def test_help_says_what_happens_without_settings(arguments: list[str], said: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments, {})
    assert caught.value.code == 0
    assert said in " ".join(capsys.readouterr().out.split())


def test_dead_letters_without_kafka_are_one_line_on_stderr(capsys: Capture) -> None:
    assert cli.main(["dlq", "list"], {}) == 1
    assert capsys.readouterr() == ("", "there is no Kafka: set kafka.bootstrap_servers\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["redrive"], "which letters? Name IDs"),
        (["redrive", "0:1", "--reason", "expired"], "IDs say which letters"),
        (["redrive", "--owner", "a", "--vouched-owner", "a"], "--vouched-owner is for those without an owner"),
        (["list", "--limit", "ten"], "must be a number from 1 to 9999999"),
        (["list", "--limit", "\u00b2"], "must be a number from 1 to 9999999"),
        (["show"], "ID"),
    ],
)
def test_a_command_on_dead_letters_that_does_not_say_which_ends_with_2(
    capsys: Capture, arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["dlq", *arguments], {})
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
