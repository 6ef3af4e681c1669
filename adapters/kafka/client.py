"""How clients connect to Kafka: what every client of aiokafka's is given for TLS and for logging in.

Secrets are asked for when they are needed, stand in no text, and are kept by nobody but the clients.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
Secret = Callable[[], str]
"""Gives a secret as it is now. What it raises says where the secret was looked for, never what was found."""

_TLS: Final = ("SSL", "SASL_SSL")
_SASL: Final = ("SASL_PLAINTEXT", "SASL_SSL")


class KafkaClientError(Exception):
    """No client can be made: a file or a secret is missing or wrong. The text names it and holds no secret."""


@dataclass(frozen=True, slots=True)
class KafkaClientOptions:
    """Where the brokers are (host:port, with commas between them) and how to get in.

    `ca_file`: authorities to trust in place of the system's. `cert` and `key`, both or neither, are PEM files of
    ours. `username` and `password` are for all mechanisms but OAUTHBEARER, which has a `token`.
    """

    bootstrap_servers: str
    client_id: str = "eurouter"
    protocol: Protocol = "PLAINTEXT"
    ca_file: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    mechanism: Mechanism | None = None
    username: str | None = None
    password: Secret | None = field(default=None, repr=False)
    token: Secret | None = field(default=None, repr=False)


def client_arguments(options: KafkaClientOptions) -> dict[str, Any]:
    """The arguments for a client of aiokafka's; files and the password are read now, a token at every login.

    Raises:
        KafkaClientError: a file can't be used, a secret can't be had, or what a mechanism needs is missing.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": options.bootstrap_servers,
        "client_id": options.client_id,
        "security_protocol": options.protocol,
    }
    if options.protocol in _TLS:
        arguments["ssl_context"] = _context(options)
    if options.protocol in _SASL:
        arguments |= _login(options)
    return arguments


def _context(options: KafkaClientOptions) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
    except OSError as error:
        raise KafkaClientError(f"{options.ca_file}: no certificates can be read from it ({_why(error)})") from None
    if options.cert is not None:
        try:
            # Without a password OpenSSL would ask the terminal for that of an encrypted key.
            context.load_cert_chain(options.cert, options.key, password="")
        except OSError as error:
            files = f"{options.cert} and {options.key}"
            raise KafkaClientError(
                f"{files} can't be used ({_why(error)}): both must be PEM, unencrypted, and belong together"
            ) from None
    return context


def _why(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return reason or type(error).__name__


def _login(options: KafkaClientOptions) -> dict[str, Any]:
    if options.mechanism is None:
        raise KafkaClientError(f"{options.protocol} needs a mechanism to log in by")
    if options.mechanism == "OAUTHBEARER":
        if options.token is None:
            raise KafkaClientError("OAUTHBEARER needs a token")
        return {"sasl_mechanism": options.mechanism, "sasl_oauth_token_provider": _Tokens(options.token)}
    if options.username is None or options.password is None:
        raise KafkaClientError(f"{options.mechanism} needs a username and a password")
    try:
        password = options.password()
    except Exception as error:  # noqa: BLE001 - whatever the one who looks for it raises
        raise KafkaClientError(f"the password for Kafka can't be had: {error}") from None
    return {
        "sasl_mechanism": options.mechanism,
        "sasl_plain_username": options.username,
        "sasl_plain_password": _Hidden(password),
    }


class _Hidden(str):
    """Text that does not show when what holds it is shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'(hidden)'"


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka's classes have no types for mypy
    """Asks for the token at every login: it expires, and whoever renews it writes it where it is read."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    async def token(self) -> str:
        """The token as it is now.

        Raises:
            AuthenticationFailedError: there is none. Clients take it as they take a refusal of the broker's.
        """
        try:
            return self._secret()
        except Exception as error:  # noqa: BLE001 - whatever the one who looks for it raises
            raise AuthenticationFailedError(f"the token for Kafka can't be had: {error}") from None
