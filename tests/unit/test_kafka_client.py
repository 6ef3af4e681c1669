"""What clients of Kafka are given to connect: arguments for each way in, and what is said of what is missing."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from cryptography.hazmat.primitives import serialization

from adapters.kafka.client import KafkaClientError, KafkaClientOptions, client_arguments

BROKERS = "127.0.0.1:9092"
PASSWORD = "hunter2"


def options(**others: Any) -> KafkaClientOptions:
    return KafkaClientOptions(BROKERS, **others)


def absent() -> str:
    raise LookupError("env:PASSWORD: the environment variable is not set")


async def test_without_security_a_client_is_told_where_and_who() -> None:
    assert client_arguments(options(client_id="a")) == {
        "bootstrap_servers": BROKERS,
        "client_id": "a",
        "security_protocol": "PLAINTEXT",
    }


def test_tls_checks_the_brokers_names_and_trusts_the_authority_that_is_named(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = client_arguments(options(protocol="SSL", ca_file=tmp_path / "ca.pem"))["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.get_ca_certs(binary_form=True) == [ssl.PEM_cert_to_DER_cert(ca.cert_pem.bytes().decode())]


def test_tls_without_a_file_trusts_the_systems_authorities() -> None:
    arguments = client_arguments(options(protocol="SSL"))
    assert arguments["ssl_context"].cert_store_stats() == ssl.create_default_context().cert_store_stats()
    assert arguments["ssl_context"].check_hostname
    assert not [name for name in arguments if name.startswith("sasl")]


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> bytes | None:
    """Both sides in memory; returns the certificate that the server saw, None for none."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="broker.example")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [ours, theirs]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    return theirs.getpeercert(binary_form=True)


def test_our_certificate_is_shown_to_brokers_that_ask_for_one(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = ca.issue_cert("us.example")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    files = {name: tmp_path / f"{name.removesuffix('_file')}.pem" for name in ("ca_file", "cert", "key")}
    context = client_arguments(options(protocol="SSL", **files))["ssl_context"]
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("broker.example").configure_cert(server)
    ca.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    assert handshake(context, server) == ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
async def test_a_client_logs_in_with_name_and_password(mechanism: str, protocol: str) -> None:
    arguments = client_arguments(
        options(protocol=protocol, mechanism=mechanism, username="u", password=lambda: PASSWORD)
    )
    assert arguments["security_protocol"] == protocol
    assert arguments["sasl_mechanism"] == mechanism
    assert (arguments["sasl_plain_username"], arguments["sasl_plain_password"]) == ("u", PASSWORD)
    assert ("ssl_context" in arguments) == (protocol == "SASL_SSL")
    await closed(AIOKafkaProducer(**arguments))


async def test_the_password_is_asked_for_whenever_a_client_is_made() -> None:
    passwords = iter(["one", "two"])
    given = options(protocol="SASL_PLAINTEXT", mechanism="PLAIN", username="u", password=lambda: next(passwords))
    assert [client_arguments(given)["sasl_plain_password"] for _ in range(2)] == ["one", "two"]


async def test_a_token_is_asked_for_at_every_login() -> None:
    tokens = iter(["one", "two"])
    arguments = client_arguments(
        options(protocol="SASL_PLAINTEXT", mechanism="OAUTHBEARER", token=lambda: next(tokens))
    )
    provider = arguments["sasl_oauth_token_provider"]
    assert [await provider.token(), await provider.token()] == ["one", "two"]
    assert "sasl_plain_password" not in arguments
    await closed(AIOKafkaProducer(**arguments))


async def test_a_token_that_can_not_be_had_is_an_error_that_clients_know() -> None:
    arguments = client_arguments(options(protocol="SASL_PLAINTEXT", mechanism="OAUTHBEARER", token=absent))
    with pytest.raises(KafkaError, match="the token for Kafka can't be had: env:PASSWORD"):
        await arguments["sasl_oauth_token_provider"].token()


def test_no_secret_is_shown_by_what_holds_it() -> None:
    given = options(protocol="SASL_PLAINTEXT", mechanism="PLAIN", username="u", password=lambda: PASSWORD)
    arguments = client_arguments(given)
    assert PASSWORD not in f"{given} {given!r} {arguments} {arguments!r} {list(arguments.values())}"
    assert "password" not in repr(given)


def encrypted(key: trustme.Blob) -> bytes:
    loaded = serialization.load_pem_private_key(key.bytes(), None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSWORD.encode()),
    )


def test_files_that_can_not_be_used_are_named(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("us.example")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    (tmp_path / "locked.pem").write_bytes(encrypted(issued.private_key_pem))
    (tmp_path / "text.pem").write_text("no certificate")

    def told(**files: str) -> str:
        paths = {name: tmp_path / file for name, file in files.items()}
        with pytest.raises(KafkaClientError) as raised:
            client_arguments(options(protocol="SSL", **paths))
        assert raised.value.__cause__ is None
        return str(raised.value)

    assert (
        told(ca_file="no.pem")
        == f"{tmp_path}/no.pem: no certificates can be read from it (No such file or directory)"
    )
    assert told(ca_file="text.pem").startswith(f"{tmp_path}/text.pem: no certificates can be read from it (")
    for key in ("no.pem", "text.pem", "locked.pem"):
        said = told(cert="cert.pem", key=key)
        assert said.startswith(f"{tmp_path}/cert.pem and {tmp_path}/{key} can't be used (")
        assert said.endswith("both must be PEM, unencrypted, and belong together")


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({}, "SASL_PLAINTEXT needs a mechanism"),
        ({"mechanism": "PLAIN", "username": "u"}, "PLAIN needs a username and a password"),
        ({"mechanism": "OAUTHBEARER"}, "OAUTHBEARER needs a token"),
        (
            {"mechanism": "PLAIN", "username": "u", "password": absent},
            "the password for Kafka can't be had: env:PASSWORD: the environment variable is not set",
        ),
    ],
)
def test_a_login_that_is_not_complete_is_told(others: dict[str, str | Callable[[], str]], said: str) -> None:
    with pytest.raises(KafkaClientError, match=said):
        client_arguments(options(protocol="SASL_PLAINTEXT", **others))


async def closed(producer: AIOKafkaProducer) -> None:
    """Ends one that never began: otherwise it warns of itself."""
    await producer.stop()
