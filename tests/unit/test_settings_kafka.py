"""The section on Kafka: what may stand there, what is said of mistakes, what a reload applies, what is shown."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adapters.providers.secrets import Secrets
from service.domain.job_store import Priority
from service.edge.kafka import names
from service.settings import Settings, SettingsError
from service.settings.changes import changes
from service.settings.kafka import RESERVED_HEADERS
from service.settings.kafka_topics import results_topics
from service.settings.public_keys import is_public_key
from service.settings.show import effective_yaml, problems, warnings
from tests.support.catalogs import catalog

KEY = b64encode(Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()).decode()
BROKERS = "kafka-1:9092"


def loaded(text: str, folder: Path, env: dict[str, str] | None = None) -> Settings:
    path = folder / "config.yaml"
    path.write_text(text)
    return Settings.load(path, env or {})


def kafka(folder: Path, **keys: Any) -> Settings:
    return loaded(yaml.safe_dump({"kafka": {"bootstrap_servers": BROKERS, **keys}}), folder)


def mistakes(folder: Path, **sections: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loaded(yaml.safe_dump(sections), folder)
    return str(caught.value).splitlines()


def mistake(folder: Path, **keys: Any) -> str:
    (found,) = mistakes(folder, kafka={"bootstrap_servers": BROKERS, **keys})
    return found


def test_without_brokers_there_is_no_kafka_and_every_default_is_the_contracts() -> None:
    settings = Settings.load(None, {})
    section = settings.kafka
    assert not section.enabled
    assert section.intake_topics == ("eurouter.submit.v1",)
    assert results_topics(settings) == ("eurouter.results.v1",)
    assert (section.names.jobs, section.names.dlq) == ("eurouter.jobs.v1", "eurouter.dlq.v1")
    assert (section.topics, section.partitions, section.replication) == ("check", 12, None)
    assert (section.results_content, section.max_result_bytes, section.max_record_bytes) == (
        "full",
        900_000,
        1048576,
    )
    assert (section.high_water, section.session_seconds) == (10_000, 45.0)
    assert section.security.protocol == "PLAINTEXT"


def test_everything_that_may_be_said_is_read(tmp_path: Path) -> None:
    settings = loaded(
        f"""
kafka:
  bootstrap_servers: "kafka-1:9092, [::1]:9093"
  security: {{protocol: SASL_SSL, mechanism: SCRAM-SHA-512, username: u, password: env:PASSWORD}}
  topics: create
  intake:
    - {{topic: team-a.requests, owner: team-a, priority: bulk, results_topic: team-a.results}}
    - {{topic: team-b.requests, owner: team-b}}
  trusted_owner_header: x-owner
owners:
  - name: team-b
    public_keys: [{{id: b-2026, key: {KEY}}}]
    reply_topics: [team-b.urgent, eurouter.results.v1]
    results_topic: team-b.results
""",
        tmp_path,
    )
    section = settings.kafka
    assert section.enabled
    assert section.bootstrap_servers == "kafka-1:9092,[::1]:9093"
    assert section.intake_topics == ("eurouter.submit.v1", "team-a.requests", "team-b.requests")
    assert [binding.domain_priority for binding in section.intake] == [Priority.BULK, None]
    assert results_topics(settings) == ("eurouter.results.v1", "team-a.results", "team-b.results", "team-b.urgent")
    (key,) = settings.owners[0].public_keys
    assert (key.id, key.raw) == (
        "b-2026",
        Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw(),
    )


def test_every_key_can_be_set_by_the_environment() -> None:
    env = {
        "EUROUTER_KAFKA__BOOTSTRAP_SERVERS": BROKERS,
        "EUROUTER_KAFKA__SECURITY__PROTOCOL": "SSL",
        "EUROUTER_KAFKA__TOPICS": "off",
        "EUROUTER_KAFKA__NAMES__DLQ": "dead",
        "EUROUTER_KAFKA__INTAKE": '[{"topic": "t", "owner": "o", "priority": "high"}]',
        "EUROUTER_KAFKA__SESSION_SECONDS": "6",
    }
    section = Settings.load(None, env).kafka
    assert (section.security.protocol, section.topics, section.names.dlq) == ("SSL", "off", "dead")
    assert section.intake[0].domain_priority is Priority.HIGH
    assert section.session_seconds == 6


def test_off_may_stand_there_as_yaml_reads_it(tmp_path: Path) -> None:
    assert loaded("kafka: {topics: off}\n", tmp_path).kafka.topics == "off"
    with pytest.raises(SettingsError, match=r"kafka\.topics: must be 'check', 'create' or 'off', got True"):
        loaded("kafka: {topics: on}\n", tmp_path)


@pytest.mark.parametrize(
    "servers",
    ["", "kafka-1", "kafka-1:0", "kafka-1:70000", "a:1,", "http://a:1", "u:secret@a:1", "a:1;b:2", "::1:9092"],
)
def test_brokers_are_host_and_port_and_the_value_is_not_repeated(tmp_path: Path, servers: str) -> None:
    found = mistake(tmp_path, bootstrap_servers=servers)
    assert found.startswith("kafka.bootstrap_servers: must be brokers as host:port")
    assert "EUROUTER_KAFKA__BOOTSTRAP_SERVERS" in found
    assert "secret" not in found


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "ü", "x" * 250])
def test_a_topic_has_a_name_that_kafka_takes(tmp_path: Path, name: str) -> None:
    assert mistake(tmp_path, names={"dlq": name}).startswith("kafka.names.dlq: must be 1 to 249 letters, digits")
    assert "kafka.intake[0].topic: must be 1 to 249" in mistake(tmp_path, intake=[{"topic": name, "owner": "o"}])
    (found,) = mistakes(tmp_path, owners=[{"name": "o", "reply_topics": [name]}])
    assert found.startswith("owners[0].reply_topics[0]: must be 1 to 249")


@pytest.mark.parametrize(
    ("security", "said"),
    [
        (
            {"mechanism": "PLAIN"},
            "PLAINTEXT takes no `mechanism`: leave it out, or use SASL_SSL or SASL_PLAINTEXT",
        ),
        (
            {"protocol": "SSL", "username": "u", "password": "env:P"},
            "SSL takes no `password` and `username`: leave it out, or use SASL_SSL",
        ),
        (
            {"protocol": "SASL_SSL"},
            "SASL_SSL needs `mechanism`: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER",
        ),
        (
            {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-256", "username": "u"},
            "SCRAM-SHA-256 needs `password`",
        ),
        ({"protocol": "SASL_SSL", "mechanism": "PLAIN"}, "PLAIN needs `password` and `username`"),
        (
            {"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "username": "u"},
            "OAUTHBEARER needs `token`",
        ),
        (
            {"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "token": "env:T", "username": "u"},
            "OAUTHBEARER takes no `username`: leave it out",
        ),
        ({"protocol": "SSL", "cert": "c"}, "needs both `cert` and `key`, or neither"),
        ({"ca_file": "ca.pem"}, "ca_file, cert and key need TLS: use SSL or SASL_SSL in place of PLAINTEXT"),
    ],
)
def test_what_a_protocol_needs_and_nothing_else_is_there(
    tmp_path: Path, security: dict[str, str], said: str
) -> None:
    assert mistake(tmp_path, security=security).startswith(f"kafka.security: {said}")


def test_a_secret_in_place_of_where_it_is_is_refused_and_not_repeated(tmp_path: Path) -> None:
    security = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u", "password": "hunter2"}
    found = mistake(tmp_path, security=security)
    assert found.startswith("kafka.security.password: must say where the secret is")
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("keys", "where", "said"),
    [
        ({"names": {"dlq": "eurouter.jobs.v1"}}, "kafka.names.dlq", "is kafka.names.jobs already"),
        ({"names": {"results": "a", "submit": "a"}}, "kafka.names.results", "is kafka.names.submit already"),
        (
            {"intake": [{"topic": "eurouter.submit.v1", "owner": "o"}]},
            "kafka.intake[0].topic",
            "is kafka.names.submit, which all owners share",
        ),
        (
            {"intake": [{"topic": "eurouter.results.v1", "owner": "o"}]},
            "kafka.intake[0].topic",
            "is kafka.names.results: nothing is taken in from there",
        ),
        (
            {"intake": [{"topic": "t", "owner": "o"}, {"topic": "t", "owner": "p"}]},
            "kafka.intake[1].topic",
            "is bound twice",
        ),
        (
            {"intake": [{"topic": "t", "owner": "o", "results_topic": "t"}]},
            "kafka.intake[0].results_topic",
            "results can't go to 't': submissions are read from it",
        ),
        ({"wake_group": "eurouter.intake.v1"}, "kafka.wake_group", "is the intake's group"),
    ],
)
def test_topics_and_groups_are_not_taken_for_two_things(
    tmp_path: Path, keys: dict[str, Any], where: str, said: str
) -> None:
    found = mistake(tmp_path, **keys)
    assert found.startswith(f"{where}: ")
    assert said in found


@pytest.mark.parametrize(
    ("topic", "why"),
    [
        ("eurouter.submit.v1", "submissions are read from it"),
        ("team-a.requests", "submissions are read from it"),
        ("eurouter.jobs.v1", "it is kafka.names.jobs"),
        ("eurouter.dlq.v1", "it is kafka.names.dlq"),
    ],
)
@pytest.mark.parametrize("key", ["results_topic", "reply_topics"])
def test_an_owners_results_never_come_back_as_submissions(tmp_path: Path, topic: str, why: str, key: str) -> None:
    found = mistakes(
        tmp_path,
        kafka={"bootstrap_servers": BROKERS, "intake": [{"topic": "team-a.requests", "owner": "a"}]},
        owners=[{"name": "a", key: [topic] if key == "reply_topics" else topic}],
    )
    where = f"owners[0].{key}" + ("[0]" if key == "reply_topics" else "")
    assert len(found) == 1
    assert found[0].startswith(f"{where}: results can't go to '{topic}': {why}")


def test_intake_topics_without_brokers_are_an_error(tmp_path: Path) -> None:
    (found,) = mistakes(tmp_path, kafka={"intake": [{"topic": "t", "owner": "o"}]})
    assert found.startswith("kafka.bootstrap_servers: is required as soon as kafka.intake lists topics")


def test_an_id_of_a_public_key_is_used_once_over_all_owners(tmp_path: Path) -> None:
    rows = [{"name": name, "public_keys": [{"id": "k", "key": KEY}]} for name in ("a", "b")]
    (found,) = mistakes(tmp_path, owners=rows)
    assert found.startswith("owners[1].public_keys[0].id: 'k' is the id of a key of the owner 'a' already")


SPKI = bytes.fromhex("302a300506032b6570032100")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("no base64!", "must be base64 of the public key's 32 bytes"),
        (b64encode(bytes(31)).decode(), "must be base64 of exactly 32 bytes, these are 31"),
        (b64encode(SPKI + bytes(32)).decode(), "must be the last 32 of these 44 bytes"),
        (b64encode(bytes(32)).decode(), "is no Ed25519 public key"),
        (b64encode(bytes([2, *bytes(31)])).decode(), "is no Ed25519 public key"),
    ],
)
def test_a_public_key_is_one_and_the_value_is_not_repeated(tmp_path: Path, key: str, said: str) -> None:
    (found,) = mistakes(tmp_path, owners=[{"name": "a", "public_keys": [{"id": "k", "key": key}]}])
    assert found.startswith(f"owners[0].public_keys[0].key: {said}")
    assert "openssl" in found
    assert key not in found


def test_keys_as_they_are_made_pass_and_those_by_which_anybody_can_sign_do_not() -> None:
    for number in range(20):
        private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        assert is_public_key(private.public_key().public_bytes_raw())
    # The points of small order (RFC 8032's curve), then numbers that are none of the field's.
    order_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
    p = 2**255 - 19
    for y in (0, 1, p - 1, int.from_bytes(bytes.fromhex(order_8), "little"), p, 2**255 - 1):
        for sign in (0, 1 << 255):
            assert not is_public_key((y | sign).to_bytes(32, "little"))


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-a", "Idempotency-Key", "eurouter-dlq-owner"])
def test_a_trusted_header_has_a_name_of_its_own(tmp_path: Path, name: str) -> None:
    assert mistake(tmp_path, trusted_owner_header=name).startswith("kafka.trusted_owner_header: ")


def test_every_header_that_is_read_of_a_record_is_reserved() -> None:
    assert RESERVED_HEADERS == names.READ


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"session_seconds": 5}, "kafka.session_seconds: must be 6..1800"),
        ({"max_result_bytes": 10}, "kafka.max_result_bytes: must be 1000..100000000"),
        ({"max_record_bytes": 10**9}, "kafka.max_record_bytes: must be 1000..100000000"),
        ({"high_water": 0}, "kafka.high_water: must be 1 or more"),
        ({"replication": 0}, "kafka.replication: must be 1..100"),
        ({"results_content": "some"}, "kafka.results_content: must be 'full' or 'reference', got 'some'"),
        ({"intake": [{"topic": "t"}]}, "kafka.intake[0].owner: is required"),
        (
            {"intake": [{"topic": "t", "owner": "o", "priority": "low"}]},
            "kafka.intake[0].priority: must be 'high'",
        ),
        (
            {"bootstrap_server": "a:1"},
            "kafka.bootstrap_server: is not a known key; did you mean 'bootstrap_servers'?",
        ),
    ],
)
def test_a_wrong_value_is_told_with_its_place(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    assert mistake(tmp_path, **keys).startswith(said)


def test_a_reload_applies_what_is_asked_for_anew_and_names_the_rest(tmp_path: Path) -> None:
    old = kafka(tmp_path)
    new = loaded(
        f"""
kafka:
  bootstrap_servers: other:9092
  intake: [{{topic: t, owner: o}}]
  trusted_owner_header: x-owner
  results_content: reference
  high_water: 5
  max_result_bytes: 5000
owners: [{{name: a, public_keys: [{{id: k, key: {KEY}}}]}}]
""",
        tmp_path,
    )
    applied, waiting = changes(old, new)
    live = {"kafka.trusted_owner_header", "kafka.results_content", "kafka.high_water", "owners"}
    assert set(applied) == live
    assert set(waiting) == {"kafka.bootstrap_servers", "kafka.intake", "kafka.max_result_bytes"}


LOGIN = {"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "u", "password": "env:KAFKA_PASSWORD"}


def test_a_secret_that_is_not_there_is_a_problem_where_there_is_kafka(tmp_path: Path) -> None:
    without = kafka(tmp_path, bootstrap_servers=None, security=LOGIN)
    assert list(problems(without, Secrets({}).resolve)) == []
    settings = kafka(tmp_path, security=LOGIN)
    for has_doors in (True, False):
        assert list(problems(settings, Secrets({}).resolve, has_doors=has_doors)) == [
            "kafka.security.password: env:KAFKA_PASSWORD: the environment variable is not set"
        ]
    assert list(problems(settings, Secrets({"KAFKA_PASSWORD": "hunter2"}).resolve)) == []
    bearer = {"protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "token": "file:/nowhere/token"}
    (found,) = problems(kafka(tmp_path, security=bearer), Secrets({}).resolve)
    assert found.startswith("kafka.security.token: file:/nowhere/token: the file can't be read")


def test_files_for_tls_that_can_not_be_used_are_problems(tmp_path: Path) -> None:
    ca, other = trustme.CA(), trustme.CA()
    issued, stranger = ca.issue_cert("us"), other.issue_cert("us")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    stranger.private_key_pem.write_to_path(tmp_path / "other.pem")
    (tmp_path / "empty.pem").write_text("")

    def told(**files: str) -> list[str]:
        paths = {key: str(tmp_path / name) for key, name in files.items()}
        return list(problems(kafka(tmp_path, security={"protocol": "SSL", **paths}), Secrets({}).resolve))

    assert told(ca_file="ca.pem", cert="cert.pem", key="key.pem") == []
    (found,) = told(ca_file="no.pem")
    assert found.startswith(f"kafka.security.ca_file: there is no file {tmp_path}/no.pem: put it there (")
    (found,) = told(ca_file="empty.pem")
    assert found.startswith(f"kafka.security.ca_file: {tmp_path}/empty.pem holds no certificate that can be used")
    (found,) = told(cert="cert.pem", key="other.pem")
    assert found.startswith("kafka.security: ")
    assert "belong together" in found


def test_secrets_are_shown_as_references_and_come_back_as_they_were(tmp_path: Path) -> None:
    settings = kafka(tmp_path, security=LOGIN, topics=False)
    shown = effective_yaml(settings, {"KAFKA_PASSWORD": "hunter2", "HOME": str(tmp_path)})
    assert "password: env:KAFKA_PASSWORD" in shown
    assert "hunter2" not in shown
    assert loaded(shown, tmp_path).kafka == settings.kafka


def test_what_is_dangerous_and_allowed_is_warned_of(tmp_path: Path) -> None:
    settings = kafka(tmp_path, security={**LOGIN, "protocol": "SASL_PLAINTEXT"}, trusted_owner_header="x-owner")
    told = [line for line in warnings(settings, catalog(), dialects=(), discovering=True) if "kafka" in line]
    assert len(told) == 2
    assert "sends the secret unencrypted" in told[0]
    assert "may claim to be anybody" in told[1]
    calm = kafka(tmp_path, security=LOGIN)
    assert not [line for line in warnings(calm, catalog(), dialects=(), discovering=True) if "kafka" in line]


def test_an_owner_of_a_topic_whom_nothing_else_names_is_warned_of(tmp_path: Path) -> None:
    def told(*owners: str, **sections: Any) -> list[str]:
        intake = [{"topic": f"t{n}", "owner": owner} for n, owner in enumerate(owners)]
        file = {"kafka": {"bootstrap_servers": "127.0.0.1:9092", "intake": intake}, **sections}
        settings = loaded(yaml.safe_dump(file), tmp_path)
        found = warnings(settings, catalog(), dialects=(), discovering=True)
        return [line for line in found if line.startswith("kafka.intake")]

    assert told("local") == []
    assert told("team-a", "local", owners=[{"name": "team-a"}]) == []
    assert told("team-a", "team-d", owners=[{"name": "team-a"}]) == [
        "kafka.intake[1].owner: no key is of 'team-d' and owners does not list it; did you mean 'team-a'?"
    ]
    assert told("warehouse") == [
        "kafka.intake[0].owner: no key is of 'warehouse' and owners does not list it: is it spelt right?"
    ]
    # With keys nobody is `local`.
    key = {"id": "demoDEMO0001", "hash": "b0" * 32, "owner": "team-b"}
    by_key = {"keys": [key], "key_pepper": "env:PEPPER"}
    assert told("team-b", **by_key) == []
    assert len(told("local", **by_key)) == 1
