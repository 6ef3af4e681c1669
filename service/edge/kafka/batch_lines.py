"""A line of OpenAI's Batch format: a request with its address and the caller's own id around it.

https://platform.openai.com/docs/guides/batch: `custom_id`, `method`, `url`, `body`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from service.domain.errors import Violation
from service.edge.kafka.framing import read_document
from service.edge.kafka.rejections import RejectedRecordError, Rejection, malformed
from service.wire import MAX_VIOLATIONS
from service.wire.errors import type_name

Api: TypeAlias = Literal["responses", "chat"]

BODY: Final = "body"
URLS: Final[Mapping[object, Api]] = {"/v1/responses": "responses", "/v1/chat/completions": "chat"}

_FIELDS: Final = ("custom_id", "method", "url", BODY)
# No request has fields of these names; one alone may be a caller's mistake in a request.
_MARKS: Final = frozenset({"custom_id", "url", BODY})
_MIN_MARKS: Final = 2
_SHOWN: Final = 64


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A line as it came: `body` is the request's JSON."""

    custom_id: str
    api: Api
    body: dict[str, object]


def is_line(document: Mapping[str, object]) -> bool:
    """Whether a JSON object is such a line, right or wrong, and no request by itself."""
    return len(_MARKS & document.keys()) >= _MIN_MARKS


def read_line(document: Mapping[str, object]) -> BatchLine:
    """The line that a JSON object is. Its `body` may be JSON text in a string.

    Raises:
        RejectedRecordError: INVALID naming the fields, UNKNOWN_API, UNDECODABLE for a body that is no JSON.
    """
    custom_id, url, body = (document.get(name) for name in ("custom_id", "url", BODY))
    found = []
    if type(custom_id) is not str or not custom_id:
        found.append(Violation("custom_id", f"expected a text that is not empty, got {_told(custom_id)}"))
    if document.get("method") not in (None, "POST"):
        found.append(Violation("method", "must be POST"))
    if type(url) is not str:
        found.append(Violation("url", f"expected one of {', '.join(map(str, URLS))}, got {type_name(url)}"))
    if type(body) not in (dict, str):
        found.append(Violation(BODY, f"expected a request as an object, got {type_name(body)}"))
    # A null is a field that was left out, as in every request.
    unknown = [name for name, value in document.items() if value is not None and name not in _FIELDS]
    found += [Violation(name[:_SHOWN], "unknown field; remove it") for name in unknown[:MAX_VIOLATIONS]]
    if found:
        raise malformed(*found)
    api = URLS.get(url)
    if api is None:
        message = f"url: must be one of {', '.join(map(str, URLS))}"
        raise RejectedRecordError(Rejection.UNKNOWN_API, message, violations=(Violation("url", message[5:]),))
    request = body if isinstance(body, dict) else read_document(str(body), BODY)
    return BatchLine(str(custom_id), api, request)


def _told(value: object) -> str:
    return "an empty one" if value == "" else type_name(value)
