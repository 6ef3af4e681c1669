"""Reasoning effort by family of models: each has fields of its own, which Converse hands on as they are.

Claude: adapters/providers/anthropic/thinking.py decides; here only its place on the wire differs
(docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html). Nova 2: `reasoningConfig`
(docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html). gpt-oss: `reasoning_effort`
(docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from adapters.providers.anthropic.messages import FORMAT
from adapters.providers.anthropic.thinking import write_thinking
from adapters.providers.efforts import level_of, unknown_effort
from service.domain.catalog import Endpoint
from service.domain.errors import invalid
from service.domain.fields import Field
from service.domain.generation import Generation

from .messages import REDACTED

DEFAULT_MAX_TOKENS: Final = 4096
"""What a budget is a share of, where neither the request nor the catalogue sets a limit."""

_CLAUDE: Final = "anthropic."
_ENCRYPTING: Final = ("openai", "xai")
_LEVELS: Final = ("low", "medium", "high")


def claude_of(endpoint: Endpoint) -> str | None:
    """The model's name as Anthropic has it (claude-haiku-4-5-...), None when it is none of theirs.

    An inference profile's ARN may name no model; our own name of it does.
    """
    _, found, name = endpoint.upstream_model.rpartition(_CLAUDE)
    if found:
        return name
    vendor, _, name = endpoint.model.partition("/")
    return name.replace(".", "-") if vendor == "anthropic" else None


def replayed_by(endpoint: Endpoint) -> frozenset[str]:
    """The formats of the reasoning that the model takes back in history.

    Nothing in an answer tells whose redacted reasoning it is unless Claude signed some before it: what is not
    known to be Claude's may be, and Claude refuses a call without the reasoning that led to it. Nova's reasoning
    holds nothing to take back, DeepSeek refuses it.
    """
    if claude_of(endpoint) is not None:
        return frozenset({FORMAT, REDACTED})
    vendor = endpoint.model.partition("/")[0]
    encrypts = any(f"{name}." in endpoint.upstream_model or vendor == name for name in _ENCRYPTING)
    return frozenset({REDACTED}) if encrypts else frozenset()


def write_reasoning(body: dict[str, Any], generation: Generation, endpoint: Endpoint) -> None:
    """Puts the effort into a body that has its `inferenceConfig`, if it has one.

    Raises:
        ServiceError: INVALID_REQUEST for an effort that the model does not take, or what thinking excludes.
    """
    claude = claude_of(endpoint)
    if claude is not None:
        _write_thinking(body, generation, endpoint, claude)
        return
    effort = generation.reasoning_effort or ""
    known = endpoint.efforts or _LEVELS
    model = endpoint.upstream_model
    if "amazon.nova-2" in model:
        body["additionalModelRequestFields"] = {"reasoningConfig": _nova(effort, endpoint)}
    elif "openai.gpt-oss" in model:
        if effort not in known:
            raise unknown_effort(known)
        body["additionalModelRequestFields"] = {"reasoning_effort": level_of(effort, endpoint)}
    else:
        raise invalid("reasoning.effort", "this endpoint's model takes no effort: leave it out")


def _nova(effort: str, endpoint: Endpoint) -> dict[str, Any]:
    if effort == "none" and (not endpoint.efforts or effort in endpoint.efforts):
        return {"type": "disabled"}
    known = endpoint.efforts or ("none", *_LEVELS)
    if effort not in known:
        raise unknown_effort(known)
    return {"type": "enabled", "maxReasoningEffort": level_of(effort, endpoint)}


def _write_thinking(body: dict[str, Any], generation: Generation, endpoint: Endpoint, claude: str) -> None:
    asked = generation.max_output_tokens if Field.MAX_OUTPUT_TOKENS in endpoint.expressible else None
    limit = asked or endpoint.max_output_tokens or DEFAULT_MAX_TOKENS
    written: dict[str, Any] = {"max_tokens": limit}
    write_thinking(written, generation, replace(endpoint, upstream_model=claude))
    thinking = written["thinking"]
    body["additionalModelRequestFields"] = {"thinking": thinking}
    if "budget_tokens" in thinking:
        # The budget must stay below the limit: the one that it was reckoned from.
        body.setdefault("inferenceConfig", {})["maxTokens"] = limit
    if "output_config" in written:
        body.setdefault("outputConfig", {})["effort"] = written["output_config"]["effort"]
