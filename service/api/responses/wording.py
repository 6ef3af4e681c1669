"""Errors of dialects, which name fields as the Chat API does, in the words of a Responses request."""

from __future__ import annotations

import re
from typing import Final

from service.domain.errors import ServiceError, Violation

# Turns are not items: where in the input a turn came from can't be told from its place.
_RULES: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), path)
    for pattern, path in (
        (r"messages(\[.*|\..*)?", "input"),
        (r"response_format\.json_schema(\.|$)", r"text.format\1"),
        (r"response_format(\.|$)", r"text.format\1"),
        (r"max_completion_tokens$", "max_output_tokens"),
        (r"reasoning_effort$", "reasoning.effort"),
        (r"verbosity$", "text.verbosity"),
        (r"(tools\[\d+\]|tool_choice)\.(?:function|custom)(\.|$)", r"\1\2"),
    )
)


def as_asked(path: str) -> str:
    """The path of a Responses request that stands for this one of a chat request; itself where they are equal."""
    for pattern, replacement in _RULES:
        if pattern.match(path):
            return pattern.sub(replacement, path, count=1)
    return path


def reworded(error: ServiceError) -> ServiceError:
    """The same error about the fields that the caller wrote."""
    message = error.message
    for violation in error.violations:
        message = message.replace(violation.path, as_asked(violation.path)) if violation.path else message
    return ServiceError(
        error.reason,
        message,
        violations=tuple(Violation(as_asked(v.path), v.message) for v in error.violations),
        retry_after=error.retry_after,
        endpoints=error.endpoints,
        code=error.code,
        param=as_asked(error.param) if error.param else error.param,
        decision=error.decision,
    )
