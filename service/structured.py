"""Holds answers to a caller's own JSON Schema, on a thread beside the event loop and within bounds.

A schema may ask for any amount of work: each keyword costs steps, and an answer that takes too many counts as not
checked, which is as bad as wrong. Nothing is fetched, and no regular expression of a schema is ever run.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Context, Decimal
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec, TypeVar

from service.domain.emulation import PATH
from service.domain.errors import invalid

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

MAX_STEPS: Final = 100_000
"""Keywords that are looked at, and entries of what they look at: about a second at the most."""

_MAX_DIGITS: Final = 2000
_SCHEMA: Final = f"{PATH}.schema"
_TOO_MUCH: Final = "takes more work to check against the schema than is done for one answer"
_left: contextvars.ContextVar[list[int]] = contextvars.ContextVar("steps left")

# Of their own: those that everybody shares look up names for the HTTP client, too.
_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="schema")

P = ParamSpec("P")
T = TypeVar("T")
Keyword = Callable[[Any, Any, Any, Any], Iterable[Any] | None]


async def beside(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` gives, done on a thread; at most two such works at a time. Raises as it does."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(work, *args, **kwargs))


class _UncheckedError(Exception):
    """The answer can't be judged within bounds."""


class SchemaCheck:
    """One schema and what is held to it. `prepare` first; both are work for a thread, not for the event loop."""

    __slots__ = ("_text", "_validator")

    def __init__(self, schema: str) -> None:
        self._text = schema
        self._validator: Validator | None = None

    def prepare(self) -> Validator:
        """Makes the check ready, and gives what it works with; nothing to do on a second call.

        Raises:
            ServiceError: INVALID_REQUEST for a text that is no JSON Schema.
        """
        if self._validator is not None:
            return self._validator
        from jsonschema import SchemaError
        from referencing import Registry

        schema = json.loads(self._text)
        dialect = _dialect(schema.get("$schema"))
        try:
            dialect.check_schema(schema)
        except SchemaError as error:
            where = ".".join(str(step) for step in error.absolute_path)[:100]
            raise invalid(f"{_SCHEMA}.{where}" if where else _SCHEMA, "is no JSON Schema") from None
        except RecursionError:
            raise invalid(_SCHEMA, "is nested too deeply to be checked") from None
        exact = json.loads(self._text, parse_float=Decimal)
        # Inside the library a schema that names its dialect is handed to that dialect's own, unbounded validator.
        exact.pop("$schema", None)
        # A registry of our own: the library's default one fetches what it does not know.
        self._validator = dialect(exact, registry=Registry())
        return self._validator

    def __call__(self, text: str) -> str | None:
        """What is wrong with this JSON text, half a sentence that quotes nothing of it; None if nothing is."""
        from referencing.exceptions import Unresolvable

        validator = self.prepare()
        try:
            value = json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
        except (ValueError, ArithmeticError, RecursionError):
            return "is no JSON"
        left = _left.set([MAX_STEPS])
        try:
            error = next(iter(validator.iter_errors(value)), None)
        except _UncheckedError:
            return _TOO_MUCH
        except (RecursionError, ArithmeticError):
            return "is too deep or too large to be checked"
        except Unresolvable:
            return "meets a reference in the schema that leads nowhere"
        finally:
            _left.reset(left)
        if error is None:
            return None
        where = "/".join(str(step) for step in error.absolute_schema_path)[:100]
        return f"does not match the schema, at {where or 'its top'}"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


@cache
def _dialect(name: object) -> type[Validator]:
    """The bounded validator of the dialect that a schema names; the newest one's where it names none."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend, validator_for

    base: Any = validator_for({"$schema": name} if isinstance(name, str) else {}, default=Draft202012Validator)
    keywords = {keyword: _counted(keyword, judge) for keyword, judge in base.VALIDATORS.items()}
    for keyword in ("pattern", "patternProperties"):
        keywords[keyword] = _unchecked
    keywords["multipleOf"] = _counted("multipleOf", _multiple_of)
    types = base.TYPE_CHECKER.redefine("integer", _is_integer)
    make: Callable[..., type[Validator]] = extend
    return make(base, keywords, type_checker=types)


def _counted(keyword: str, judge: Keyword) -> Keyword:
    """The keyword's own judgement, paid for in steps before it is made."""
    squared = keyword == "uniqueItems"

    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        steps = 1 + _size(value) + _size(instance)
        if squared and isinstance(instance, list) and any(isinstance(each, dict | list) for each in instance):
            steps += len(instance) ** 2
        left = _left.get()
        left[0] -= steps
        if left[0] < 0:
            raise _UncheckedError
        yield from judge(validator, value, instance, schema) or ()

    return counted


def _unchecked(_validator: Any, _value: Any, _instance: Any, _schema: Any) -> Iterator[Any]:
    raise _UncheckedError


def _size(value: object) -> int:
    return len(value) if isinstance(value, dict | list) else 0


def _is_integer(_checker: object, value: object) -> bool:
    """1.0 is one, as the newer drafts say."""
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def _multiple_of(validator: Any, divisor: int | Decimal, instance: Any, _schema: Any) -> Iterator[Any]:
    """As JSON means numbers: 19.99 is a multiple of 0.01."""
    from jsonschema import ValidationError

    if not validator.is_type(instance, "number"):
        return
    one, other = Decimal(instance), Decimal(divisor)
    digits = one.adjusted() - other.adjusted() + len(other.as_tuple().digits) + len(one.as_tuple().digits)
    if digits > _MAX_DIGITS:
        raise _UncheckedError
    if Context(prec=max(28, digits)).remainder(one, other):
        yield ValidationError("no multiple")
