"""Files that a process reads once, when it is built, and whether they are still as they were then.

Which settings are read once is said by docs/settings.md; here are those that name a file whose content is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from adapters.database.url import is_reference
from adapters.providers.secrets import SecretError
from service.settings.model import Settings

_SAID: Final = "has changed since this process started, which goes on with the old one until it is restarted"


class Resolves(Protocol):
    """What stands behind references."""

    def resolve(self, reference: str) -> str:
        """The secret, as it is now.

        Raises:
            SecretError: there is none.
        """
        ...


class ReadAtStart:
    """Make it before the files are read: one that changes in between is told rather than missed.

    Of each content only a digest is kept. Files of Kafka are none of these: they are read for every new client.
    """

    def __init__(self, settings: Settings, secrets: Resolves) -> None:
        self._secrets = secrets
        self._settings = settings
        self._before = self._now()

    def changed(self) -> Iterator[str]:
        """A sentence for each that is another now. One that can't be read is told elsewhere, as missing."""
        now = self._now()
        for name, digest in self._before.items():
            if now.get(name, digest) != digest:
                yield f"{name} {_SAID}"

    def _now(self) -> Mapping[str, bytes]:
        """Digests of those that can be read, by setting and place."""
        settings, found = self._settings, {}
        url, telemetry = settings.database.url, settings.telemetry
        if url is not None and is_reference(url):
            found[f"database.url: {url}"] = partial(self._of_secret, url)
        files = {
            "upstream.ca_file": settings.upstream.ca_file,
            "telemetry.ca_file": None if telemetry.endpoint is None else telemetry.ca_file,
        }
        found |= {f"{name}: {path}": partial(_of_file, path) for name, path in files.items() if path is not None}
        digests = {name: digest() for name, digest in found.items()}
        return {name: digest for name, digest in digests.items() if digest is not None}

    def _of_secret(self, reference: str) -> bytes | None:
        try:
            return _digest(self._secrets.resolve(reference).encode())
        except SecretError:
            return None


def _of_file(path: Path) -> bytes | None:
    try:
        return _digest(path.read_bytes())
    except OSError:
        return None


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
