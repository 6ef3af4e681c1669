"""YAML text to plain data, keeping the line of every key. Nothing here knows what the data means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

_TAGS_OF_KEYS: Final = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")
"""What a key may be: text, and with YAML 1.1 `<<` (what is merged) and `=`, which are read as text there."""
_NO_TEXT: Final = "must be text: put it in quotes (YAML reads yes, no, on and off as true and false)"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a document: the key's path (`models[3].price.prompt`, "" for the whole), a sentence
    on what to do, and the line where it is, None when no line can be named.
    """

    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = f" (line {self.line})" if self.line is not None else ""
        return f"{self.path}: {self.message}{place}" if self.path else f"{self.message}{place}"


class DocumentError(Exception):
    """A document that can't be used. Its text is one line per problem, each starting with the file's name."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(f"{name}: {problem}" for problem in problems))
        self.name = name
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document: its data (an empty document is an empty mapping) and where each key stands."""

    name: str
    data: dict[str, Any]
    root: yaml.Node | None

    def line(self, location: Sequence[int | str]) -> int | None:
        """The line, from 1, of the deepest part of `location` (keys and list positions) that is there."""
        node, line = self.root, None
        for part in location:
            found = _step(node, part)
            if found is None:
                break
            line, node = found
        return line


def read_document(path: Path) -> Document:
    """The document in a file.

    Raises:
        DocumentError: the file can't be read, is not UTF-8 or YAML, has a key twice or one that is no text, or is
            not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DocumentError(str(path), [Problem("", f"can't be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise DocumentError(str(path), [Problem("", f"is not UTF-8 text (byte {error.start})")]) from error
    return parse_document(text, str(path))


def parse_document(text: str, name: str) -> Document:
    """The document in `text`; `name` is how errors call it.

    Raises:
        DocumentError: not YAML, a key twice or one that is no text, or not a mapping.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(name, {}, None)
        if wrong := _wrong_keys(node, ""):
            raise DocumentError(name, wrong)
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context or "can't be parsed"
        line = mark.line + 1 if mark else None
        raise DocumentError(name, [Problem("", f"is not valid YAML: {what}", line)]) from error
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: a value that looks like a date and is none, such as 2026-13-01.
        raise DocumentError(name, [Problem("", f"is not valid YAML: {error}")]) from error
    except RecursionError:
        raise DocumentError(name, [Problem("", "is nested too deeply, or contains itself")]) from None
    if not isinstance(data, dict):
        raise DocumentError(name, [Problem("", "must be a mapping of keys to values", 1)])
    return Document(name, data, node)


def format_path(location: Sequence[int | str]) -> str:
    """`("models", 3, "price")` as `models[3].price`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _step(node: yaml.Node | None, part: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line + 1, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item.start_mark.line + 1, item
    return None


def _wrong_keys(node: yaml.Node, path: str) -> list[Problem]:
    """Keys that are written twice, as YAML keeps the last and says nothing, so that half of what was written would
    be lost; and keys that are no text to YAML, which nothing that reads a document expects.
    """
    found: list[Problem] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # a list or mapping as a key: refused when the data is made
            here = f"{path}.{key.value}" if path else str(key.value)
            if key.tag not in _TAGS_OF_KEYS:
                found.append(Problem(here, _NO_TEXT, key.start_mark.line + 1))
            if key.value in seen:
                found.append(Problem(here, "is written twice: keep one", key.start_mark.line + 1))
            seen.add(key.value)
            found += _wrong_keys(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            found += _wrong_keys(item, f"{path}[{position}]")
    return found
