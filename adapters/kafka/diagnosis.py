"""Why brokers can't be used, in words: aiokafka's clients only say that they can't be, and the rest to a log.

For errors that people read. Nothing is decided by it, no topic is asked for, and no secret is told.
"""
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

_OURS: Final = (
    "client_id",
    "security_protocol",
    "ssl_context",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "sasl_oauth_token_provider",
)
_STEPS: Final = 4
_CLOSE_SECONDS: Final = 1.0
_MOST_SAID: Final = 200
_NO_NAME: Final = (socket.EAI_NONAME, socket.EAI_NODATA)
_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE")


async def why_unreachable(client: Mapping[str, Any], *, seconds: float = 2.0) -> str:
    """What is wrong with each bootstrap server, such as "kafka-1:9092: connection refused; kafka-2:9092: no such
    host"; "" when one of them lets us in, and so do the brokers that it names.

    `client` are the arguments by which every client of aiokafka's connects. `seconds` are for each of the few
    steps of a connection. Of what brokers answer only the reason of a refused login is told.
    """
    servers = [(host, port) for host, port, _ in collect_hosts(client["bootstrap_servers"], randomize=False)]
    found = await asyncio.gather(*(_problem(client, host, port, seconds) for host, port in servers))
    if not all(found):
        return ""
    return "; ".join(f"{host}:{port}: {problem}" for (host, port), problem in zip(servers, found, strict=True))


async def _problem(client: Mapping[str, Any], host: str, port: int, seconds: float) -> str:
    given = {name: client[name] for name in _OURS if name in client}
    connection = AIOKafkaConnection(host, port, request_timeout_ms=int(seconds * 1000), **given)
    try:
        async with asyncio.timeout(_STEPS * seconds):
            await connection.connect()
            known = await connection.send(MetadataRequest([]))
            brokers = [(found, at) for _, found, at, *_ in known.brokers]
            if not brokers:
                # aiokafka takes the refusal of a token for a welcome.
                token = ": does it refuse the token?" if given.get("sasl_mechanism") == "OAUTHBEARER" else ""
                return f"reached, but it names no brokers{token}"
            return await _unreachable(set(brokers) - {(host, port)}, seconds)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return _told(error, connection, given)
    finally:
        closed = connection.close()
        if closed is not None and connection._correlation_id:
            await asyncio.wait({closed}, timeout=_CLOSE_SECONDS)


async def _unreachable(brokers: Iterable[tuple[str, int]], seconds: float) -> str:
    """The first of these that can't be connected to, where all clients are sent on to."""
    for host, port in sorted(brokers):
        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(host, port)
            writer.close()
        except (OSError, UnicodeError) as error:
            why = f"no answer within {seconds:g} s" if isinstance(error, TimeoutError) else _no_connection(error)
            return f"reached, but it sends clients on to {host}:{port} (its advertised.listeners): {why}"
    return ""


def _told(error: Exception, connection: AIOKafkaConnection, given: Mapping[str, Any]) -> str:
    if not connection._correlation_id:
        return _no_connection(error)
    protocol, mechanism = given.get("security_protocol", "PLAINTEXT"), given.get("sasl_mechanism")
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"reached, but it takes no login by {mechanism}"
    if isinstance(error, SaslAuthenticationFailed):
        return f"reached, but it refuses the login: {_said(error, given)}"
    if isinstance(error, AuthenticationFailedError):
        # Raised by ourselves when there is no token.
        return f"reached, but {_said(error, given)}"
    if not isinstance(error, KafkaError | OSError):
        return (
            f"reached, but its answer is none of Kafka's, or of no login by {mechanism} ({type(error).__name__})"
        )
    if connection._versions:
        wanted = "the login" if protocol.startswith("SASL") else "the first question: does it want a login (SASL)?"
        return f"reached, but it closed the connection at {wanted}"
    if protocol.endswith("SSL"):
        return "closed after the TLS handshake: does it want a certificate of ours?"
    return "closed at once: does it expect TLS?"


def _said(error: Exception, given: Mapping[str, Any]) -> str:
    """The sentence of an error, unless it repeats the password."""
    text = " ".join(str(error.args[0] if error.args else "").split())[:_MOST_SAID]
    password = given.get("sasl_plain_password")
    safe = text.isprintable() and not (password and password in text)
    return text if text and safe else "it gives no reason"


def _no_connection(error: Exception) -> str:
    """The words for what the network or TLS said."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message.rstrip('.')})"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or type(error).__name__
        return "it speaks no TLS" if reason in _NO_TLS else f"no TLS with it ({reason.lower().replace('_', ' ')})"
    if isinstance(error, socket.gaierror):
        return "no such host" if error.errno in _NO_NAME else "its name can't be looked up now"
    if isinstance(error, UnicodeError):
        return "no such host"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "closed as soon as TLS began: it seems to speak no TLS"
    # Of a name with several addresses asyncio has the errors of all, in one text.
    several = _ERRNO.search(str(error))
    number = getattr(error, "errno", None) or (int(several[1]) if several else None)
    return os.strerror(number).lower() if number else f"no connection ({type(error).__name__})"
