"""Why brokers can't be used, by those that can't and those that can."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme

from adapters.kafka.client import KafkaClientOptions, client_arguments
from adapters.kafka.diagnosis import why_unreachable
from tests.support.kafka import KafkaCluster
from tests.support.kafka_clients import Kafka, connections_ended
from tests.support.kafka_security import PASSWORD, USER

pytestmark = pytest.mark.slow


def options(bootstrap: str, **others: Any) -> dict[str, Any]:
    return client_arguments(KafkaClientOptions(bootstrap, **others))


def login(kafka: KafkaCluster, **changes: Any) -> dict[str, Any]:
    """What `secure_kafka` wants, or something else."""
    wanted = {
        "protocol": "SASL_SSL",
        "ca_file": kafka.ca_file,
        "mechanism": "SCRAM-SHA-512",
        "username": USER,
        "password": lambda: PASSWORD,
    }
    return options(kafka.bootstrap, **{**wanted, **changes})


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@asynccontextmanager
async def server(greeting: bytes = b"", context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Something that listens, greets and is no broker."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        # Until the client leaves.
        with suppress(OSError):
            await reader.read()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    await connections_ended()


async def test_of_brokers_that_let_us_in_there_is_nothing_to_say(kafka: Kafka) -> None:
    assert await why_unreachable(options(kafka.bootstrap)) == ""
    assert await why_unreachable(options(f"127.0.0.1:{free_port()},{kafka.bootstrap}")) == ""


async def test_each_server_has_its_own_reason() -> None:
    port, listening = free_port(), socket.socket()
    listening.bind(("127.0.0.1", 0))
    # It lets the system take connections and never answers.
    listening.listen()
    silent = f"127.0.0.1:{listening.getsockname()[1]}"
    with listening:
        said = await why_unreachable(options(f"127.0.0.1:{port},localhost:{port},{silent}"), seconds=0.3)
    assert said == (
        f"127.0.0.1:{port}: connection refused; localhost:{port}: connection refused; "
        f"{silent}: no answer within 0.3 s"
    )


async def test_a_name_that_nobody_has_is_told() -> None:
    said = await why_unreachable(options("broker.invalid:9092"), seconds=5)
    # Without a name server nobody can tell which of the two it is.
    assert said in ("broker.invalid:9092: no such host", "broker.invalid:9092: its name can't be looked up now")
    assert await why_unreachable(options("kafka..1:9092")) == "kafka..1:9092: no such host"


async def test_a_client_without_tls_or_login_is_told_what_is_wanted(secure_kafka: KafkaCluster) -> None:
    bootstrap = secure_kafka.bootstrap
    assert await why_unreachable(options(bootstrap)) == f"{bootstrap}: closed at once: does it expect TLS?"
    said = await why_unreachable(options(bootstrap, protocol="SSL", ca_file=secure_kafka.ca_file))
    assert said == (
        f"{bootstrap}: reached, but it closed the connection at the first question: does it want a login (SASL)?"
    )


async def test_a_broker_without_tls_is_told(kafka: Kafka) -> None:
    said = await why_unreachable(options(kafka.bootstrap, protocol="SSL"))
    assert said == f"{kafka.bootstrap}: closed as soon as TLS began: it seems to speak no TLS"

    async with server(b"220 mail.example.org ESMTP\r\n") as address:
        assert await why_unreachable(options(address, protocol="SSL")) == f"{address}: it speaks no TLS"


async def test_a_certificate_that_is_not_trusted_is_told(secure_kafka: KafkaCluster, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    said = await why_unreachable(login(secure_kafka, ca_file=other))
    assert said.startswith(f"{secure_kafka.bootstrap}: its certificate is not trusted (")
    assert "issuer certificate" in said or "self-signed" in said or "signature" in said
    named = f"localhost:{secure_kafka.nodes[0].client_port}"
    said = await why_unreachable({**login(secure_kafka), "bootstrap_servers": named})
    assert (
        said
        == f"{named}: its certificate is not trusted (Hostname mismatch, certificate is not valid for 'localhost')"
    )


async def test_a_refused_login_is_told_with_the_brokers_reason_and_no_secret(secure_kafka: KafkaCluster) -> None:
    assert await why_unreachable(login(secure_kafka)) == ""
    said = await why_unreachable(login(secure_kafka, password=lambda: "wrong-Pa55word"))
    assert said.startswith(f"{secure_kafka.bootstrap}: reached, but it refuses the login: Authentication failed")
    assert "wrong-Pa55word" not in said
    said = await why_unreachable(login(secure_kafka, mechanism="PLAIN"))
    assert said == f"{secure_kafka.bootstrap}: reached, but it takes no login by PLAIN"


async def test_a_broker_that_wants_our_certificate_is_told(tmp_path: Path) -> None:
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with server(context=context) as address:
        said = await why_unreachable(options(address, protocol="SSL", ca_file=tmp_path / "ca.pem"))
    assert said == f"{address}: closed after the TLS handshake: does it want a certificate of ours?"


async def test_tokens_and_the_addresses_that_a_broker_sends_clients_on_to_are_told() -> None:
    module = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
    others = {
        "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listener.name.client.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.client.oauthbearer.sasl.jaas.config": f'{module} unsecuredLoginStringClaim_sub="broker";',
    }
    with tempfile.TemporaryDirectory(prefix="eurouter-kafka-") as folder:
        kafka, gone = KafkaCluster(Path(folder), others=others), free_port()
        (node,) = kafka.nodes
        properties = node.folder / "server.properties"
        listeners = re.escape(f"advertised.listeners=CLIENT://127.0.0.1:{node.client_port}")
        text = re.sub(listeners, f"advertised.listeners=CLIENT://127.0.0.1:{gone}", properties.read_text())
        properties.write_text(text)
        try:
            await asyncio.to_thread(kafka.start)
            found = [
                await why_unreachable(bearer(kafka, token)) for token in (missing, lambda: "secret", unsigned)
            ]
        finally:
            await asyncio.to_thread(kafka.close)
    absent, refused, elsewhere = (one.removeprefix(f"{kafka.bootstrap}: reached, but ") for one in found)
    assert absent == "the token for Kafka can't be had: file /run/token is not there"
    assert refused == "it names no brokers: does it refuse the token?"
    where = f"127.0.0.1:{gone} (its advertised.listeners)"
    assert elsewhere == f"it sends clients on to {where}: connection refused"


def bearer(kafka: Kafka, token: Callable[[], str]) -> dict[str, Any]:
    return options(kafka.bootstrap, protocol="SASL_PLAINTEXT", mechanism="OAUTHBEARER", token=token)


def missing() -> str:
    raise LookupError("file /run/token is not there")


def unsigned() -> str:
    """A token that brokers take which were not told whose tokens they should take."""
    now = time.time()
    claims: dict[str, Any] = {"sub": "eurouter", "iat": now - 10, "exp": now + 600}
    parts = (base64.urlsafe_b64encode(orjson.dumps(one)).rstrip(b"=") for one in ({"alg": "none"}, claims))
    return b".".join((*parts, b"")).decode()
