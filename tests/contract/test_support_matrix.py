"""docs/support.md is true: each "no" keeps an endpoint out by the caller's own path, each "yes" reaches the wire.

Every cell is asked as a caller would ask: a request that sets the field, through the API's reader and the plan.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import pytest

from adapters.providers.registry import DIALECTS
from adapters.support_document import PAGE, Support, page, support
from service.domain.catalog import Endpoint, Quirks
from service.domain.errors import Reason, ServiceError
from service.domain.fields import BRIDGES, EMULATED, FETCHED, HINTS, Field
from service.domain.plan import no_endpoint_error, plan
from service.domain.preferences import Floor, Policy, Preferences
from service.domain.routing import Filter, Needs, Plan, WantedModel
from tests.contract.dialects import DIALECTS as SAMPLES
from tests.contract.sample import DialectSample, endpoint_for
from tests.golden.requests import everything
from tests.support import chats, response_requests
from tests.support.catalogs import model
from tests.support.parts import ROOT
from tests.support.upstreams import FixedHealth

F = Field
FUNCTION: Final = {"type": "function", "function": {"name": "f"}}
FLAT_FUNCTION: Final = {"type": "function", "name": "f"}
CUSTOM: Final = {"type": "custom", "custom": {"name": "g"}}
GRAMMAR: Final = {"type": "grammar", "grammar": {"definition": "x", "syntax": "lark"}}
SCHEMA: Final = {"name": "n", "schema": {"type": "object", "properties": {}, "additionalProperties": False}}
PNG: Final = "data:image/png;base64,iVBORw0KGgo="


def said(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts), **more}]}


def after(**message: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", **message}, {"role": "user", "content": "Go on."}]}


# The smallest request that sets the field, and the path at which its caller wrote it.
CHAT: Final[dict[Field, tuple[dict[str, Any], str]]] = {
    F.MAX_OUTPUT_TOKENS: ({"max_tokens": 5}, "max_tokens"),
    F.TEMPERATURE: ({"temperature": 0.5}, "temperature"),
    F.TOP_P: ({"top_p": 0.5}, "top_p"),
    F.FREQUENCY_PENALTY: ({"frequency_penalty": 0.5}, "frequency_penalty"),
    F.PRESENCE_PENALTY: ({"presence_penalty": 0.5}, "presence_penalty"),
    F.LOGIT_BIAS: ({"logit_bias": {"1": 5}}, "logit_bias"),
    F.LOGPROBS: ({"logprobs": True}, "logprobs"),
    F.TOP_LOGPROBS: ({"logprobs": True, "top_logprobs": 2}, "top_logprobs"),
    F.SEED: ({"seed": 7}, "seed"),
    F.STOP: ({"stop": "x"}, "stop"),
    F.N: ({"n": 2}, "n"),
    F.REASONING_EFFORT: ({"reasoning_effort": "low"}, "reasoning_effort"),
    F.REASONING_SUMMARY: ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
    F.VERBOSITY: ({"verbosity": "low"}, "verbosity"),
    F.JSON_OBJECT: ({"response_format": {"type": "json_object"}}, "response_format"),
    F.JSON_SCHEMA: (
        {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
        "response_format.json_schema",
    ),
    F.GRAMMAR: ({"response_format": {"type": "grammar", "grammar": "x"}}, "response_format.grammar"),
    F.PYTHON_FORMAT: ({"response_format": {"type": "python"}}, "response_format"),
    F.OPAQUE_FORMAT: ({"response_format": {"type": "yaml"}}, "response_format"),
    F.TOOLS: ({"tools": [FUNCTION]}, "tools"),
    F.CUSTOM_TOOLS: ({"tools": [CUSTOM]}, "tools[0]"),
    F.CUSTOM_GRAMMAR: (
        {"tools": [{"type": "custom", "custom": {"name": "g", "format": GRAMMAR}}]},
        "tools[0].custom.format.grammar",
    ),
    F.OPAQUE_TOOLS: ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tools[0]"),
    F.TOOL_CHOICE: ({"tools": [FUNCTION], "tool_choice": "required"}, "tool_choice"),
    F.TOOL_CHOICE_ALLOWED: (
        {
            "tools": [FUNCTION],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [FUNCTION]}},
        },
        "tool_choice.allowed_tools",
    ),
    F.PARALLEL_TOOL_CALLS: ({"tools": [FUNCTION], "parallel_tool_calls": False}, "parallel_tool_calls"),
    F.IMAGE_INPUT: (said({"type": "image_url", "image_url": {"url": PNG}}), "messages[0].content[0].image_url"),
    F.IMAGE_URL: (
        said({"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}),
        "messages[0].content[0].image_url.url",
    ),
    F.IMAGE_DETAIL: (
        said({"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}),
        "messages[0].content[0].image_url.detail",
    ),
    F.AUDIO_INPUT: (
        said({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
        "messages[0].content[0].input_audio",
    ),
    F.FILE_INPUT: (
        said({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}),
        "messages[0].content[0].file",
    ),
    F.OPAQUE_INPUT: (said({"type": "video_url", "video_url": {"url": "x"}}), "messages[0].content[0]"),
    F.STORE: ({"store": True}, "store"),
    F.MODALITIES: ({"modalities": ["audio"], "audio": {"voice": "a", "format": "wav"}}, "modalities"),
    F.AUDIO_OUTPUT: ({"modalities": ["audio"], "audio": {"voice": "a", "format": "wav"}}, "audio"),
    F.PREDICTION: ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
    F.WEB_SEARCH: ({"web_search_options": {}}, "web_search_options"),
    F.MODERATION: ({"moderation": {"model": "m"}}, "moderation"),
    F.USER: ({"user": "u"}, "user"),
    F.METADATA: ({"metadata": {"a": "b"}}, "metadata"),
    F.SERVICE_TIER: ({"service_tier": "flex"}, "service_tier"),
    F.PROMPT_CACHE_KEY: ({"prompt_cache_key": "k"}, "prompt_cache_key"),
    F.PROMPT_CACHE_RETENTION: ({"prompt_cache_retention": "24h"}, "prompt_cache_retention"),
    F.PROMPT_CACHE_OPTIONS: ({"prompt_cache_options": {"ttl": "30m"}}, "prompt_cache_options"),
    F.PROMPT_CACHE_BREAKPOINT: (
        said({"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}),
        "messages[0].content[0].prompt_cache_breakpoint",
    ),
    F.SAFETY_IDENTIFIER: ({"safety_identifier": "s"}, "safety_identifier"),
    F.AUTHOR_NAME: (said({"type": "text", "text": "a"}, name="ada"), "messages[0].name"),
    F.OBFUSCATION: ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
    F.ANNOTATION_HISTORY: (
        after(
            content="b",
            annotations=[
                {
                    "type": "url_citation",
                    "url_citation": {"start_index": 0, "end_index": 1, "url": "https://a.example", "title": "t"},
                }
            ],
        ),
        "messages[0].annotations",
    ),
}
RESPONSES: Final[dict[Field, tuple[dict[str, Any], str]]] = {
    F.REASONING_CONTEXT: ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
    F.LOCAL_TOOLS: ({"tools": [{"type": "local_shell"}]}, "tools[0]"),
    F.TOOL_DETAILS: ({"tools": [{**FLAT_FUNCTION, "defer_loading": True}]}, "tools[0].defer_loading"),
    F.FILE_URL: (
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://a.example/b.pdf"}]}]},
        "input[0].content[0].file_url",
    ),
    F.FILE_DETAIL: (
        {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "input_file",
                            "filename": "a.pdf",
                            "file_data": "data:application/pdf;base64,JVBERi0=",
                            "detail": "low",
                        }
                    ],
                }
            ]
        },
        "input[0].content[0].detail",
    ),
    F.TOOL_MEDIA: (
        {
            "input": [
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {
                    "type": "function_call_output",
                    "call_id": "c",
                    "output": [{"type": "input_image", "image_url": PNG}],
                },
            ]
        },
        "input[1].output",
    ),
    F.PHASE: (
        {
            "input": [
                {"role": "assistant", "content": "a", "phase": "commentary"},
                {"role": "user", "content": "b"},
            ]
        },
        "input[0].phase",
    ),
    F.INCLUDE: ({"include": ["web_search_call.results"]}, "include[0]"),
    F.MAX_TOOL_CALLS: ({"max_tool_calls": 3, "tools": [{"type": "web_search"}]}, "max_tool_calls"),
    F.CONTEXT_MANAGEMENT: (
        {"context_management": [{"type": "compaction", "compact_threshold": 1000}]},
        "context_management",
    ),
}
# Refused at every door: such audio is kept by a provider, under this service's account.
AT_NO_DOOR: Final = {F.AUDIO_HISTORY: "messages[0].audio"}
PATHS: Final = {field: path for field, (_, path) in (CHAT | RESPONSES).items()} | AT_NO_DOOR
CELLS: Final = [(name, field) for name in DIALECTS for field in Field]


@lru_cache
def asked(field: Field) -> Needs:
    """What a request that sets `field` asks of an endpoint."""
    if field in AT_NO_DOOR:
        return Needs({field: AT_NO_DOOR[field]})
    if field in CHAT:
        fields, _ = CHAT[field]
        return chats.read(chats.request(**fields), streaming="stream_options" in fields).needs
    fields, _ = RESPONSES[field]
    return response_requests.whole(**fields)[1]


def planned(
    dialect: str, field: Field, *, strict: bool = False, needs: Needs | None = None, **quirks: Any
) -> Plan:
    row = endpoint_for(DIALECTS[dialect], DIALECTS[dialect].expressible_with(Quirks(**quirks)), **quirks)
    wanted = (WantedModel(model("vendor/model", row), ""),)
    policy = Policy(Preferences(require_parameters=strict or None), Floor())
    asks = needs or asked(field)
    return plan(asks, policy, wanted, FixedHealth(), 0.0, max_attempts=9, owner="local")


def places(*paths: str) -> set[str]:
    """Paths without the positions in lists, as hints are named."""
    return {re.sub(r"\[\d+\]", "", path) for path in paths}


def kept_out(result: Plan, field: Field, by: Filter = Filter.FIELD) -> ServiceError:
    """The error of a plan that has nothing but one rejection, which names the field where its caller wrote it."""
    (rejection,) = result.rejected
    assert not result.attempts
    assert rejection.filter is by
    assert places(PATHS[field]) <= places(*rejection.paths), rejection
    return no_endpoint_error(result, asked(field), 0.0)


def test_every_field_of_the_matrix_is_asked_for() -> None:
    assert set(PATHS) == set(Field)
    for field, path in PATHS.items():
        assert asked(field).fields[field] == path, field


def cells(*kinds: Support) -> list[Any]:
    return [
        pytest.param(name, field, id=f"{name}-{field.value}")
        for name, field in CELLS
        if support(DIALECTS[name], field) in kinds
    ]


@pytest.mark.parametrize(("dialect", "field"), cells(Support.NO))
def test_no_means_that_the_endpoint_is_kept_out_by_the_callers_own_path(dialect: str, field: Field) -> None:
    error = kept_out(planned(dialect, field), field)
    assert error.reason is Reason.UNSUPPORTED_FIELD
    assert PATHS[field] in {violation.path for violation in error.violations}
    assert field not in HINTS


@pytest.mark.parametrize(("dialect", "field"), cells(Support.YES))
def test_yes_means_that_the_plan_leaves_nothing_of_it_out(dialect: str, field: Field) -> None:
    asks = asked(field)
    # What has no name of ours goes to its own dialect only: it is asked for in that one's form.
    asks = replace(asks, dialects={dialect: PATHS[field]} if asks.dialects else {})
    (attempt,) = planned(dialect, field, needs=asks).attempts
    assert not places(PATHS[field]) & places(*attempt.ignored)


def written(sample: DialectSample) -> set[Field]:
    """The fields that the bodies of all sample requests together hold."""
    seen: set[Field] = set()
    for generation in everything(sample.name):
        try:
            body = sample.dialect.build(generation, endpoint_for(sample.dialect), stream=True).body
        except ServiceError:
            continue
        seen |= sample.carried(json.loads(body))
    return seen


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_yes_means_that_the_field_reaches_the_wire_and_nothing_else_does(sample: DialectSample) -> None:
    told = {field for field in Field if support(sample.dialect, field) is Support.YES}
    assert written(sample) == told


@pytest.mark.parametrize(("dialect", "field"), cells(Support.LEFT_OUT))
def test_left_out_means_named_in_the_answer_and_no_for_strict_callers(dialect: str, field: Field) -> None:
    (attempt,) = planned(dialect, field).attempts
    assert places(PATHS[field]) <= places(*attempt.ignored)
    kept_out(planned(dialect, field, strict=True), field, Filter.REQUIRE_PARAMETERS)
    assert field in HINTS


@pytest.mark.parametrize(("dialect", "field"), cells(Support.BY_ROW))
def test_by_its_row_means_yes_with_the_quirk_and_a_hint_without(dialect: str, field: Field) -> None:
    (plain,) = planned(dialect, field).attempts
    (special,) = planned(dialect, field, reasoning_style="reasoning_object").attempts
    assert (plain.ignored, special.ignored) == ((PATHS[field],), ())


@pytest.mark.parametrize(("dialect", "field"), cells(Support.AS_FUNCTION))
def test_as_a_function_means_eligible_but_for_strict_callers(dialect: str, field: Field) -> None:
    (attempt,) = planned(dialect, field).attempts
    assert attempt.ignored == ()
    kept_out(planned(dialect, field, strict=True), field, Filter.REQUIRE_PARAMETERS)


@pytest.mark.parametrize(("dialect", "field"), cells(Support.FETCHED, Support.EMULATED))
def test_a_bridge_that_must_be_allowed_is_a_no_until_it_is(dialect: str, field: Field) -> None:
    error = kept_out(planned(dialect, field), field)
    assert PATHS[field] in {violation.path for violation in error.violations}
    allowed = replace(asked(field), bridges=asked(field).bridges | {field})
    (attempt,) = planned(dialect, field, needs=allowed).attempts
    assert attempt.emulated is (field in EMULATED)
    assert field in FETCHED | EMULATED
    assert field in BRIDGES


@pytest.mark.parametrize(("dialect", "field"), cells(Support.UNLESS_BOUND))
def test_tools_that_a_provider_runs_are_left_out_and_named_unless_the_request_insists(
    dialect: str, field: Field
) -> None:
    kept_out(planned(dialect, field), field)
    free = chats.read(chats.request(tools=[FUNCTION, {"type": "web_search"}])).needs
    (attempt,) = planned(dialect, field, needs=free).attempts
    assert attempt.ignored == ("tools[1]",)


def test_a_row_that_refuses_schemas_may_emulate_them_when_it_is_allowed() -> None:
    asks = asked(F.JSON_SCHEMA)
    row: Endpoint = endpoint_for(DIALECTS["openai_chat"], DIALECTS["openai_chat"].expressible - {F.JSON_SCHEMA})
    wanted = (WantedModel(model("vendor/model", row), ""),)

    def tried(needs: Needs) -> Plan:
        policy = Policy(Preferences(), Floor())
        return plan(needs, policy, wanted, FixedHealth(), 0.0, max_attempts=9, owner="local")

    kept_out(tried(asks), F.JSON_SCHEMA)
    (attempt,) = tried(replace(asks, bridges=asks.bridges | {F.JSON_SCHEMA})).attempts
    assert attempt.emulated


def test_the_page_on_support_is_current(update_golden: bool) -> None:
    stored = ROOT / PAGE
    if update_golden:
        stored.write_text(page(), encoding="utf-8")
    assert stored.read_text(encoding="utf-8") == page(), "run `python -m adapters.support_document`"


def test_the_page_tells_every_dialect_and_every_field() -> None:
    lines = page().splitlines()
    for field in Field:
        (row,) = [line for line in lines if line.startswith(f"| `{field.value}`")]
        told = [cell.strip() for cell in row.strip("|").split("|")[1:]]
        assert told == [support(dialect, field).value for dialect in DIALECTS.values()]
