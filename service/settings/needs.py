"""What settings need that does not stand in their file: secrets and files. Each is looked at as it is now."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from adapters.database.url import DatabaseUrlError, is_reference, parse_url
from service.settings.kafka import KafkaSecuritySettings
from service.settings.model import Settings

MIN_PEPPER: Final = 16
"""Characters that a pepper has at least."""

HOW_TO_PEPPER: Final = "make one with `openssl rand -base64 32`"

_FILE: Final = "file:"
_HOW: Final = "put it there (in Kubernetes: the Secret's key '{}')"
_HOW_SETTINGS: Final = "put it there (in Kubernetes: the key '{}' of the ConfigMap that is mounted at {})"
_LET: Final = "let the process's user read it, and each folder above it"
_NO_FILE: Final = os.strerror(errno.ENOENT)


@dataclass(frozen=True, slots=True)
class Missing:
    """A sentence that names the setting and says what to do; never a secret.

    `may_come`: it is about a file, which may still come or be mended while the process runs. A process's
    environment never changes.
    """

    text: str
    may_come: bool


class SecretSource(Protocol):
    """What stands behind references."""

    def resolve(self, reference: str) -> str:
        """The secret; raises when there is none."""
        ...

    def may_come(self, reference: str) -> bool:
        """Whether another may stand there while the process runs."""
        ...


def missing(settings: Settings, secrets: SecretSource, *, has_doors: bool = True) -> Iterator[Missing]:
    """What stops the service and can't be seen in the settings' file.

    A process without `has_doors` needs nothing of what concerns callers.
    """
    yield from missing_url(settings, secrets)
    yield from _ca_file("upstream.ca_file", settings.upstream.ca_file)
    for name, reference in settings.telemetry.headers.items():
        yield from _secret(f"telemetry.headers.{name}", reference, secrets, lambda _value: None)
    yield from _ca_file("telemetry.ca_file", settings.telemetry.ca_file)
    if settings.kafka.enabled:
        yield from _of_kafka(settings.kafka.security, secrets)
    if has_doors:
        yield from _of_doors(settings, secrets)


def missing_url(settings: Settings, secrets: SecretSource) -> Iterator[Missing]:
    """The same of the database's URL alone."""
    url = settings.database.url
    if url is not None and is_reference(url):
        yield from _secret("database.url", url, secrets, _url_problem)


def no_settings(path: Path) -> str | None:
    """Why the settings' file can't be read, and what to do; None: it can."""
    match _why_unreadable(path):
        case None:
            return None
        case reason if reason == _NO_FILE:
            return f"there is no settings file {path}: {_HOW_SETTINGS.format(path.name, path.parent)}"
        case reason:
            return f"the settings file {path} can't be read ({reason}): {_LET}"


def _of_doors(settings: Settings, secrets: SecretSource) -> Iterator[Missing]:
    if settings.key_pepper is not None:
        yield from _secret("key_pepper", settings.key_pepper, secrets, _pepper_problem)
    files: dict[str, Path | None] = {}
    for door, tls in (("grpc", settings.grpc.tls), ("http", settings.http.tls)):
        files |= {f"{door}.tls.{name}": getattr(tls, name) for name in ("cert", "key", "client_ca")}
    yield from _files(files)
    for door, tls in (("grpc", settings.grpc.tls), ("http", settings.http.tls)):
        yield from _pair(f"{door}.tls", tls.cert, tls.key)


def _of_kafka(security: KafkaSecuritySettings, secrets: SecretSource) -> Iterator[Missing]:
    for name, reference in (("password", security.password), ("token", security.token)):
        if reference is not None:
            yield from _secret(f"kafka.security.{name}", reference, secrets, lambda _value: None)
    yield from _ca_file("kafka.security.ca_file", security.ca_file)
    yield from _files({f"kafka.security.{name}": getattr(security, name) for name in ("cert", "key")})
    yield from _pair("kafka.security", security.cert, security.key)


def _secret(
    setting: str, reference: str, secrets: SecretSource, problem: Callable[[str], str | None]
) -> Iterator[Missing]:
    may_come = secrets.may_come(reference)
    try:
        value = secrets.resolve(reference)
    except Exception as error:  # noqa: BLE001 - whatever a resolver raises is a reason to report
        path = Path(reference.removeprefix(_FILE)) if reference.startswith(_FILE) else None
        yield Missing(f"{setting}: {error}{'' if path is None else _what_to_do(path)}", may_come)
        return
    if (wrong := problem(value)) is not None:
        yield Missing(f"{setting}: {reference}{wrong}", may_come)


def _pepper_problem(value: str) -> str | None:
    if len(value) >= MIN_PEPPER:
        return None
    return f" is shorter than {MIN_PEPPER} characters: {HOW_TO_PEPPER}"


def _url_problem(value: str) -> str | None:
    try:
        parse_url(value)
    except DatabaseUrlError as error:
        return f": {error}"
    return None


def _files(files: Mapping[str, Path | None]) -> Iterator[Missing]:
    for setting, path in files.items():
        if path is not None and (why := _why_unreadable(path)) is not None:
            said = f"there is no file {path}" if why == _NO_FILE else f"the file {path} can't be read ({why})"
            yield Missing(f"{setting}: {said}{_what_to_do(path)}", may_come=True)


def _ca_file(setting: str, path: Path | None) -> Iterator[Missing]:
    yield from _files({setting: path})
    if path is None or _why_unreadable(path) is not None:
        return
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror
        yield Missing(f"{setting}: {path} holds no certificate that can be used ({reason})", may_come=True)


def _why_unreadable(path: Path) -> str | None:
    """Why a file can't be read, in the system's words; None: it can."""
    try:
        if not path.is_file():
            return _NO_FILE
        with path.open("rb"):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


def _what_to_do(path: Path) -> str:
    """What follows a sentence about a file; nothing where the file is there and only what it holds is wrong."""
    match _why_unreadable(path):
        case None:
            return ""
        case reason if reason == _NO_FILE:
            return f": {_HOW.format(path.name)}"
        case _:
            return f": {_LET}"


def _pair(setting: str, cert: Path | None, key: Path | None) -> Iterator[Missing]:
    if cert is None or key is None or _why_unreadable(cert) is not None or _why_unreadable(key) is not None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or error
        said = f"{setting}: {cert} and {key} can't be used ({reason}): both must be PEM and belong together"
        yield Missing(said, may_come=True)
