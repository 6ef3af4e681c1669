"""In whose name a record came: by its topic, by a signature, or by a header that operators switched on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.domain.calls import Principal
from service.domain.consuming import Record
from service.domain.job_store import Priority
from service.domain.preferences import OPEN, Floor
from service.edge.kafka.names import EXPIRES_AT, KEY_ID, SIGNATURE
from service.edge.kafka.record import Headers
from service.edge.kafka.rejections import RejectedRecordError, Rejection
from service.edge.kafka.signatures import is_signed, signed_bytes

MAX_OWNER: Final = 255


@dataclass(frozen=True, slots=True)
class Binding:
    """A topic that one owner writes to, which the broker's access control sees to.

    `priority` is that of records that name none; results go to `results_topic`, None: where its owner's go.
    """

    topic: str
    owner: str
    priority: Priority | None = None
    results_topic: str | None = None


@dataclass(frozen=True, slots=True)
class Signer:
    """A public key (32 bytes) that an owner signs records with, and the id by which records name it."""

    id: str
    owner: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class OwnerTerms:
    """What holds for all records of an owner; `reply_topics` are those that its results may go to.

    `fetch_media` is as Principal's.
    """

    name: str
    floor: Floor = OPEN
    reply_topics: frozenset[str] = frozenset()
    fetch_media: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Who submitted a record. `signed` are the bytes that a signature covers, where one said who it is."""

    principal: Principal
    terms: OwnerTerms
    binding: Binding | None = None
    signed: bytes | None = None


class Identities:
    """Whom records may come from. Made anew when the settings change.

    Owners without a row may submit too, as over the other doors. `trusted_owner_header` names the header by which
    whoever can write to a topic without a binding may claim to be anybody; None: there is no such thing.

    Raises:
        ValueError: a public key is none, or two rows have one id or one topic.
    """

    def __init__(
        self,
        bindings: Iterable[Binding] = (),
        signers: Iterable[Signer] = (),
        owners: Iterable[OwnerTerms] = (),
        *,
        trusted_owner_header: str | None = None,
    ) -> None:
        self._bindings: dict[str, Binding] = {}
        for binding in bindings:
            if self._bindings.setdefault(binding.topic, binding) is not binding:
                raise ValueError(f"the topic {binding.topic} is bound twice")
        self._signers: dict[str, tuple[Signer, Ed25519PublicKey]] = {}
        for signer in signers:
            if signer.id in self._signers:
                raise ValueError(f"two public keys have the id {signer.id}")
            self._signers[signer.id] = (signer, _public_key(signer))
        self._owners = {owner.name: owner for owner in owners}
        self._trusted = trusted_owner_header.lower() if trusted_owner_header else None
        self.headers: frozenset[str] = frozenset((self._trusted,) if self._trusted else ())
        """Headers to read beside those of the contract."""

    def bound_owner(self, topic: str) -> str:
        """Whose topic it is, "" when it has no binding."""
        binding = self._bindings.get(topic)
        return "" if binding is None else binding.owner

    def identify(self, record: Record, headers: Headers) -> Identity:
        """Who submitted a record: its topic says it, else its signature, else the trusted header.

        Raises:
            RejectedRecordError: UNAUTHENTICATED or BAD_SIGNATURE.
        """
        binding = self._bindings.get(record.topic)
        if binding is not None:
            return self._identity(binding.owner, binding=binding)
        if SIGNATURE in headers.text or KEY_ID in headers.text:
            return self._signed(record, headers)
        if self._trusted is not None and self._trusted in headers.text:
            return self._identity(_owner(self._trusted, headers.text[self._trusted]))
        ways = f"sign it ({SIGNATURE}, {KEY_ID})"
        if self._trusted is not None:
            ways += f", name its owner in {self._trusted}"
        raise _nobody(f"nothing says whose record it is: {ways}, or write to a topic that is bound to its owner")

    def vouched(self, owner: str, record: Record, headers: Headers) -> Identity:
        """The identity of a record whose owner an operator vouches for: it was known once, and is submitted again.

        Its signature is gone by then; which job it is does not change by that.
        """
        binding = self._bindings.get(record.topic)
        if binding is not None and binding.owner == owner:
            return self._identity(owner, binding=binding)
        covered = _covered(owner, record, headers) if KEY_ID in headers.text else None
        return self._identity(owner, signed=covered)

    def _signed(self, record: Record, headers: Headers) -> Identity:
        for name in (SIGNATURE, KEY_ID):
            if name not in headers.text:
                raise _nobody(f"{name} is missing: a signed record has {SIGNATURE} and {KEY_ID}")
        if EXPIRES_AT not in headers.text:
            raise _nobody(f"{EXPIRES_AT} is missing: a signed record says until when it counts")
        known = self._signers.get(headers.text[KEY_ID])
        if known is None:
            raise _forged(f"{KEY_ID} names no public key that is registered here: ask the operator to add it")
        signer, public_key = known
        covered = _covered(signer.owner, record, headers)
        if not is_signed(public_key, headers.text[SIGNATURE], covered):
            why = "over this topic, key, value, owner and these headers, in base64: sign the record as it is sent"
            raise _forged(f"{SIGNATURE} is not that key's {why}")
        return self._identity(signer.owner, signed=covered, key_id=signer.id)

    def _identity(
        self, owner: str, *, binding: Binding | None = None, signed: bytes | None = None, key_id: str = ""
    ) -> Identity:
        terms = self._owners.get(owner) or OwnerTerms(owner)
        principal = Principal(owner, key_id, floor=terms.floor, fetch_media=terms.fetch_media)
        return Identity(principal, terms, binding, signed)


def _public_key(signer: Signer) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(signer.public_key)
    except ValueError:
        raise ValueError(f"the public key {signer.id} is no Ed25519 key: it has 32 bytes") from None


def _covered(owner: str, record: Record, headers: Headers) -> bytes:
    return signed_bytes(owner, record.topic, record.key, record.value, headers.raw)


def _owner(header: str, name: str) -> str:
    if not 0 < len(name) <= MAX_OWNER or not name.isprintable():
        raise _nobody(f"{header} must be the owner's name: 1 to {MAX_OWNER} printable characters")
    return name


def _nobody(message: str) -> RejectedRecordError:
    return RejectedRecordError(Rejection.UNAUTHENTICATED, message)


def _forged(message: str) -> RejectedRecordError:
    return RejectedRecordError(Rejection.BAD_SIGNATURE, message)
