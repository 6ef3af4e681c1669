"""Whether events hold what they declare: once for all dialects, which read quickly and trust their provider.

A value of a wrong type or size would break what writes the answer for the caller, far from whoever sent it.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Final

from service.domain.events import Event, TextDelta, UrlCitation
from service.domain.failure import Failure, FailureKind, UpstreamError

_MOST: Final = 2**31 - 1
"""Counts and indexes are 32 bits wide in our own API; 2,147,483,647 tokens are no answer's."""

_MOMENTS: Final = frozenset({"created", "expires_at"})
"""Unix seconds, which outgrow 32 bits in 2038."""

_Test = Callable[[Any], bool]


def checked(events: Sequence[Event]) -> Sequence[Event]:
    """The same events.

    Raises:
        UpstreamError: PROTOCOL: one of them holds what can't stand there; its place is named, never the value.
    """
    for event in events:
        if (
            type(event) is TextDelta
            and type(event.text) is str
            and type(event.choice) is int
            and 0 <= event.choice <= _MOST
            and not event.logprobs
        ):
            continue
        kind: Any = type(event)
        for name, fits in _tests(kind):
            if not fits(getattr(event, name)):
                place = f"{kind.__name__}.{name}"
                text = f"the provider's answer holds a value that can't stand there ({place})"
                raise UpstreamError(Failure(FailureKind.PROTOCOL, text))
    return events


@cache
def _tests(kind: Any) -> tuple[tuple[str, _Test], ...]:
    hints = typing.get_type_hints(kind)
    least = -_MOST if kind is UrlCitation else 0
    return tuple((each.name, _test(hints[each.name], each.name, least)) for each in fields(kind))


def _test(declared: Any, name: str, least: int) -> _Test:
    """What tells a value of the declared type from others."""
    origin, inner = typing.get_origin(declared), typing.get_args(declared)
    if origin in (typing.Union, types.UnionType):
        tests = tuple(_test(each, name, least) for each in inner)
        return lambda value: any(fits(value) for fits in tests)
    if origin is typing.Literal:
        return lambda value: type(value) is str and value in inner
    if origin is tuple:
        return _of_many(inner, name, least)
    if declared is int:
        most = 2**53 if name in _MOMENTS else _MOST
        return lambda value: type(value) is int and least <= value <= most
    if declared is float:
        return lambda value: type(value) in (int, float)
    if is_dataclass(declared):
        return _of_row(declared)
    # str, None and enumerations.
    return lambda value: isinstance(value, declared)


def _of_row(row: Any) -> _Test:
    tests = _tests(row)
    return lambda value: type(value) is row and all(fits(getattr(value, name)) for name, fits in tests)


def _of_many(inner: tuple[Any, ...], name: str, least: int) -> _Test:
    if inner[-1:] == (Ellipsis,):
        each = _test(inner[0], name, least)
        return lambda value: type(value) is tuple and all(each(item) for item in value)
    tests = tuple(_test(item, name, least) for item in inner)
    return lambda value: (
        type(value) is tuple
        and len(value) == len(tests)
        and all(fits(item) for fits, item in zip(tests, value, strict=True))
    )
