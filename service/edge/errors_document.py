"""Writes docs/errors.md from the error catalogue and errors.proto: `python -m service.edge.errors_document`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from service.domain.errors import ERRORS, Reason

PAGE: Final = Path("docs/errors.md")
PROTO: Final = Path("protos/eurouter/v1/errors.proto")

_START: Final = """\
# Errors

Every call that fails has one reason. gRPC shows it as a canonical code with `google.rpc` details: `ErrorInfo`
(domain `eurouter.dev`, `reason` as below, `metadata` with `request_id` and one `endpoint.<id>` per endpoint that
was tried or rejected), `BadRequest` with JSON paths of wrong fields, `RetryInfo` and `QuotaFailure`. HTTP shows

```json
{
  "error": {
    "code": "BAD_REQUEST",
    "message": "temperature: must be between 0 and 2; got 3.0",
    "type": "invalid_request_error",
    "param": "temperature",
    "reason": "INVALID_REQUEST",
    "details": [{"field": "temperature", "message": "must be between 0 and 2; got 3.0"}]
  },
  "requestId": "2df5fb217ac10460cc5c31726273d890"
}
```

with EUrouter's `code` under `/api/v1` and OpenAI's under `/v1` (where a provider that rejected the request has its
own code kept). A stream that fails after its first output carries the same object as its last `data:` line and
does not end in `[DONE]`.

**Send a call again only when told to**: `x-should-retry: true` (HTTP header, gRPC trailer), with `retry-after` or
`RetryInfo` where a time is known. Everything else says `false` and `grpc-retry-pushback-ms: -1`: the plan was run.

| reason | meaning | gRPC | HTTP | code under /api/v1 | code under /v1 | can help |
|---|---|---|---|---|---|---|
"""

_WHO: Final = {
    "caller": "the caller",
    "policy": "the operator's policy",
    "provider": "time",
    "us": "the operator",
}


def page(proto: str) -> str:
    """The whole page; `proto` is the text of errors.proto."""
    meanings = {name: " ".join(lines) for name, lines in _comments(proto)}
    rows = []
    for reason in Reason:
        spec = ERRORS[reason]
        meaning = re.sub(r" [A-Z_]+, \d{3}( \([^)]*\))?\.$", "", meanings[reason.value])
        rows.append(
            f"| `{reason.value}` | {meaning} | {spec.grpc} | {spec.http} | {spec.code} | "
            f"{spec.openai_code or 'null'} | {_WHO[spec.fault]} |"
        )
    return _START + "\n".join(rows) + "\n"


def _comments(proto: str) -> list[tuple[str, list[str]]]:
    found = []
    comment: list[str] = []
    for line in proto.splitlines():
        text = line.strip()
        if text.startswith("//"):
            comment.append(text.removeprefix("//").strip())
            continue
        value = re.match(r"ERROR_REASON_(\w+) = \d+;", text)
        if value:
            found.append((value[1], comment))
        comment = []
    return found


def main() -> int:
    """Writes the page; run it in the repository's root."""
    PAGE.write_text(page(PROTO.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
