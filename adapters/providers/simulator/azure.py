"""Azure OpenAI's chat completions: OpenAI's, at Azure's paths and with what its content filters add.

As recorded: a first chunk about the prompt with empty names and no choices, filter results beside every choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson

from .openai_chat import OpenAIChat
from .script import Reason
from .wire import Asked, Encoded, Form, JsonObject, Whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .script import Script

_SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_PROMPT = [
    {"prompt_index": 0, "content_filter_results": {**_SAFE, "jailbreak": {"detected": False, "filtered": False}}}
]
_PROMPT_CHUNK = b"data: %b\n\n" % orjson.dumps(
    {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": _PROMPT}
)
_CHOICE = b'"choices":[{'
_FILTERED_CHOICE = b'"choices":[{"content_filter_results":%b,' % orjson.dumps(_SAFE)
_OPENAI = OpenAIChat()


@dataclass(frozen=True, slots=True)
class AzureChat:
    """`POST /openai/deployments/NAME/chat/completions`, whose model is in the path, and `/openai/v1/...`."""

    name: str = "azure.chat"
    paths: tuple[str, ...] = (
        "/openai/deployments/{deployment}/chat/completions",
        "/openai/v1/chat/completions",
    )
    stream_content_type: str = _OPENAI.stream_content_type
    request_id_header: str = "x-request-id"

    def read(self, path: str, variables: Mapping[str, str], body: JsonObject) -> Asked:
        deployment = variables.get("deployment")
        return _OPENAI.read(path, variables, {**body, "model": deployment} if deployment else body)

    def stamp(self, answer_id: str, now: int, *, stream: bool) -> bytes:
        return _OPENAI.stamp(answer_id, now, stream=stream)

    def stream(self, script: Script, form: Form) -> Encoded:
        plain = _OPENAI.stream(script, form)
        return replace(
            plain,
            head=_PROMPT_CHUNK + _with_results(plain.head),
            tokens=tuple(_with_results(token) for token in plain.tokens),
            tail=_with_results(plain.tail),
        )

    def whole(self, script: Script, form: Form) -> Whole:
        plain = _OPENAI.whole(script, form)
        results = b'{"prompt_filter_results":%b,' % orjson.dumps(_PROMPT)
        return replace(plain, body=results + _with_results(plain.body)[1:])

    def error(self, status: int, reason: Reason, message: str | None) -> bytes:
        if reason is Reason.NOT_FOUND:
            sentence = message or "The API deployment for this resource does not exist."
            return orjson.dumps(
                {"error": {"type": "invalid_request_error", "code": "DeploymentNotFound", "message": sentence}}
            )
        return _OPENAI.error(status, reason, message)

    def error_event(self, reason: Reason, message: str | None) -> bytes:
        return _OPENAI.error_event(reason, message)


def _with_results(data: bytes) -> bytes:
    return data.replace(_CHOICE, _FILTERED_CHOICE)
