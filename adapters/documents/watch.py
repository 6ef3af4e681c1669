"""Notices that a file has new content, through symbolic links too. Reads nothing, waits for nothing."""

from __future__ import annotations

import os
from pathlib import Path

_Stamp = tuple[str, int, int, int]


class WatchedFile:
    """A file that may be edited, replaced or reached through links that are swapped.

    Kubernetes changes a mounted ConfigMap by swapping the link `..data`: the file's resolved path changes.
    An edit in place is reported only when two looks in a row see the same file, so that nobody reads half
    of what an editor is still writing.
    """

    def __init__(self, path: Path, *, known: bool = True) -> None:
        """`known`: what is there now counts as reported; otherwise the first look reports it."""
        self.path = path
        self._seen = self._stamp()
        self._read = self._seen if known else None

    def changed(self) -> bool:
        """Whether there is content that was not reported yet; each content is reported once."""
        now = self._stamp()
        settled = now == self._seen
        self._seen = now
        if now is None or now == self._read:
            return False
        swapped = self._read is not None and now[0] != self._read[0]
        if not (settled or swapped):
            return False
        self._read = now
        return True

    def missing(self) -> bool:
        """Whether the last look found no file."""
        return self._seen is None

    def _stamp(self) -> _Stamp | None:
        try:
            real = os.path.realpath(self.path)
            stat = os.stat(real)  # noqa: PTH116 - one resolution, then one stat of exactly that file
        except OSError:
            return None
        return real, stat.st_ino, stat.st_mtime_ns, stat.st_size
