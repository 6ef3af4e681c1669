"""API keys whose rows stand in the settings: made, hashed, looked up. Nothing here stores a key.

A key is `eur_` and 36 letters and digits: the first 12 name it and may be shown, the last 24 are the secret.
24 characters of 62 are 142 bits, so the stored hash needs to be keyed, not slow.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.calls import Principal
from service.domain.errors import Reason, ServiceError
from service.domain.preferences import OPEN, Floor

PREFIX: Final = "eur_"
ID_LENGTH: Final = 12
SECRET_LENGTH: Final = 24
LOCAL: Final = Principal(owner="local")
"""Who everybody is as long as no key is configured."""

_ALPHABET: Final = string.digits + string.ascii_letters
_SHAPE: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{ID_LENGTH + SECRET_LENGTH}}}")
_ID_END: Final = len(PREFIX) + ID_LENGTH
_NO_HASH: Final = bytes(32)
_LONGEST_HASH_KEY: Final = hashlib.blake2b.MAX_KEY_SIZE

_NOT_SENT: Final = (
    "no API key came with this call: send it as `authorization: Bearer eur_…` or as `x-api-key: eur_…`"
)
_NOT_OURS: Final = (
    "this is no key of this service: they are eur_ and 36 letters and digits; look for a cut or a blank"
)
_UNKNOWN: Final = "this API key is not valid here: use another, or ask the operator of this service for one"
_DISABLED: Final = "this API key is disabled: use another, or ask the operator of this service"
_NO_OWNER: Final = "the client certificate names no owner of this service: ask its operator to add it to `owners`"


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as stored: `id` its public part, `hash` the keyed hash of its secret in hexadecimal."""

    id: str
    hash: str
    owner: str
    name: str = ""
    disabled: bool = False
    admin: bool = False
    floor: Floor = OPEN
    fetch_media: bool = False


@dataclass(frozen=True, slots=True)
class OwnerRow:
    """An owner: the names of client certificates that speak for it, its own floor, what all its calls may do."""

    name: str
    certificates: tuple[str, ...] = ()
    floor: Floor = OPEN
    fetch_media: bool = False


@dataclass(frozen=True, slots=True)
class _Known:
    hash: bytes
    principal: Principal
    disabled: bool


def make_key() -> str:
    """A new key from the system's random source. Show it once and keep its id and its hash only."""
    return PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(ID_LENGTH + SECRET_LENGTH))


def is_key(text: str) -> bool:
    """Whether `text` has the form of a key."""
    return _SHAPE.fullmatch(text) is not None


def public_id(key: str) -> str:
    """The part of a key that may be shown and stored."""
    return key[len(PREFIX) : _ID_END]


def hash_secret(key: str, pepper: bytes) -> str:
    """What is stored of a key's secret: keyed BLAKE2b of 32 bytes under the pepper, in hexadecimal."""
    return _keyed(pepper, key).hex()


def _keyed(pepper: bytes, key: str) -> bytes:
    # BLAKE2b has a keyed mode of its own (RFC 7693) and Python a copy without OpenSSL, whose look-up of an
    # algorithm costs several times the hash: 0.9 µs against 2.6 µs for HMAC-SHA256, once per call. Its key is
    # at most 64 bytes long: a longer pepper is hashed first, as HMAC does.
    if len(pepper) > _LONGEST_HASH_KEY:
        pepper = hashlib.blake2b(pepper).digest()
    return hashlib.blake2b(key[_ID_END:].encode(), key=pepper, digest_size=len(_NO_HASH)).digest()


class SettingsKeys:
    """Keys over rows that may be exchanged at any time: `rows` is asked for every call.

    An index is made when `rows()` gives another object than before, so it must give the same one while
    nothing has changed. `pepper()` keys the hashes. Without any row everybody is the owner `local`, as its row
    says if there is one, unless `open_without_keys` is False: then a client certificate is the only way in, and
    whoever comes here has none that fits.
    """

    def __init__(
        self,
        rows: Callable[[], Sequence[KeyRow]],
        pepper: Callable[[], bytes],
        *,
        owners: Callable[[], Sequence[OwnerRow]] = tuple,
        open_without_keys: Callable[[], bool] = lambda: True,
    ) -> None:
        self._rows = rows
        self._pepper = pepper
        self._owners = owners
        self._open = open_without_keys
        self._indexed: tuple[Sequence[KeyRow], Sequence[OwnerRow]] | None = None
        self._known: dict[str, _Known] = {}

    def authenticate(self, presented: str | None) -> Principal:
        """Who presents this key (without "Bearer ").

        Raises:
            ServiceError: INVALID_KEY.
        """
        rows = self._rows()
        if not rows:
            if self._open():
                return self._local()
            raise ServiceError(Reason.INVALID_KEY, _NO_OWNER)
        if not presented:
            raise ServiceError(Reason.INVALID_KEY, _NOT_SENT)
        if _SHAPE.fullmatch(presented) is None:
            raise ServiceError(Reason.INVALID_KEY, _NOT_OURS)
        known = self._index(rows).get(presented[len(PREFIX) : _ID_END])
        # An unknown id costs as much as a wrong secret, and both get the same answer.
        digest = _keyed(self._pepper(), presented)
        if not hmac.compare_digest(digest, known.hash if known else _NO_HASH) or known is None:
            raise ServiceError(Reason.INVALID_KEY, _UNKNOWN)
        if known.disabled:
            raise ServiceError(Reason.INVALID_KEY, _DISABLED)
        return known.principal

    def _local(self) -> Principal:
        row = next((owner for owner in self._owners() if owner.name == LOCAL.owner), None)
        return LOCAL if row is None else _of_owner(row)

    def _index(self, rows: Sequence[KeyRow]) -> dict[str, _Known]:
        owners = self._owners()
        if self._indexed is None or self._indexed[0] is not rows or self._indexed[1] is not owners:
            by_name = {owner.name: owner for owner in owners}
            self._known = {
                row.id: _Known(bytes.fromhex(row.hash), _principal(row, by_name.get(row.owner)), row.disabled)
                for row in rows
            }
            self._indexed = (rows, owners)
        return self._known


class CertificateOwners:
    """Which owner a verified client certificate speaks for: the first of its names that a row lists."""

    def __init__(self, owners: Callable[[], Sequence[OwnerRow]]) -> None:
        self._owners = owners
        self._indexed: Sequence[OwnerRow] | None = None
        self._principals: dict[str, Principal] = {}

    def __call__(self, names: Iterable[str]) -> Principal | None:
        """The principal for a certificate's names (subject alternative names, then the common name)."""
        owners = self._owners()
        if owners is not self._indexed:
            self._principals = {name: _of_owner(owner) for owner in owners for name in owner.certificates}
            self._indexed = owners
        return next((self._principals[name] for name in names if name in self._principals), None)


def _of_owner(row: OwnerRow) -> Principal:
    return Principal(owner=row.name, floor=row.floor, fetch_media=row.fetch_media)


def _principal(row: KeyRow, owner: OwnerRow | None) -> Principal:
    floor = row.floor.narrowed_by(owner.floor) if owner is not None else row.floor
    fetch = row.fetch_media or (owner is not None and owner.fetch_media)
    return Principal(owner=row.owner, key_id=row.id, admin=row.admin, floor=floor, fetch_media=fetch)
