"""Public keys as they stand in the settings: base64 of the 32 bytes of an Ed25519 key (RFC 8032).

The library for signatures takes any 32 bytes; half of them are no key, and under a few anybody can sign. Whether
a record is signed is not judged here.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Annotated, Final

from pydantic import AfterValidator

_SIZE: Final = 32
_WRAPPED: Final = 44
_HOW: Final = "`openssl pkey -pubin -in key.pem -outform DER | tail -c 32 | base64` prints it"
_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P


def is_public_key(raw: bytes) -> bool:
    """Whether these are an Ed25519 key: a point of the curve, none of the few whose signatures prove nothing."""
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if len(raw) != _SIZE or y >= _P:
        return False
    x_squared = _x_squared(y)
    if x_squared == 0 or pow(x_squared, (_P - 1) // 2, _P) != 1:
        return False
    # Eight times a point of a small order is the neutral one, whose y is 1.
    for _ in range(3):
        x_squared = _x_squared(y)
        y = (y * y + x_squared) * pow(1 - _D * x_squared * y * y, -1, _P) % _P
    return y != 1


def _x_squared(y: int) -> int:
    """Solves -x² + y² = 1 + d x² y² for x²."""
    return (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P


def _public_key(value: str) -> str:
    # Never repeats the value: it may be the private key, pasted here.
    try:
        raw = b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"must be base64 of the public key's {_SIZE} bytes; {_HOW}") from None
    if len(raw) == _WRAPPED:
        raise ValueError(
            f"must be the last {_SIZE} of these {_WRAPPED} bytes, without what a PEM file adds; {_HOW}"
        )
    if len(raw) != _SIZE:
        raise ValueError(f"must be base64 of exactly {_SIZE} bytes, these are {len(raw)}; {_HOW}")
    if not is_public_key(raw):
        raise ValueError(f"is no Ed25519 public key (is it the private one?); {_HOW}")
    return value


PublicKeyText = Annotated[str, AfterValidator(_public_key)]
"""Base64 of an Ed25519 public key."""
