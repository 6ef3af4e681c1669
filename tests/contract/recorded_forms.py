"""What recorded clients asked of each provider, form by form, and which of it our golden requests ask as well."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from adapters.providers import anthropic, azure, bedrock, mistral, openai_chat, openai_responses
from adapters.providers.dialect import Dialect
from service.domain.errors import ServiceError
from service.domain.events import Event
from tests.contract.sample import decode, endpoint_for
from tests.golden.requests import CASES
from tests.support.recorded import Exchange, read_exchanges
from tests.support.request_forms import forms

_OLD_LIMIT: Final[dict[str, Any]] = {"max_tokens_field": "max_tokens"}
_RUN_BY_ANTHROPIC: Final = "a tool that Anthropic runs, or of use only beside one: our APIs have no name for it"
_THEIR_PROMPT: Final = "a template that is stored at the provider: refused, the store is ours"
_GUARDRAIL: Final = "belongs to a guardrail of the account: rows let `guardrailConfig` through by `passthrough`"
_BEDROCK_UNSAID: Final = {
    "additionalModelRequestFields.inferenceConfig*": "Nova's top_k: our API has no top_k",
    "guardrailConfig*": _GUARDRAIL,
    "messages[user].content[guardContent]*": _GUARDRAIL,
    "messages[user].content[toolResult].toolResult.content[json]*": (
        "results are text to us: the model is given the same characters"
    ),
}


@dataclass(frozen=True)
class Recorded:
    """A kind of recorded exchanges and the dialect that speaks it.

    `models` are those whose golden requests are looked at, for what a model's family decides; none is the sample's
    own. `quirks` are rows that differ. `unsaid`: recorded forms that no golden request has, each with the reason;
    a `*` at the end is all that is below.
    """

    dialect: Dialect
    unsaid: Mapping[str, str]
    models: tuple[str, ...] = ()
    quirks: tuple[Mapping[str, Any], ...] = field(default=({},))


_CLAUDE_AND_NOVA: Final = ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "eu.amazon.nova-pro-v1:0")
KINDS: Final[Mapping[str, Recorded]] = {
    "openai.chat": Recorded(
        openai_chat.DIALECT,
        {
            "response_format{text}": "what an answer is when nobody says: left out",
            "stop": "one sequence as a string: sent as a list of one",
        },
        quirks=({}, _OLD_LIMIT),
    ),
    "compat.chat": Recorded(
        openai_chat.DIALECT,
        {"thinking{enabled}": "a compatible server's own field: rows let it through by `passthrough`"},
        quirks=({}, _OLD_LIMIT),
    ),
    "azure.chat": Recorded(azure.DIALECT, {}, quirks=({}, _OLD_LIMIT)),
    "mistral.chat": Recorded(
        mistral.DIALECT,
        {
            "safe_prompt": "Mistral's own field: rows let it through by `passthrough`",
            "tool_choice any": "the same as `required`, by Mistral's document",
        },
    ),
    "anthropic.messages": Recorded(
        anthropic.DIALECT,
        {
            "messages[str]": "no message at all: Anthropic refused it with 400",
            "messages[user].content[tool_result].is_error": (
                "neither of our APIs says of a result that it is an error"
            ),
            "output_format{json_schema}*": "what output_config.format was called in its preview",
            "thinking{enabled}.display": "models that take a budget show their thinking without being asked",
            "tools[name].defer_loading": _RUN_BY_ANTHROPIC,
            "tools[tool_search_tool_regex_20251119]*": _RUN_BY_ANTHROPIC,
            "tools[web_search_20250305]*": _RUN_BY_ANTHROPIC,
        },
        models=("claude-haiku-4-5", "claude-sonnet-5"),
    ),
    "bedrock.converse": Recorded(bedrock.DIALECT, _BEDROCK_UNSAID, models=_CLAUDE_AND_NOVA),
    "bedrock.converse_stream": Recorded(bedrock.DIALECT, _BEDROCK_UNSAID, models=_CLAUDE_AND_NOVA),
    "openai.responses": Recorded(
        openai_responses.DIALECT,
        {
            "input": "a text alone: sent as a list of one user message, which is the same",
            "input[assistant].id": "nothing is stored at the provider, so it knows no item by an id",
            "input[assistant].status": "goes with the id",
            "input[function_call].id": "nothing is stored at the provider, so it knows no item by an id",
            "input[function_call].status": "goes with the id",
            "input[reasoning].id": "nothing is stored at the provider, so it knows no item by an id",
            "previous_response_id": "a response that is stored at the provider: ours are, the turns are sent",
            "prompt*": _THEIR_PROMPT,
            "text.format{text}": "what an answer is when nobody says: left out",
        },
    ),
}


def events_of(exchange: Exchange) -> list[Event]:
    """What its dialect reads from a recorded answer or stream. Raises UpstreamError for an error in it."""
    dialect, body = KINDS[exchange.kind].dialect, exchange.raw or exchange.body.encode()
    return decode(dialect, [body]) if exchange.document is None else list(dialect.read(body))


def counted(shared: Path, kind: str) -> Counter[str]:
    """In how many of the recorded requests each form is."""
    requests = (exchange.request for exchange in read_exchanges(shared, kind))
    return Counter(form for request in requests if request is not None for form in forms(request))


def emitted(recorded: Recorded) -> set[str]:
    """The forms of the golden requests. A model that can't be asked a case refuses it, with a path."""
    found: set[str] = set()
    for case in CASES.values():
        for quirks in recorded.quirks if case.fits(recorded.dialect) else ():
            endpoint = endpoint_for(recorded.dialect, **quirks)
            for model in recorded.models or (endpoint.upstream_model,):
                try:
                    request = recorded.dialect.build(
                        case.generation, replace(endpoint, upstream_model=model), stream=case.stream
                    )
                except ServiceError:
                    continue
                found |= forms(json.loads(request.body))
    return found


def reason_for(recorded: Recorded, form: str) -> str | None:
    """The key in `unsaid` that covers a form."""
    return next((key for key in recorded.unsaid if _covers(key, form)), None)


def _covers(key: str, form: str) -> bool:
    return form.startswith(key[:-1]) if key.endswith("*") else form == key
