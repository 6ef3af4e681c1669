"""Holds answers to a caller's own JSON Schema, on a thread beside the event loop and within bounds.

What a schema means, and that each check ends after so many steps, stands in service/domain/schema_keywords.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, NoReturn, ParamSpec, TypeVar

from service.domain.emulation import PATH
from service.domain.errors import invalid
from service.domain.failure import Failure, FailureKind, UpstreamError
from service.domain.json_schema import MalformedSchemaError, Schema, UncheckedSchemaError, exact, read
from service.domain.schema_check import UncheckedValueError
from service.domain.schema_keywords import complaint

_SCHEMA: Final = f"{PATH}.schema"
_SHOWN: Final = 100
_TOO_MUCH: Final = "takes more work to check against the schema than is done for one answer"
_LATE: Final = "the call's deadline passed before the answer was held to its schema"

# Of their own: those that everybody shares look up names for the HTTP client, too.
_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="schema")

P = ParamSpec("P")
T = TypeVar("T")


async def beside(left: Callable[[], float], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` gives, done on a thread; at most two such works at a time. Raises as it does.

    Raises:
        UpstreamError: TIMEOUT when the seconds that are `left` to the call are over before it is done.
    """
    try:
        async with asyncio.timeout(left()):
            return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(work, *args, **kwargs))
    except TimeoutError:
        raise UpstreamError(Failure(FailureKind.TIMEOUT, _LATE)) from None


class SchemaCheck:
    """One schema and what is held to it. `prepare` first; both are work for a thread, not for the event loop."""

    __slots__ = ("_schema", "_text")

    def __init__(self, schema: str) -> None:
        self._text = schema
        self._schema: Schema | None = None

    def prepare(self) -> Schema:
        """Makes the check ready, and gives what it works with; nothing to do on a second call.

        Raises:
            ServiceError: INVALID_REQUEST, by the path in the schema, for a text that no answer can be held to.
        """
        if self._schema is None:
            try:
                self._schema = read(self._text)
            except MalformedSchemaError as error:
                raise invalid(".".join((_SCHEMA, ".".join(error.path)[:_SHOWN])).rstrip("."), error.why) from None
            except UncheckedSchemaError as error:
                raise invalid(_SCHEMA, f"can't be held to an answer: {error.why}") from None
        return self._schema

    def __call__(self, text: str) -> str | None:
        """What is wrong with this JSON text, half a sentence that quotes nothing of it; None if nothing is."""
        schema = self.prepare()
        try:
            value = json.loads(text, parse_float=exact, parse_constant=_no_constant)
        except (ValueError, ArithmeticError, RecursionError):
            return "is no JSON"
        try:
            failed = complaint(schema, value)
        except UncheckedValueError:
            return _TOO_MUCH
        except (RecursionError, ArithmeticError):
            return "is too deep or too large to be checked"
        except Exception as error:  # noqa: BLE001 - it is paid for already, and another endpoint's may do better.
            return f"can't be checked against the schema ({type(error).__name__})"
        return (
            None if failed is None else f"does not match the schema, at {'/'.join(failed)[:_SHOWN] or 'its top'}"
        )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
