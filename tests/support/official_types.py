"""Requests held against the types of the providers' own SDKs: what these don't know is refused, at any depth."""

from __future__ import annotations

from functools import cache
from typing import Any, Union

from mistralai.client.models import ChatCompletionRequest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from pydantic import ConfigDict, TypeAdapter

ChatParams = Union[CompletionCreateParamsStreaming, CompletionCreateParamsNonStreaming]  # noqa: UP007 - a value


@cache
def _chat_params() -> TypeAdapter[Any]:
    # The parameters' nested types have no settings of their own: they inherit these.
    return TypeAdapter(ChatParams, config=ConfigDict(extra="forbid"))


def check_openai_chat(body: dict[str, Any]) -> None:
    """Raises pydantic's ValidationError for what the SDK `openai` could not send."""
    _exhaust(_chat_params().validate_python(body))


def check_mistral(body: dict[str, Any]) -> None:
    """AssertionError or pydantic's ValidationError for what the SDK `mistralai` could not send.

    Its types let unknown fields pass and forget them: what they give back must be what went in.
    """
    given_back = ChatCompletionRequest.model_validate(body).model_dump(by_alias=True, exclude_unset=True)
    assert given_back == body


def _exhaust(value: Any) -> None:
    """Iterables are validated as they are read."""
    if isinstance(value, dict):
        for inner in value.values():
            _exhaust(inner)
    elif hasattr(value, "__iter__") and not isinstance(value, str | bytes):
        for inner in value:
            _exhaust(inner)
