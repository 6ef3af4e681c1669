"""Where the database is: its URL read, checked and shown. No connection is made here, no password leaves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

EXAMPLES: Final = (
    "sqlite:////var/lib/eurouter/eurouter.db (four slashes: a path from the root), sqlite:///eurouter.db "
    "(three: from the working folder) or postgresql://user:password@host:5432/database?sslmode=verify-full&sslrootcert=/path/of/ca.pem"
)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(:\d{1,5})?")
_LAST_PORT: Final = 65535
_REFERENCES: Final = ("env:", "file:")
_SECRET_PARAMETERS: Final = ("password", "sslpassword")


class DatabaseUrlError(ValueError):
    """A URL that can't be used. The text never repeats it: it may hold a password."""


@dataclass(frozen=True, slots=True)
class SqliteTarget:
    """A database file."""

    path: Path

    @property
    def name(self) -> str:
        """For people: in logs and errors."""
        return f"sqlite:///{self.path}"


@dataclass(frozen=True, slots=True)
class PostgresTarget:
    """A PostgreSQL server's database. `dsn` holds the password; `name` neither it nor the user."""

    dsn: str = field(repr=False)
    name: str


Target: TypeAlias = SqliteTarget | PostgresTarget


def parse_url(url: str) -> Target:
    """What a URL names.

    Raises:
        DatabaseUrlError: it names nothing that we can use.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in ("sqlite", "postgresql", "postgres"):
        raise DatabaseUrlError(f"must be {EXAMPLES}")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise DatabaseUrlError(f"can't be read as a URL: it must be {EXAMPLES}") from None
    return _sqlite(parts) if scheme == "sqlite" else _postgres(url, parts)


def _sqlite(parts: SplitResult) -> SqliteTarget:
    if parts.netloc:
        raise DatabaseUrlError("a SQLite URL has three slashes before a relative path and four before one from /")
    if parts.query or parts.fragment:
        raise DatabaseUrlError("a SQLite URL takes no parameters: write ? and # in a path as %3F and %23")
    path = unquote(parts.path.removeprefix("/"))
    if not path or path.endswith("/") or "\0" in path:
        raise DatabaseUrlError("a SQLite URL must name a file, as sqlite:////var/lib/eurouter/eurouter.db")
    if path.startswith((":memory:", "file:")):
        raise DatabaseUrlError("SQLite needs a file on a disk: what is in memory only can't be shared by readers")
    return SqliteTarget(Path(path))


def _postgres(url: str, parts: SplitResult) -> PostgresTarget:
    # A password with such characters splits the URL in the wrong place: what follows must not be shown.
    if "@" in parts.path + parts.query or parts.fragment or parts.netloc.count("@") > 1:
        raise DatabaseUrlError(
            "user and password must be percent-encoded: / is %2F, ? is %3F, # is %23, @ is %40, : is %3A, % is %25"
        )
    if parts.path.count("/") > 1:
        raise DatabaseUrlError("must name one database: postgresql://user:password@host:5432/database")
    hosts = parts.netloc.rpartition("@")[2]
    # Without the @ the password would stand where a port is, and be shown as one.
    if not all(_HOST.fullmatch(host) for host in hosts.split(",")):
        raise DatabaseUrlError("must name hosts as host or host:port, with user and password before an @")
    if any(int(match[1]) > _LAST_PORT for match in re.finditer(r":(\d{1,5})(?:,|$)", hosts)):
        raise DatabaseUrlError(f"a port must be 0..{_LAST_PORT}")
    _check_query(parts.query)
    return PostgresTarget(url, f"postgresql://{hosts}{parts.path}")


def _check_query(query: str) -> None:
    """The driver reads it as strictly, and its error would quote a part of it, which may be of a password."""
    try:
        parse_qsl(query, strict_parsing=True) if query else ()
    except ValueError:
        raise DatabaseUrlError("what follows the ? must be name=value, with & between several") from None


def is_reference(text: str) -> bool:
    """Whether it says where the URL is (env:NAME or file:PATH) instead of being one."""
    return text.startswith(_REFERENCES)


def without_password(url: str) -> str:
    """The URL as it may be shown to whoever may read the settings; a reference stays as it is."""
    if is_reference(url):
        return url
    target = parse_url(url)
    if isinstance(target, SqliteTarget):
        return url
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    query = [(name, value) for name, value in parse_qsl(parts.query) if name not in _SECRET_PARAMETERS]
    # Not urlunsplit: it drops the slashes of a URL without a host.
    shown = f"{parts.scheme}://{login.partition(':')[0]}{at}{hosts}{parts.path}"
    return f"{shown}?{urlencode(query, safe='/')}" if query else shown


def default_url(env: Mapping[str, str]) -> str:
    """A file in the user's state folder, as the XDG rules have it."""
    state = env.get("XDG_STATE_HOME", "")
    # The rules say that a path that is not absolute is to be ignored.
    folder = Path(state) if Path(state).is_absolute() else _home(env) / ".local" / "state"
    path = str(folder / "eurouter" / "eurouter.db")
    return "sqlite:///" + path.replace("%", "%25").replace("?", "%3F").replace("#", "%23")


def _home(env: Mapping[str, str]) -> Path:
    if env.get("HOME"):
        return Path(env["HOME"])
    try:
        return Path.home()
    except RuntimeError:
        # A user without a home, as in containers: the file can't be made there, and that error says what to set.
        return Path("/")


def effective_url(setting: str | None, env: Mapping[str, str], resolve: Callable[[str], str]) -> str:
    """The URL that a setting means: itself, what its reference holds, or the default.

    `resolve` gives the secret of a reference; what it raises passes through.
    """
    if setting is None:
        return default_url(env)
    return resolve(setting) if is_reference(setting) else setting
