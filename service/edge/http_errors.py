"""A ServiceError as an HTTP answer: EUrouter's form under /api/v1, OpenAI's codes under /v1."""

from __future__ import annotations

import math
from typing import Any

import orjson
from aiohttp import web

from service.domain.errors import ServiceError
from service.edge.calls import REQUEST_ID

EUROUTER_PREFIX = "/api/v1"


def body(error: ServiceError, request_id: str, path: str) -> dict[str, Any]:
    """The JSON body. `error.param` is the first wrong field's path, `error.details` are all of them."""
    spec = error.spec
    openai_code = error.code or spec.openai_code
    shown: dict[str, Any] = {
        "code": spec.code if path.startswith(EUROUTER_PREFIX) else openai_code,
        "message": error.message,
        "type": spec.openai_type,
        "param": error.violations[0].path or None if error.violations else error.param,
        "reason": error.reason.value,
    }
    if error.violations:
        shown["details"] = [{"field": v.path, "message": v.message} for v in error.violations]
    if error.endpoints:
        shown["endpoints"] = [{"endpoint": endpoint, "message": why} for endpoint, why in error.endpoints]
    return {"error": shown, "requestId": request_id}


def headers(error: ServiceError, request_id: str) -> dict[str, str]:
    """The headers: request id, whether to send the call again, and when."""
    found = {
        REQUEST_ID: request_id,
        "x-should-retry": "true" if error.may_retry else "false",
        **dict(error.decision),
    }
    if error.retry_after is not None:
        found["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        found["retry-after-ms"] = str(max(1, math.ceil(error.retry_after * 1000)))
    if error.spec.http == 401:
        found["www-authenticate"] = "Bearer"
    return found


def answer(error: ServiceError, request_id: str, path: str) -> web.Response:
    """The whole answer."""
    return web.Response(
        status=error.spec.http,
        body=orjson.dumps(body(error, request_id, path)),
        content_type="application/json",
        headers=headers(error, request_id),
    )
