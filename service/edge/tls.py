"""TLS from files that are read again when they change, for the gRPC door and the HTTP door."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from service.edge import log_events

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: our certificate chain and key; `client_ca` checks client certificates (mutual TLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    require_client_certificate: bool = False

    def names(self) -> str:
        """The files for people."""
        return ", ".join(str(path) for path in self._paths())

    def stamp(self) -> Stamp:
        """Changes when a file's content does: a mounted Secret swaps the `..data` link, so paths are resolved."""
        resolved = [path.resolve() for path in self._paths()]
        return tuple((str(p), p.stat().st_mtime_ns, p.stat().st_ino) for p in resolved)

    def _paths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.certificate, self.key, self.client_ca) if path is not None)


def load(files: TlsFiles, context: ssl.SSLContext) -> None:
    """Loads the files into a context.

    Raises:
        OSError: one can't be read.
        ssl.SSLError: one is no PEM of its kind, or the key is another certificate's.
    """
    context.load_cert_chain(files.certificate, files.key)
    if files.client_ca:
        context.load_verify_locations(cafile=files.client_ca)


class _Watch:
    """Remembers which state of the files was taken last.

    Raises:
        OSError: at the start, when a file can't be read or used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self.taken = files.stamp()
        self.log = structlog.get_logger().bind()
        try:
            load(files, ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
        except ssl.SSLError as error:
            raise OSError(f"TLS files can't be used ({error.reason or error}): {files.names()}") from None

    def changed(self, use: Callable[[], None]) -> bool:
        """Runs `use` when the files differ from what was taken last; a bad file keeps what is in use."""
        try:
            stamp = self.files.stamp()
            if stamp == self.taken:
                return False
            # The key may be written after the certificate: a pair that doesn't match is looked at again later.
            # All of it is tried before any of it is used.
            load(self.files, ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
            use()
        except (OSError, ssl.SSLError) as error:
            self.log.warning(
                log_events.CERTIFICATE_REJECTED,
                problem=getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__,
                files=self.files.names(),
            )
            return False
        self.taken = stamp
        self.log.info(log_events.CERTIFICATE_RELOADED)
        return True


def grpc_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that look at the files before each handshake.

    Raises:
        OSError: a file can't be read or used.
    """
    watch = _Watch(files)

    def configuration() -> grpc.ServerCertificateConfiguration:
        ca = files.client_ca.read_bytes() if files.client_ca else None
        pair = (files.key.read_bytes(), files.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=ca)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        fresh: list[grpc.ServerCertificateConfiguration] = []
        watch.changed(lambda: fresh.append(configuration()))
        return fresh[0] if fresh else None

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        fetch,  # type: ignore[arg-type]  # None is documented to mean "no change"; the stubs leave it out
        files.require_client_certificate,
    )


class HttpTls:
    """A context for the HTTP door; `poll` loads a changed certificate into it for the connections to come.

    A client CA that was added counts after `poll`, one that was removed only after a restart: OpenSSL's
    stores grow only.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._watch = _Watch(files)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._load()
        if files.client_ca:
            required = files.require_client_certificate
            self.context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL

    def poll(self) -> bool:
        """Loads the files when they changed; tells whether they did."""
        return self._watch.changed(self._load)

    def _load(self) -> None:
        load(self._watch.files, self.context)
