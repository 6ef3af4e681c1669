"""The span of one HTTP exchange with a provider, from its request to the status of its answer.

An address is shown without its query and without what stands before its host: keys may be in either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import lru_cache
from typing import Final

import httpx

from adapters.providers.exchange import Exchange
from adapters.providers.faults import Bounds
from service.domain.failure import DEADLINE, FailureKind, UpstreamError
from service.domain.tracing import Attributes, Kind, Span

_EARLY: Final = 0.01
"""Seconds by which timers fire before their time."""


def begin(above: Span, base_url: str, path: str) -> Span:
    """A span below that of the attempt.

    https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client-span.
    """
    return above.child("POST", Kind.CLIENT, _attributes(base_url, path))


@lru_cache(maxsize=4096)
def _attributes(base_url: str, path: str) -> Attributes:
    # Kept, as reading an address costs more than all else of a span.
    url = httpx.URL(f"{base_url.rstrip('/')}{path}")
    return {
        "http.request.method": "POST",
        "server.address": url.host,
        "server.port": url.port or (443 if url.scheme == "https" else 80),
        "url.full": str(url.copy_with(username=None, password=None, query=None, fragment=None)),
    }


async def answered(span: Span, exchange: Awaitable[Exchange], bounds: Bounds) -> Exchange:
    """The exchange within `bounds`; its span ends with its status, or with the failure instead of one."""
    try:
        made = await exchange
    except UpstreamError as error:
        if error.failure.kind is FailureKind.TIMEOUT and _callers_time_is_over(bounds):
            span.fail(DEADLINE, fault=False)
        else:
            span.fail(error.failure.kind.value)
        span.end()
        raise
    except asyncio.CancelledError:
        span.fail(DEADLINE if _callers_time_is_over(bounds) else "cancelled", fault=False)
        span.end()
        raise
    except BaseException as error:
        span.fail(type(error).__name__, fault=isinstance(error, Exception))
        span.end()
        raise
    span.set("http.response.status_code", made.status)
    if made.status >= 400:
        span.fail(str(made.status))
    span.end()
    return made


def _callers_time_is_over(bounds: Bounds) -> bool:
    return bounds.due_to == "deadline" and asyncio.get_running_loop().time() + _EARLY >= bounds.due
