"""Answers as a hostile or broken provider would send them: documents with one wrong value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from adapters.providers.sound import checked
from service.domain.events import Event
from service.domain.failure import Failure, UpstreamError
from tests.contract.sample import GOLDEN, DialectSample
from tests.support import eventstream

GONE: Final = object()
"""In place of a value: its key is left out."""


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


WRONG: Final[tuple[Any, ...]] = (
    None, True, -1, 7, 1e308, 2**63, 2**64 - 1, 10**30, "", "wrong", "\x00", [], {}, [None], [7], [["x"]],
    {"x": 1}, {"text": 7}, nested(500), GONE,
)  # fmt: skip
"""What a value is replaced by: every other type, numbers at and beyond the edges, deep nesting, nothing at all."""


def mutations(document: Any, seen: set[tuple[str, ...]]) -> Iterator[tuple[str, Any]]:
    """`document` with one of its values wrong, for every value and wrong value, and where (a JSON path).

    Places that are in `seen`, in a document of the same kind, are left out; those that were not are added.
    """
    kind = str(document.get("type")) if isinstance(document, dict) else ""
    for path in ((), *_paths(document)):
        place = (kind, *("#" if isinstance(step, int) else step for step in path))
        if place in seen:
            continue
        seen.add(place)
        for wrong in WRONG:
            if path or wrong is not GONE:
                where = ".".join(("$", *map(str, path)))
                yield f"{where} = {_short(wrong)}", _with(document, path, wrong) if path else wrong


def _short(value: Any) -> str:
    return "left out" if value is GONE else repr(value)[:30]


def _paths(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*at, key)
        yield from _paths(each, (*at, key))


def _with(value: Any, path: tuple[str | int, ...], wrong: Any) -> Any:
    key, *rest = path
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    if rest:
        copy[key] = _with(value[key], tuple(rest), wrong)
    elif wrong is GONE:
        del copy[key]
    else:
        copy[key] = wrong
    return copy


def documents(sample: DialectSample, case: str) -> list[tuple[Any, Callable[[Any], bytes]]]:
    """The documents of a case's stream, each with what frames another in its place."""
    if sample.binary:
        stored = json.loads((GOLDEN / sample.name / "answers" / f"{case}.frames.json").read_bytes())
        return [(message["payload"], partial(_binary, message["event"])) for message in stored]
    found: list[tuple[Any, Callable[[Any], bytes]]] = []
    for frame in sample.frames(case):
        data = re.search(rb"^data: ?({.*)$", frame, re.MULTILINE)
        if data is not None:
            found.append((json.loads(data[1]), partial(_in_place, frame, data[1])))
    return found


def _binary(kind: str, new: Any) -> bytes:
    return eventstream.event(kind, as_json(new))


def _in_place(frame: bytes, text: bytes, new: Any) -> bytes:
    return frame.replace(text, as_json(new))


def as_json(value: Any) -> bytes:
    """JSON as a provider may write it, numbers of any size included."""
    return json.dumps(value, ensure_ascii=False).encode()


def outcome(read: Callable[[], Sequence[Event]]) -> list[Event] | Failure:
    """The events as they leave `HttpUpstream`, or the failure; any other exception is a bug and goes through."""
    try:
        return list(checked(read()))
    except UpstreamError as error:
        return error.failure
