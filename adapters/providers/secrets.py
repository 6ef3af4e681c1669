"""Secrets by reference: `env:NAME` and `file:PATH`. A value never stands in a text.

A variable that is not set may be a file: the one of its name in the folder that EUROUTER_SECRETS_DIR names. So a
mounted folder of secrets, which changes while a process runs, serves references made for the environment.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = "EUROUTER_SECRETS_DIR"
"""The environment variable that names a folder of secrets, each a file with a variable's name."""

_LOOK_AGAIN: Final = 1.0
_MOST: Final = 64 * 1024
# What a variable's name may be (adapters/documents/shapes.py): no path leads out of the folder.
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class SecretError(Exception):
    """A reference that does not resolve. The text names the reference and what to do, never a value."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A file's secret as last read, when that was checked, and what the file looked like."""

    value: str
    checked: float
    identity: tuple[str, int, int, int]


class Secrets:
    """Resolves references; cheap enough for every call.

    A file is read again when it changed: its modification time, size, inode or, as when Kubernetes swaps
    the link `..data`, the path that it resolves to. It is looked at once a second at most.
    """

    def __init__(
        self, environ: Mapping[str, str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._clock = clock
        self._files: dict[str, _Read] = {}
        self._last: dict[str, str] = {}

    def resolve(self, reference: str) -> str:
        """The secret, without a line break at its end.

        Raises:
            SecretError: the reference is malformed, nothing is there, or it can't stand in a header.
        """
        return _checked(reference, self._value(reference))

    def last(self, reference: str) -> str:
        """As `resolve`; while there is nothing any more, what was there last.

        Raises:
            SecretError: there never was one.
        """
        try:
            value = self._last[reference] = self.resolve(reference)
        except SecretError:
            if reference not in self._last:
                raise
            value = self._last[reference]
        return value

    def _value(self, reference: str) -> str:
        scheme, _, rest = reference.partition(":")
        if scheme == "env" and rest:
            value = self._environ.get(rest)
            return self._from_folder(reference, rest) if value is None else value
        if scheme == "file" and rest:
            return self._from_file(reference, rest)
        # What stands there may be a key that someone put in place of a reference: it is not repeated.
        raise SecretError("a secret is given as env:NAME or file:PATH; what stands here is neither")

    def document(self, reference: str) -> str:
        """A JSON object, of any number of lines, that is a secret as a whole: a key file of a cloud.

        Raises:
            SecretError: the reference is malformed, nothing is there, or it is something else.
        """
        value = self._value(reference)
        if not _is_document(value):
            raise SecretError(f"{reference}: a JSON document is wanted there")
        return value

    def is_configured(self, reference: str) -> bool:
        """Whether `resolve`, or `document` where a JSON document stands, would give a secret now."""
        try:
            value = self._value(reference)
            if not _is_document(value):
                _checked(reference, value)
        except SecretError:
            return False
        return True

    def may_come(self, reference: str) -> bool:
        """Whether another may stand there while the process runs: in a file; its environment never changes."""
        scheme, _, name = reference.partition(":")
        from_folder = name not in self._environ and bool(self._environ.get(FOLDER))
        return scheme == "file" or (scheme == "env" and from_folder)

    def _from_folder(self, reference: str, name: str) -> str:
        """The secret that stands in for a variable that is not set."""
        folder = self._environ.get(FOLDER)
        if not folder or _VARIABLE.fullmatch(name) is None:
            raise SecretError(f"{reference}: the environment variable is not set")
        path = Path(folder, name)
        try:
            there = path.exists()
        except OSError as error:
            why = f"the file {path} can't be read ({error.strerror})"
            raise SecretError(f"{reference}: the environment variable is not set, and {why}") from None
        if not there:
            raise SecretError(f"{reference}: neither the environment variable is set nor is there a file {path}")
        return self._from_file(reference, str(path))

    def _from_file(self, reference: str, name: str) -> str:
        known, now = self._files.get(name), self._clock()
        if known is not None and now - known.checked < _LOOK_AGAIN:
            return known.value
        try:
            real = os.path.realpath(name)
            status = Path(real).stat()
            identity = (real, status.st_mtime_ns, status.st_ino, status.st_size)
            value = known.value if known is not None and known.identity == identity else _content(Path(real))
        except (OSError, UnicodeDecodeError) as exc:
            self._files.pop(name, None)
            reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
            raise SecretError(f"{reference}: the file can't be read ({reason})") from None
        self._files[name] = _Read(value, now, identity)
        return value


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MOST).decode()


def _is_document(value: str) -> bool:
    return value.lstrip().startswith("{")


def _checked(reference: str, value: str) -> str:
    value = value.rstrip("\r\n")
    if not value:
        raise SecretError(f"{reference}: it is empty")
    if not (value.isascii() and value.isprintable()):
        raise SecretError(f"{reference}: it holds characters that can't stand in a header (a line break, perhaps)")
    return value
