"""What is wrong with a JSON document. Never holds a caller's values: paths, type names and advice only."""

from __future__ import annotations

from typing import Final

from service.domain.errors import Reason

# As many as a person mends in one go; a hostile body must not make a long answer.
MAX_VIOLATIONS: Final = 10

# A field's name is the caller's text too: long ones are cut.
_MAX_NAME: Final = 64


class WireError(ValueError):
    """A JSON document that is no such message.

    `violations` are (JSON path as the caller wrote it, sentence); the path is "" for the document itself.
    At most `MAX_VIOLATIONS`, in the order of the document. `reason` is MALFORMED_BODY when the bytes are no
    JSON object, UNKNOWN_FIELD when unknown fields are all that is wrong, else INVALID_REQUEST.
    """

    def __init__(self, violations: tuple[tuple[str, str], ...], reason: Reason = Reason.INVALID_REQUEST) -> None:
        self.violations = violations
        self.reason = reason
        super().__init__("; ".join(f"{path}: {text}" if path else text for path, text in violations))


class InvalidValueError(ValueError):
    """One value is not what its field takes; the walk adds the path."""


class Problem:
    """A violation on its way up: each level adds its own segment to `path`, innermost first."""

    __slots__ = ("path", "text", "unknown")

    def __init__(self, text: str, *, unknown: bool = False) -> None:
        self.path: list[str | int] = []
        self.text = text
        self.unknown = unknown

    def json_path(self) -> str:
        """The path with indexes, such as messages[0].content[1].image_url.url."""
        out = ""
        for segment in reversed(self.path):
            if isinstance(segment, int):
                out += f"[{segment}]"
            else:
                out += f".{_printable(segment)}" if out else _printable(segment)
        return out

    def hint_path(self) -> str:
        """The path without indexes, as settings name hints: messages.content.cache_control."""
        return ".".join(segment for segment in reversed(self.path) if isinstance(segment, str))


def expected(what: str, value: object) -> InvalidValueError:
    """`what` with its article, against the JSON type that came."""
    return InvalidValueError(f"expected {what}, got {type_name(value)}")


def type_name(value: object) -> str:
    """A value's JSON type with its article."""
    return _TYPE_NAMES.get(type(value), "something else")


def _printable(name: str) -> str:
    # A lone surrogate could not be sent in the error.
    return name[:_MAX_NAME].encode("utf-8", "replace").decode()


_TYPE_NAMES: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}
