"""Two bodies of one request compared: the places where they differ. Knows no dialect's reasons."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final, Literal

CALLERS_OWN: Final = {"args", "response", "parametersJsonSchema", "responseJsonSchema"}
"""Keys of Gemini's whose values are the caller's JSON: spelt as the caller spells them."""
_ONE_TEXT: Final = {"anthropic": ("content", "system"), "mistral": ("content",), "azure": ("content",)}
"""Where a string and a list of a single text block say the same by the provider's API description."""
_NOTHING: Final[tuple[tuple[str, Any], ...]] = (("inferenceConfig", {}), ("extra_body", {}), ("type", "custom"))

How = Literal["ours only", "theirs only", "differs", "theirs refuses"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One place. `path` names the kinds of what stands in lists: `messages[user].content[text].text`."""

    path: str
    how: How
    ours: Any = None
    theirs: Any = None


def normal(value: Any, dialect: str) -> Any:
    """`value` without what means nothing: two spellings that the provider takes as one, empty objects.

    Gemini's JSON is that of protobuf, where `maxOutputTokens` and `max_output_tokens` are one field. Bedrock's
    schema of an answer is JSON as a string. A tool of Anthropic's is `custom` when it does not say.
    """
    if isinstance(value, list):
        return [normal(item, dialect) for item in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, item in value.items():
        name = _camel(key) if dialect == "gemini" else key
        inner = item if name in CALLERS_OWN else normal(item, dialect)
        if name in _ONE_TEXT.get(dialect, ()):
            inner = _one_text(inner)
        if name == "schema" and isinstance(inner, str):
            inner = json.loads(inner)
        if (name, inner) not in _NOTHING:
            made[name] = inner
    return made


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[Difference]:
    """Each place where the two differ, outermost first; 1 and 1.0 are equal, true and 1 are not."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in ours | theirs:
            place = f"{path}.{key}" if path else key
            if key not in theirs:
                yield Difference(place, "ours only", ours[key])
            elif key not in ours:
                yield Difference(place, "theirs only", None, theirs[key])
            else:
                yield from differences(ours[key], theirs[key], place)
    elif isinstance(ours, list) and isinstance(theirs, list):
        yield from _of_lists(ours, theirs, path)
    elif ours != theirs or isinstance(ours, bool) is not isinstance(theirs, bool):
        yield Difference(path, "differs", ours, theirs)


def _of_lists(ours: Sequence[Any], theirs: Sequence[Any], path: str) -> Iterator[Difference]:
    same = SequenceMatcher(None, [_text(item) for item in ours], [_text(item) for item in theirs], autojunk=False)
    for what, a, b, c, d in same.get_opcodes():
        if what != "equal":
            yield from _of_kinds(ours[a:b], theirs[c:d], path)


def _of_kinds(ours: Sequence[Any], theirs: Sequence[Any], path: str) -> Iterator[Difference]:
    """Of stretches that differ: items of one kind are compared, others stand on one side alone."""
    kinds = [kind(item) for item in ours], [kind(item) for item in theirs]
    for what, a, b, c, d in SequenceMatcher(None, *kinds, autojunk=False).get_opcodes():
        for mine, other in zip(ours[a:b], theirs[c:d], strict=False) if what == "equal" else ():
            yield from differences(mine, other, f"{path}[{kind(mine)}]")
        if what != "equal":
            yield from (Difference(f"{path}[{kind(item)}]", "ours only", item) for item in ours[a:b])
            yield from (Difference(f"{path}[{kind(item)}]", "theirs only", None, item) for item in theirs[c:d])


def kind(item: Any) -> str:
    """What an item of a list is: its role or type, else its first key."""
    if not isinstance(item, dict):
        return ""
    return str(item.get("role") or item.get("type") or next(iter(item), ""))


def _one_text(value: Any) -> Any:
    match value:
        case [{"type": "text", "text": str(text), **more}] if not more:
            return text
        case _:
            return value


def _camel(key: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), key)


def _text(item: Any) -> str:
    return json.dumps(item, sort_keys=True)
