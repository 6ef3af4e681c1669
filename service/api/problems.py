"""Collects everything that is wrong with a request, so that a caller mends it in one go.

Checks of single texts that several messages need stand here too. What a field means is its API's business.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from service.domain.errors import Reason, ServiceError, Violation

MAX_VIOLATIONS: Final = 10
MAX_DEPTH: Final = 100

T = TypeVar("T")

_SHOWN: Final = 64
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_WORD: Final = re.compile(r"[a-z0-9_-]{1,32}")
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

NAME_RULE: Final = "must be 1 to 64 letters, digits, underscores or dashes"
WORD_RULE: Final = "must be 1 to 32 lower-case letters, digits, underscores or dashes"


class Problems:
    """Violations in the order in which they were found. Keeps `MAX_VIOLATIONS` of them.

    Paths are JSON paths as the caller wrote them; `prefix` goes before each, for a request inside another.
    """

    __slots__ = ("_count", "_prefix", "_reasons", "_violations")

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._violations: list[Violation] = []
        self._reasons: set[Reason] = set()
        self._count = 0

    def add(self, path: str, message: str, reason: Reason = Reason.INVALID_REQUEST) -> None:
        """One more; `message` says what to do."""
        self._count += 1
        self._reasons.add(reason)
        if len(self._violations) < MAX_VIOLATIONS:
            self._violations.append(Violation(self._prefix + path, message))

    @property
    def count(self) -> int:
        """How many there are so far, those that are not kept included."""
        return self._count

    def foreign(self, path: str, message: str) -> None:
        """One more: it names state that is stored at a provider."""
        self.add(path, message, Reason.FOREIGN_STATE)

    def raise_if_any(self) -> None:
        """Ends the call if anything was found.

        Raises:
            ServiceError: with the one reason that all share, else INVALID_REQUEST.
        """
        if not self._count:
            return
        first = self._violations[0]
        rest = self._count - 1
        message = f"{first.path}: {first.message}" + (f" (and {rest} more)" if rest else "")
        reason = self._reasons.pop() if len(self._reasons) == 1 else Reason.INVALID_REQUEST
        raise ServiceError(reason, message, violations=tuple(self._violations))

    def unknown_fields(self, message: Message, path: str) -> None:
        """Fields of `message` itself that this version's contract does not have; protobuf would drop them."""
        unknown = UnknownFieldSet(message)
        for index in range(len(unknown)):
            number = unknown[index].field_number
            self.add(path, f"has no field number {number}: leave it out", Reason.UNKNOWN_FIELD)


def has_unknown(message: Message) -> bool:
    """Whether `message` itself holds fields that this version's contract does not have."""
    return len(UnknownFieldSet(message)) > 0


def shown(value: str) -> str:
    """A caller's text for an error message: short, and on one line."""
    text = value if len(value) <= _SHOWN else value[:_SHOWN] + "..."
    return repr(text)


def key_path(field: str, key: str) -> str:
    """The path of one entry of a map."""
    return f"{field}.{key[:_SHOWN]}"


def is_name(text: str) -> bool:
    """Whether it is the name of a tool or of a schema: see NAME_RULE."""
    return _NAME.fullmatch(text) is not None


def is_word(text: str) -> bool:
    """Whether it has the form of a value of a set that providers grow: see WORD_RULE."""
    return _WORD.fullmatch(text) is not None


def in_base64(text: str) -> bool:
    """Whether `text` is base64 with padding, not empty. Reads it once and decodes nothing."""
    if not text or len(text) % 4 or not text.isascii():
        return False
    rest = text.encode().translate(None, _BASE64)
    return rest == b"" or (rest in (b"=", b"==") and text.endswith(rest.decode()))


def json_complaint(text: str, kind: type[T], what: str) -> str | None:
    """What is wrong with JSON text that should hold `what`, a value of type `kind`; None if nothing is."""
    parsed = read_json(text)
    if isinstance(parsed, str):
        return f"must be {what} as JSON text: {parsed}"
    if not isinstance(parsed[0], kind):
        return f"must be {what} as JSON text"
    return None


def read_json(text: str) -> tuple[object] | str:
    """The value that JSON text holds, in a tuple, or what is wrong with it. Numbers may lose precision."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # The parser's sentence names a place and never quotes the text.
        return str(error)
    # Brackets inside strings count too, so this only spares most texts the walk.
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        return f"nested deeper than {MAX_DEPTH} levels"
    return (value,)


def _deeper_than(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return False
        level = below
    return True


def field_names(descriptor: Descriptor) -> frozenset[str]:
    """The JSON names of a message's own fields."""
    return frozenset(field.name for field in descriptor.fields)
