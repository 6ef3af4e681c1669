"""Reads JSON text that comes in fragments: where a value ends, and one string property's text as it grows.

Nothing here raises: what models write as arguments may be any text. No meaning of any tool.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from typing import Final

_OUTSIDE: Final = re.compile(r'["{}\[\]]')
_IN_STRING: Final = re.compile(r'["\\]')
_PLAIN: Final = re.compile(r'[^"\\]+')
_SCALAR_END: Final = re.compile(r"[,}]")
_LOW: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_LOW_SO_FAR: Final = re.compile(r"(\\(u[0-9a-fA-F]{0,3})?)?")
_HEX_SO_FAR: Final = re.compile(r"[0-9a-fA-F]{0,4}")
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\", "/": "/"}
_BLANK: Final = " \t\r\n"
_REPLACEMENT: Final = "\ufffd"


class ValueEnd:
    """Finds the end of one object, list or string; the text fed first must begin with its opening mark."""

    __slots__ = ("_depth", "_escaped", "_in_string")

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, text: str, at: int = 0) -> int:
        """The place behind the value, or -1 when it goes on after `text`. Reading begins at `at`."""
        end = len(text)
        while at < end:
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            found = (_IN_STRING if self._in_string else _OUTSIDE).search(text, at)
            if found is None:
                return -1
            at = found.end()
            if self._mark(found[0]):
                return at
        return -1

    def _mark(self, mark: str) -> bool:
        """Whether the value ends with this mark."""
        if mark == "\\":
            self._escaped = True
            return False
        if mark == '"':
            self._in_string = not self._in_string
            return not self._in_string and self._depth == 0
        self._depth += 1 if mark in "{[" else -1
        return self._depth <= 0


class _State(Enum):
    OBJECT = auto()
    KEY = auto()
    KEY_TEXT = auto()
    COLON = auto()
    VALUE = auto()
    SKIPPED = auto()
    SCALAR = auto()
    TEXT = auto()
    DONE = auto()
    RAW = auto()


_SETTLED: Final = frozenset({_State.TEXT, _State.RAW})
_BEGUN: Final = frozenset({_State.KEY_TEXT, _State.SKIPPED})


class StringProperty:
    """The text of the string property `name` of an object, given out while the object's JSON comes in.

    Text that is not such an object is given out as it came: at once when it does not begin like one, at the
    end when the property never came; an object without any property gives nothing. Once the property's
    string has begun, what it holds is the text: a bad escape stands as it was written, half of a surrogate
    pair becomes U+FFFD, and what follows its end says nothing. Of several properties of the name the first
    counts.
    """

    __slots__ = ("_held", "_key", "_name", "_rest", "_skip", "_state")

    def __init__(self, name: str) -> None:
        self._name = name
        self._state = _State.OBJECT
        self._held: list[str] = []
        self._key: list[str] = []
        self._skip = ValueEnd()
        self._rest = ""

    def feed(self, fragment: str) -> str:
        """The text that `fragment` adds; often none."""
        state = self._state
        if state is _State.TEXT:
            return self._text(fragment, 0)
        if state is _State.RAW:
            return fragment
        if state is _State.DONE:
            return ""
        self._held.append(fragment)
        at = self._structure(fragment)
        if self._state is _State.RAW:
            return self._all_held()
        if at < 0:
            return ""
        self._held.clear()
        return self._text(fragment, at)

    def end(self) -> str:
        """What is left to give out once nothing more comes."""
        state, self._state = self._state, _State.DONE
        if state is _State.TEXT:
            return _unescaped_rest(self._rest)
        raw = self._all_held()
        return "" if raw and "".join(raw.split()) == "{}" else raw

    def _all_held(self) -> str:
        raw = "".join(self._held)
        self._held.clear()
        return raw

    def _structure(self, text: str) -> int:
        """Goes on to where the wanted string's text begins; -1 when that is not in `text`."""
        at, end = 0, len(text)
        while at < end and self._state not in _SETTLED:
            match self._state:
                case _State.SKIPPED:
                    at = self._skip.feed(text, at)
                    if at < 0:
                        return -1
                    self._state = _State.KEY
                case _State.SCALAR:
                    found = _SCALAR_END.search(text, at)
                    if found is None:
                        return -1
                    at, self._state = found.start(), _State.KEY
                case _State.KEY_TEXT:
                    at = self._key_text(text, at)
                case _:
                    at = self._between(text, at)
        return at if self._state is _State.TEXT else -1

    def _between(self, text: str, at: int) -> int:
        """One character between keys and values; the place behind it, or its own where a value begins."""
        character = text[at]
        if character in _BLANK:
            return at + 1
        self._step(character)
        return at if self._state in _BEGUN else at + 1

    def _step(self, character: str) -> None:
        match self._state:
            case _State.OBJECT:
                self._state = _State.KEY if character == "{" else _State.RAW
            case _State.KEY:
                if character == '"':
                    self._state, self._skip = _State.KEY_TEXT, ValueEnd()
                    self._key.clear()
            case _State.COLON:
                # A missing colon is forgiven: the value begins here or after it.
                self._state = _State.VALUE
                if character != ":":
                    self._step(character)
            case _:
                wanted = _decoded("".join(self._key)) == self._name
                if character == '"' and wanted:
                    self._state = _State.TEXT
                elif character in '"{[':
                    self._state, self._skip = _State.SKIPPED, ValueEnd()
                else:
                    self._state = _State.SCALAR

    def _key_text(self, text: str, at: int) -> int:
        after = self._skip.feed(text, at)
        stop = len(text) if after < 0 else after
        self._key.append(text[at:stop])
        if after >= 0:
            self._state = _State.COLON
        return stop

    def _text(self, fragment: str, at: int) -> str:
        text = self._rest + fragment[at:]
        self._rest = ""
        given: list[str] = []
        at, end = 0, len(text)
        while at < end:
            plain = _PLAIN.match(text, at)
            if plain is not None:
                given.append(plain[0])
                at = plain.end()
            elif text[at] == '"':
                self._state = _State.DONE
                break
            else:
                character, length = _escape(text, at)
                if not length:
                    self._rest = text[at:]
                    break
                given.append(character)
                at += length
        return "".join(given)


def _decoded(key: str) -> str:
    try:
        return str(json.loads(key))
    except ValueError:
        return ""


def _escape(text: str, at: int) -> tuple[str, int]:
    """The character that the escape at `at` stands for and the escape's length; 0 when more text is needed."""
    kind = text[at + 1 : at + 2]
    if not kind:
        return "", 0
    if kind != "u":
        return _ESCAPES.get(kind, "\\" + kind), 2
    digits = _HEX_SO_FAR.match(text, at + 2)
    found = digits[0] if digits is not None else ""
    if len(found) < 4:
        # Digits that can't come any more: the two characters stand as they were written.
        return ("", 0) if at + 2 + len(found) == len(text) else ("\\u", 2)
    code = int(found, 16)
    if not 0xD800 <= code <= 0xDFFF:
        return chr(code), 6
    if code >= 0xDC00:
        return _REPLACEMENT, 6
    follows = text[at + 6 : at + 12]
    if _LOW_SO_FAR.fullmatch(follows):
        return "", 0
    pair = _LOW.fullmatch(follows)
    low = int(pair[1], 16) if pair is not None else 0
    if 0xDC00 <= low <= 0xDFFF:
        return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)), 12
    return _REPLACEMENT, 6


def _unescaped_rest(rest: str) -> str:
    """An escape that was cut off: half a pair is replaced, anything else stands as it was written."""
    return _REPLACEMENT + rest[6:] if len(rest) >= 6 else rest
