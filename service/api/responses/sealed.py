"""What a reasoning item's `encrypted_content` holds when a provider's proof of its reasoning travels through it.

Item ids are ours, and OpenAI binds its own encrypted reasoning to the id that it gave; other providers want a
signature back. So each goes out in an envelope that says whose it is. Not secret and not signed: whoever
changes it changes what that provider checks by itself.

Clients that keep their conversations themselves send back `encrypted_content` and not `content`: they know
OpenAI's reasoning, which has no text. So who asks for the one gets the text of the other in it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, NamedTuple

import orjson
from eurouter.v1 import response_items_pb2 as pb

OPENAI: Final = "openai-responses-v1"
"""The format of what OpenAI encrypts."""

_PREFIX: Final = "eurouter1."
_KEYS: Final = ("f", "s", "e", "i", "t")


class Seal(NamedTuple):
    """A provider's proof: the dialect that can read it, signature or encrypted reasoning, the provider's id.

    `text` is the reasoning itself, as far as it may be read. Without signature and encrypted reasoning there is
    nothing but that, and `format` is empty.
    """

    format: str
    signature: str | None = None
    encrypted: str | None = None
    id: str | None = None
    text: str | None = None

    @property
    def is_proof(self) -> bool:
        """Whether there is something that a provider checks or decrypts."""
        return self.signature is not None or self.encrypted is not None


def seal(sealed: Seal) -> str:
    """The envelope's text: URL-safe, about a third longer than what it holds."""
    values = {key: value for key, value in zip(_KEYS, sealed, strict=True) if value}
    return _PREFIX + base64.urlsafe_b64encode(orjson.dumps(values)).rstrip(b"=").decode()


def unseal(text: str) -> Seal:
    """What an envelope holds. Text that is none of ours is OpenAI's own; nothing raises."""
    if not text.startswith(_PREFIX):
        return Seal(OPENAI, encrypted=text)
    body = text[len(_PREFIX) :]
    try:
        values = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, binascii.Error):
        return Seal(OPENAI, encrypted=text)
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        return Seal(OPENAI, encrypted=text)
    form, signature, encrypted, own_id, readable = (values.get(key) for key in _KEYS)
    if readable and not (signature or encrypted):
        return Seal("", text=readable)
    return Seal(form or OPENAI, signature, encrypted, own_id, readable)


def show_proof(item: pb.ResponseReasoningItem, *, show: bool) -> None:
    """Makes of a copy of a stored item what its reader sees: `encrypted_content` with the text in it, or none."""
    if not show:
        item.ClearField("encrypted_content")
        return
    text = "".join(part.reasoning_text.text for part in item.content)
    if text and (not item.encrypted_content or item.encrypted_content.startswith(_PREFIX)):
        sealed = unseal(item.encrypted_content) if item.encrypted_content else Seal("")
        item.encrypted_content = seal(sealed._replace(text=text))
