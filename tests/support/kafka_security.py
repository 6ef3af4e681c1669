"""What a test's Kafka wants of its clients: nothing, or TLS and a password by SCRAM-SHA-512."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final, Literal

import trustme
from cryptography.hazmat.primitives import serialization

Security = Literal["plaintext", "sasl_ssl"]

USER: Final = "eurouter"
PASSWORD: Final = "very-secret-Pa55word"


def client_settings(security: Security, ca_file: Path) -> dict[str, Any]:
    """The arguments for a client of aiokafka's."""
    if security == "plaintext":
        return {}
    return {
        "security_protocol": "SASL_SSL",
        "ssl_context": ssl.create_default_context(cafile=str(ca_file)),
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": USER,
        "sasl_plain_password": PASSWORD,
    }


def format_arguments(security: Security) -> list[str]:
    """What tells the storage tool of the user."""
    user = ["--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"]
    return user if security == "sasl_ssl" else []


def broker_settings(security: Security, certificate: Path) -> dict[str, str]:
    """What a broker's settings say of the listener for clients; those for brokers and controllers stay plain."""
    protocol = security.upper()
    settings = {"listener.security.protocol.map": f"CLIENT:{protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"}
    if security == "sasl_ssl":
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        settings |= {
            "listener.name.client.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": login,
            "listener.name.client.ssl.keystore.type": "PEM",
            "listener.name.client.ssl.keystore.location": str(certificate),
        }
    return settings


def write_certificates(ca_file: Path, certificate: Path, *names: str) -> None:
    """A new authority's certificate, and a file with a key and the certificate for 127.0.0.1 and these names."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(ca_file)
    issued = ca.issue_cert("127.0.0.1", *names)
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    # The only form of a key that the broker reads.
    pkcs8 = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate.write_bytes(pkcs8 + b"".join(pem.bytes() for pem in issued.cert_chain_pems))
