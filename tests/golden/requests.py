"""Neutral requests that every dialect writes its own way; the expected bodies stand in files beside this one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adapters.providers.dialect import Dialect
from service.domain.fields import HINTS, Field
from service.domain.generation import (
    AllowedChoice,
    Audio,
    AudioReference,
    CustomTool,
    File,
    FunctionTool,
    Generation,
    Grammar,
    GrammarFormat,
    Image,
    Json,
    JsonSchema,
    LocalTool,
    NamedChoice,
    Opaque,
    OutputFormat,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)

PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6"
    "kgAAAABJRU5ErkJggg=="
)


def said(role: Role, *parts: str, name: str | None = None) -> Turn:
    """A turn of plain text."""
    return Turn(role, tuple(Text(part) for part in parts), name)


def called(*calls: ToolCall, text: str | None = None) -> Turn:
    """An assistant's turn that calls tools."""
    return Turn(Role.ASSISTANT, (() if text is None else (Text(text),)) + calls)


def result(call_id: str, text: str, name: str | None = None) -> Turn:
    """A tool's answer."""
    return Turn(Role.TOOL, (ToolResult(call_id, (Text(text),), name),))


HELLO = said(Role.USER, "Hello")
# Key order, a number above 2^53 and 1.0 must survive.
WEATHER = FunctionTool(
    "get_weather",
    "Weather of a city",
    '{"type":"object","properties":{"zone":{"type":"string"},"city":{"type":"string"},'
    '"days":{"type":"integer","maximum":9007199254740993,"default":1.0}},"required":["city"]}',
    True,
)
TIME = FunctionTool("get_time")
SCHEMA = JsonSchema(
    "person",
    '{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},'
    '"required":["name","age"],"additionalProperties":false}',
    "A person",
    True,
)


@dataclass(frozen=True)
class RequestCase:
    """A request, the binding fields that it needs, and whether it asks for a stream."""

    generation: Generation
    needs: frozenset[Field] = frozenset()
    stream: bool = False

    def fits(self, dialect: Dialect) -> bool:
        """Whether `dialect` can say all that binds."""
        return self.needs - HINTS <= dialect.expressible


def case(generation: Generation, *needs: Field, stream: bool = False) -> RequestCase:
    """A RequestCase."""
    return RequestCase(generation, frozenset(needs), stream)


F = Field
CASES: dict[str, RequestCase] = {
    "text": case(Generation((HELLO,))),
    "text_stream": case(Generation((HELLO,), max_output_tokens=64), F.MAX_OUTPUT_TOKENS, stream=True),
    "system_prompts_in_odd_places": case(
        Generation(
            (
                said(Role.SYSTEM, "Be brief."),
                said(Role.USER, "Hi"),
                said(Role.DEVELOPER, "Answer in French.", "Always."),
                said(Role.ASSISTANT, "Salut"),
                said(Role.USER, "And ", "you?"),
                said(Role.SYSTEM, "Be polite."),
            )
        )
    ),
    "sampling": case(
        Generation((HELLO,), temperature=0.0, top_p=0.9, max_output_tokens=100, stop=("\n\n", "END")),
        F.TEMPERATURE,
        F.TOP_P,
        F.MAX_OUTPUT_TOKENS,
        F.STOP,
    ),
    "temperature_and_top_p": case(Generation((HELLO,), temperature=0.7, top_p=0.9), F.TEMPERATURE, F.TOP_P),
    "sampling_of_openai": case(
        Generation(
            (HELLO,),
            frequency_penalty=-0.5,
            presence_penalty=1.5,
            logit_bias={"50256": -100.0, "11": 5.0},
            logprobs=True,
            top_logprobs=3,
            seed=9007199254740993,
            n=2,
            verbosity="low",
        ),
        F.FREQUENCY_PENALTY,
        F.PRESENCE_PENALTY,
        F.LOGIT_BIAS,
        F.LOGPROBS,
        F.TOP_LOGPROBS,
        F.SEED,
        F.N,
        F.VERBOSITY,
    ),
    "sampling_of_many": case(
        Generation((HELLO,), frequency_penalty=-0.5, presence_penalty=1.5, seed=7, n=2),
        F.FREQUENCY_PENALTY,
        F.PRESENCE_PENALTY,
        F.SEED,
        F.N,
    ),
    "predicted_output": case(
        Generation(
            (said(Role.USER, "Fix the typo: Helo world"),),
            options={
                F.PREDICTION: {
                    "type": "content",
                    "content": [{"type": "text", "text": "Hello "}, {"type": "text", "text": "world"}],
                }
            },
        ),
        F.PREDICTION,
    ),
    "an_answer_that_is_begun": case(
        Generation((said(Role.USER, "A haiku as JSON."), said(Role.ASSISTANT, '{"lines": ["'))),
    ),
    "a_developers_word_and_names": case(
        Generation(
            (
                said(Role.DEVELOPER, "Be brief."),
                said(Role.USER, "Weather in Oslo?", name="ada"),
                Turn(Role.ASSISTANT, (ToolCall("call_1", "get_weather", '{"city":"Oslo"}'),), "helper"),
                result("call_1", "12 °C", "get_weather"),
            ),
            (WEATHER,),
        ),
        F.TOOLS,
    ),
    "stop_sequences": case(Generation((HELLO,), stop=("STOP",)), F.STOP),
    "images": case(
        Generation(
            (
                Turn(
                    Role.USER,
                    (
                        Text("What is on these?"),
                        Image("https://example.com/cat.jpg", "low"),
                        Image(PNG, cache_breakpoint=True),
                    ),
                ),
            )
        ),
        F.IMAGE_INPUT,
        F.IMAGE_URL,
    ),
    "inline_image": case(
        Generation((Turn(Role.USER, (Text("What is on this?"), Image(PNG, "high"))),)),
        F.IMAGE_INPUT,
    ),
    "inline_file": case(
        Generation((Turn(Role.USER, (File("data:application/pdf;base64,JVBERi0=", "report.pdf"), Text("?"))),)),
        F.FILE_INPUT,
    ),
    "file_by_address": case(
        Generation((Turn(Role.USER, (File(url="https://example.com/report.pdf"), Text("Sum it up."))),)),
        F.FILE_INPUT,
        F.FILE_URL,
    ),
    "audio_and_file": case(
        Generation(
            (
                Turn(
                    Role.USER,
                    (
                        Audio("UklGRg==", "wav"),
                        File("data:application/pdf;base64,JVBERi0=", "report.pdf"),
                        Text("?"),
                    ),
                ),
            )
        ),
        F.AUDIO_INPUT,
        F.FILE_INPUT,
    ),
    "tools": case(
        Generation(
            (said(Role.USER, "Weather in Köln?"),), (WEATHER, TIME), tool_choice="auto", parallel_tool_calls=False
        ),
        F.TOOLS,
        F.TOOL_CHOICE,
        F.PARALLEL_TOOL_CALLS,
    ),
    "tool_choice_required": case(Generation((HELLO,), (WEATHER,), tool_choice="required"), F.TOOLS, F.TOOL_CHOICE),
    "tool_choice_none": case(Generation((HELLO,), (WEATHER,), tool_choice="none"), F.TOOLS, F.TOOL_CHOICE),
    "tool_choice_named": case(
        Generation((HELLO,), (WEATHER, TIME), tool_choice=NamedChoice("get_time")), F.TOOLS, F.TOOL_CHOICE
    ),
    "tool_choice_allowed": case(
        Generation(
            (HELLO,),
            (WEATHER, TIME),
            tool_choice=AllowedChoice("required", '[{"type":"function","function":{"name":"get_time"}}]'),
        ),
        F.TOOLS,
        F.TOOL_CHOICE,
        F.TOOL_CHOICE_ALLOWED,
    ),
    "tool_loop": case(
        Generation(
            (
                said(Role.SYSTEM, "Use tools."),
                said(Role.USER, "Weather in Oslo and Rome, and the time?"),
                called(
                    ToolCall("call_1", "get_weather", '{"city":"Oslo"}'),
                    ToolCall("call_2", "get_weather", '{"city": "Rome"}'),
                    ToolCall("call_3", "get_time", ""),
                ),
                result("call_1", "12 °C"),
                result("call_2", "25 °C"),
                result("call_3", ""),
                said(Role.ASSISTANT, "Oslo 12 °C, Rome 25 °C."),
                said(Role.USER, "And Bonn?"),
                called(ToolCall("call_4", "get_weather", '{"city":"Bonn"}'), text="One moment."),
                Turn(Role.TOOL, (ToolResult("call_4", (Text("17"), Text(" °C"))),)),
            ),
            (WEATHER, TIME),
        ),
        F.TOOLS,
    ),
    "custom_tools": case(
        Generation(
            (
                said(Role.USER, "4 + 4?"),
                called(ToolCall("call_1", "math", "4 + 4", "custom")),
                result("call_1", "8"),
            ),
            (
                CustomTool("math", "Computes", Grammar('start: NUMBER "+" NUMBER', "lark")),
                CustomTool("note", format="text"),
                CustomTool("free"),
            ),
            tool_choice=NamedChoice("math", "custom"),
        ),
        F.CUSTOM_TOOLS,
        F.CUSTOM_GRAMMAR,
        F.TOOL_CHOICE,
    ),
    "functions_of_old": case(
        Generation(
            (
                said(Role.USER, "Weather in Oslo?"),
                called(ToolCall("call_1", "get_weather", '{"city":"Oslo"}')),
                result("call_1", "12 °C", "get_weather"),
            ),
            (FunctionTool("get_weather", "Weather", '{"type":"object","properties":{}}'),),
            tool_choice=NamedChoice("get_weather"),
            functions_style=True,
        ),
        F.TOOLS,
        F.TOOL_CHOICE,
    ),
    "reasoning": case(
        Generation(
            (
                said(Role.USER, "3 + 4?"),
                Turn(Role.ASSISTANT, (Reasoning("Three and four."), Text("Seven."))),
                said(Role.USER, "Sure?"),
            ),
            reasoning_effort="high",
            max_output_tokens=4000,
        ),
        F.REASONING_EFFORT,
        F.MAX_OUTPUT_TOKENS,
    ),
    "reasoning_in_a_tool_loop": case(
        Generation(
            (
                said(Role.USER, "Weather in Oslo, and what to wear?"),
                Turn(
                    Role.ASSISTANT,
                    (
                        Reasoning("I need the weather.", signature="c2lnMQ==", format="anthropic-claude-v1"),
                        Reasoning(encrypted="cmVkYWN0ZWQ=", format="anthropic-claude-v1"),
                        Text("Let me look."),
                        Reasoning("By city.", signature="c2lnMg==", format="anthropic-claude-v1"),
                        Reasoning(encrypted="dGhvdWdodA==", format="google-gemini-v1", id="call_1"),
                        ToolCall("call_1", "get_weather", '{"city":"Oslo"}'),
                    ),
                ),
                result("call_1", "12 °C"),
            ),
            (WEATHER,),
            reasoning_effort="high",
            max_output_tokens=6000,
        ),
        F.TOOLS,
        F.REASONING_EFFORT,
        F.MAX_OUTPUT_TOKENS,
    ),
    "cached_prefixes": case(
        Generation(
            (
                Turn(Role.SYSTEM, (Text("Long rules."), Text("More rules.", cache_breakpoint=True))),
                Turn(Role.USER, (Text("A long document.", cache_breakpoint=True), Text("Sum it up."))),
            ),
            options={F.PROMPT_CACHE_OPTIONS: {"mode": "implicit", "ttl": "30m"}},
        )
    ),
    "refusal_in_history": case(
        Generation(
            (
                said(Role.USER, "Do harm."),
                Turn(Role.ASSISTANT, (Refusal("I can't."),)),
                said(Role.USER, "Please."),
                Turn(Role.ASSISTANT, (Refusal("Still no.", in_content=True),)),
                said(Role.USER, "Then tell a joke."),
            )
        )
    ),
    "json_object": case(Generation((said(Role.USER, "JSON, please."),), output="json_object"), F.JSON_OBJECT),
    "json_schema": case(Generation((said(Role.USER, "Who?"),), output=SCHEMA), F.JSON_SCHEMA),
    "hints": case(
        Generation(
            (
                said(Role.USER, "Hello", name="ada"),
                Turn(
                    Role.ASSISTANT,
                    (Text("Hi"),),
                    annotations='[{"type":"url_citation","url_citation":{"url":"https://example.com","title":"E",'
                    '"start_index":0,"end_index":2}}]',
                ),
                Turn(Role.USER, (Text("Read this.", cache_breakpoint=True), Text("Go."))),
            ),
            options={
                F.USER: "user-1",
                F.METADATA: {"team": "blue"},
                F.SERVICE_TIER: "flex",
                F.PROMPT_CACHE_KEY: "key-1",
                F.PROMPT_CACHE_RETENTION: "24h",
                F.PROMPT_CACHE_OPTIONS: {"mode": "explicit", "ttl": "30m"},
                F.SAFETY_IDENTIFIER: "person-1",
                F.OBFUSCATION: False,
            },
        ),
        stream=True,
    ),
    "options_of_openai": case(
        Generation(
            (HELLO, Turn(Role.ASSISTANT, (AudioReference("audio_1"),)), said(Role.USER, "Again.")),
            options={
                F.STORE: False,
                F.MODALITIES: ["text", "audio"],
                F.AUDIO_OUTPUT: {"voice": "alloy", "format": "wav"},
                F.PREDICTION: {"type": "content", "content": "Hello"},
                F.WEB_SEARCH: {"search_context_size": "low"},
                F.MODERATION: {"model": "omni-moderation-latest"},
            },
        ),
        F.AUDIO_HISTORY,
        F.STORE,
        F.MODALITIES,
        F.AUDIO_OUTPUT,
        F.PREDICTION,
        F.WEB_SEARCH,
        F.MODERATION,
    ),
}

CASES |= {
    "history_with_tools_but_none_now": case(
        Generation(
            (
                said(Role.USER, "Weather in Oslo?"),
                called(ToolCall("call_1", "get_weather", '{"city":"Oslo"}')),
                result("call_1", "12 °C"),
                said(Role.ASSISTANT, "It is 12 °C."),
                said(Role.USER, "Say it in French."),
            )
        ),
        F.TOOLS,
    ),
    "a_tool_result_with_an_image": case(
        Generation(
            (
                said(Role.USER, "Look out of the window."),
                called(ToolCall("call_1", "look", "{}")),
                Turn(Role.TOOL, (ToolResult("call_1", (Text("The garden:"), Image(PNG))),)),
            ),
            (FunctionTool("look"),),
        ),
        F.TOOLS,
        F.TOOL_MEDIA,
        F.IMAGE_INPUT,
    ),
    "two_files_of_one_name": case(
        Generation(
            (
                Turn(
                    Role.USER,
                    (
                        Text("What has changed?"),
                        File("data:application/pdf;base64,JVBERi0=", "Report_2026 (v1).pdf"),
                        File("data:application/pdf;base64,JVBERi0x", "Report_2026 (v1).pdf"),
                    ),
                ),
            )
        ),
        F.FILE_INPUT,
    ),
}

_OURS = "openai_responses"
_COMMAND = '{"type":"exec","command":["ls","-la"],"env":{}}'
_COMMANDS = '{"commands":["ls -la"],"timeout_ms":1000}'
_PATCH = '{"type":"create_file","path":"a.txt","diff":"+a"}'
_OUTPUT = '[{"stdout":"a.txt\\n","stderr":"","outcome":{"type":"exit","exit_code":0}}]'

# What only the Responses API has words for; tests/golden/openai_responses shows how.
CASES |= {
    "instructions_are_the_first_system_turn": case(
        Generation(
            (
                Turn(Role.SYSTEM, (Text("Be brief."),), items=("instructions",)),
                Turn(Role.DEVELOPER, (Text("Answer in French."),), items=("input[0]",)),
                Turn(Role.USER, (Text("Hi"),), items=("input[1]",)),
            ),
            (FunctionTool("get_time"),),
            options={F.REASONING_CONTEXT: "all_turns"},
        ),
        F.TOOLS,
        F.REASONING_CONTEXT,
    ),
    "an_assistant_turn_keeps_the_order_of_its_items": case(
        Generation(
            (
                said(Role.USER, "Weather and news?"),
                Turn(
                    Role.ASSISTANT,
                    (
                        Reasoning(summary="Two things.", id="rs_1"),
                        Reasoning(encrypted="gAAAAA==", format="openai-responses-v1", id="rs_1"),
                        Opaque(
                            _OURS,
                            "web_search_call",
                            '{"id":"ws_1","type":"web_search_call","status":"completed",'
                            '"action":{"type":"search","query":"news"}}',
                        ),
                        Text("First the weather."),
                        ToolCall("call_1", "get_weather", '{"city":"Oslo"}', details='{"namespace":"sky"}'),
                        ToolCall("call_2", "get_weather", '{"city":"Rome"}'),
                        Opaque(
                            _OURS, "compaction", '{"id":"cmp_1","type":"compaction","encrypted_content":"gB=="}'
                        ),
                    ),
                    phase="commentary",
                    items=("input[1]",),
                ),
                Turn(Role.TOOL, (ToolResult("call_1", (Text("12 °C"),)),)),
                Turn(Role.TOOL, (ToolResult("call_2", (Text("25 °C"), Image(PNG))),)),
            ),
            (WEATHER, Opaque(_OURS, "web_search", '{"type":"web_search","search_context_size":"low"}')),
            tool_choice=Opaque(_OURS, "web_search_preview", '{"type":"web_search_preview"}'),
            reasoning_effort="low",
            reasoning_summary="auto",
            options={
                F.INCLUDE: ["web_search_call.action.sources"],
                F.MAX_TOOL_CALLS: 3,
                F.REASONING_CONTEXT: {"context": "all_turns"},
            },
        ),
        F.TOOLS,
        F.TOOL_CHOICE,
        F.OPAQUE_TOOLS,
        F.IMAGE_INPUT,
        F.TOOL_MEDIA,
        F.REASONING_EFFORT,
        F.REASONING_SUMMARY,
        F.REASONING_CONTEXT,
    ),
    "a_web_search_near_somewhere": case(
        Generation(
            (said(Role.USER, "News?"),),
            (
                Opaque(
                    _OURS,
                    "web_search_preview",
                    '{"type":"web_search_preview","search_context_size":"low",'
                    '"user_location":{"type":"approximate","city":"Oslo"}}',
                ),
            ),
            options={F.REASONING_CONTEXT: {"context": "all_turns"}},
        ),
        F.OPAQUE_TOOLS,
        F.REASONING_CONTEXT,
    ),
    "reasoning_of_other_providers_is_left_out": case(
        Generation(
            (
                said(Role.USER, "3 + 4?"),
                Turn(
                    Role.ASSISTANT,
                    (
                        Reasoning("Three and four.", signature="c2ln", format="anthropic-claude-v1"),
                        Reasoning(encrypted="b3BhcXVl", format="anthropic-claude-v1"),
                        Text("Seven."),
                    ),
                ),
                said(Role.USER, "Sure?"),
            ),
            reasoning_summary="detailed",
            options={F.REASONING_CONTEXT: {"context": "current_turn"}},
        ),
        F.REASONING_SUMMARY,
        F.REASONING_CONTEXT,
    ),
    "local_tools_with_their_calls_and_results": case(
        Generation(
            (
                said(Role.USER, "Make a.txt and list the folder."),
                called(
                    ToolCall("call_1", "apply_patch", _PATCH, "apply_patch"),
                    ToolCall("call_2", "shell", _COMMANDS, "shell"),
                    ToolCall("call_3", "local_shell", _COMMAND, "local_shell"),
                ),
                Turn(
                    Role.TOOL,
                    (
                        ToolResult(
                            "call_1", (Text("no space"),), kind="apply_patch", details='{"status":"failed"}'
                        ),
                    ),
                ),
                Turn(Role.TOOL, (ToolResult("call_2", (Text(_OUTPUT),), kind="shell"),)),
                Turn(Role.TOOL, (ToolResult("call_3", (Text("a.txt"),), kind="local_shell"),)),
            ),
            (
                LocalTool("local_shell", '{"type":"local_shell"}'),
                LocalTool("shell", '{"type":"shell","environment":{"type":"local"}}'),
                LocalTool("apply_patch", '{"type":"apply_patch"}'),
            ),
            tool_choice=NamedChoice("shell", "shell"),
        ),
        F.LOCAL_TOOLS,
        F.TOOL_CHOICE,
    ),
    "details_that_only_responses_have": case(
        Generation(
            (said(Role.USER, "Go."),),
            (
                FunctionTool("get_time", strict=False, details='{"defer_loading":true}'),
                CustomTool("free", details='{"defer_loading":true}'),
            ),
            tool_choice=AllowedChoice(
                "auto",
                '[{"type":"function","function":{"name":"get_time"}},{"type":"custom","custom":{"name":"free"}}]',
            ),
            top_logprobs=2,
            logprobs=True,
            verbosity="low",
            output=SCHEMA,
            options={
                F.CONTEXT_MANAGEMENT: [{"type": "compaction", "compact_threshold": 1000}],
                F.REASONING_CONTEXT: {"context": "auto", "mode": "pro"},
            },
        ),
        F.TOOLS,
        F.CUSTOM_TOOLS,
        F.TOOL_CHOICE,
        F.TOOL_CHOICE_ALLOWED,
        F.LOGPROBS,
        F.TOP_LOGPROBS,
        F.VERBOSITY,
        F.JSON_SCHEMA,
        F.CONTEXT_MANAGEMENT,
        F.REASONING_CONTEXT,
    ),
}


_PARTS = (
    Text("a", cache_breakpoint=True),
    Image(PNG, "high"),
    Image("https://example.com/a.png"),
    Audio("UklGRg==", "wav"),
    File("JVBERi0=", "a.pdf"),
    File(url="https://example.com/a.pdf", detail="high"),
)
_SETTINGS: dict[str, Any] = {
    "parallel_tool_calls": True,
    "output": SCHEMA,
    "max_output_tokens": 9,
    "temperature": 0.5,
    "top_p": 0.5,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "logit_bias": {"1": 2.0},
    "logprobs": True,
    "top_logprobs": 2,
    "seed": 1,
    "stop": ("x",),
    "n": 2,
    "reasoning_effort": "high",
    "reasoning_summary": "auto",
    "verbosity": "low",
}


def everything(dialect: str) -> tuple[Generation, ...]:
    """Requests that together set every field, each alone and all at once; unnamed kinds are of `dialect`."""

    def opaque(kind: str) -> Opaque:
        return Opaque(dialect, kind, f'{{"type":"{kind}","more":1}}')

    options: dict[Field, Json] = {
        **CASES["hints"].generation.options,
        **CASES["options_of_openai"].generation.options,
        F.INCLUDE: ["web_search_call.action.sources"],
        F.MAX_TOOL_CALLS: 2,
        F.CONTEXT_MANAGEMENT: [{"type": "compaction"}],
        F.REASONING_CONTEXT: {"context": "all_turns"},
    }
    grammar = CustomTool("math", format=Grammar("root: NUMBER", "lark"))
    late = FunctionTool("late", details='{"defer_loading":true}')
    shell = LocalTool("shell", '{"type":"shell"}')
    tools: tuple[Tool, ...] = (WEATHER, late, CustomTool("free"), grammar, shell, opaque("web_search"))
    outputs: tuple[OutputFormat, ...] = (
        "json_object",
        "python",
        GrammarFormat("root ::= [a-z]+"),
        opaque("yaml"),
    )
    turns = (*CASES["hints"].generation.turns, HELLO)
    return (
        Generation(turns, tools, tool_choice="auto", options=options, **_SETTINGS),
        Generation(turns),
        Generation((Turn(Role.ASSISTANT, (Text("Hm."),), phase="commentary"),)),
        Generation(
            (called(ToolCall("call_1", "look", "{}")), Turn(Role.TOOL, (ToolResult("call_1", (Image(PNG),)),)))
        ),
        *(Generation((HELLO,), (WEATHER,), **{name: value}) for name, value in _SETTINGS.items()),
        *(Generation((HELLO,), options={field: value}) for field, value in options.items()),
        *(Generation((Turn(Role.USER, (part,)),)) for part in (*_PARTS, opaque("video_url"))),
        *(Generation((HELLO,), output=output) for output in outputs),
        *(Generation((HELLO,), (tool,), tool_choice="auto") for tool in tools),
        *(
            CASES[name].generation
            for name in (
                "tool_choice_allowed",
                "options_of_openai",
                "tool_loop",
                "functions_of_old",
                "cached_prefixes",
                "a_tool_result_with_an_image",
                "inline_file",
            )
        ),
    )
