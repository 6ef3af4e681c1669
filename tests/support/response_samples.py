"""One item, one part and one event of every kind of the Responses API, as JSON that OpenAI's schema accepts."""

from __future__ import annotations

from typing import Any, Final

LOGPROB: Final = {
    "token": "é",
    "logprob": -0.5,
    "bytes": [195, 169],
    "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": [101]}],
}
ANNOTATIONS: Final[list[dict[str, Any]]] = [
    {"type": "url_citation", "start_index": 0, "end_index": 2, "url": "https://a.example", "title": "A"},
    {"type": "file_citation", "file_id": "file-1", "filename": "a.txt", "index": 0},
    {
        "type": "container_file_citation",
        "container_id": "cntr_1",
        "file_id": "file-1",
        "filename": "a.csv",
        "start_index": 0,
        "end_index": 2,
    },
    {"type": "file_path", "file_id": "file-1", "index": 0},
]
OUTPUT_TEXT: Final[dict[str, Any]] = {
    "type": "output_text",
    "text": "Hé",
    "annotations": ANNOTATIONS,
    "logprobs": [LOGPROB],
}
REFUSAL: Final[dict[str, Any]] = {"type": "refusal", "refusal": "No."}
SUMMARY: Final[dict[str, Any]] = {"type": "summary_text", "text": "It thought."}
IN: Final[list[dict[str, Any]]] = [
    {"type": "input_text", "text": "Look:"},
    {"type": "input_text", "text": "", "prompt_cache_breakpoint": {"mode": "explicit"}},
    {"type": "input_image", "image_url": "https://a.example/b.png", "detail": "low"},
    {"type": "input_image", "image_url": None, "file_id": "file-1", "detail": "auto"},
    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA==", "detail": "low"},
    {"type": "input_file", "file_url": "https://a.example/b.pdf"},
    {"type": "input_file", "file_id": "file-2"},
]
AUDIO: Final[dict[str, Any]] = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}

USER_MESSAGE: Final[dict[str, Any]] = {
    "type": "message",
    "id": "msg_u",
    "role": "user",
    "status": "completed",
    "content": IN,
}
REFERENCE: Final[dict[str, Any]] = {"type": "item_reference", "id": "msg_1"}

_DIRECT: Final = {"type": "direct"}
_SHELL_OUTPUT: Final = [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]

ITEMS: Final[list[dict[str, Any]]] = [
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "content": [OUTPUT_TEXT, REFUSAL],
        "status": "completed",
        "phase": "final_answer",
    },
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "f",
        "arguments": '{"a":1',
        "status": "incomplete",
        "namespace": "n",
        "caller": _DIRECT,
    },
    {
        "type": "function_call_output",
        "id": "fco_1",
        "call_id": "call_1",
        "output": "done",
        "status": "completed",
        "name": "f",
        "namespace": "n",
        "caller": {"type": "program", "caller_id": "p"},
        "created_by": "u",
    },
    {"type": "function_call_output", "id": "fco_2", "call_id": "call_1", "output": IN, "status": "completed"},
    {
        "type": "custom_tool_call",
        "id": "ctc_1",
        "call_id": "call_2",
        "name": "c",
        "input": "*** Begin",
        "status": "completed",
        "caller": _DIRECT,
    },
    {
        "type": "custom_tool_call_output",
        "id": "cto_1",
        "call_id": "call_2",
        "output": IN,
        "status": "completed",
        "created_by": "u",
    },
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [SUMMARY],
        "content": [{"type": "reasoning_text", "text": "Hm."}],
        "encrypted_content": "gAAAA",
        "status": "completed",
    },
    {"type": "reasoning", "id": "rs_2", "summary": []},
    {
        "type": "local_shell_call",
        "id": "lsh_1",
        "call_id": "call_3",
        "action": {"type": "exec", "command": ["ls"], "env": {}, "timeout_ms": 1000},
        "status": "completed",
    },
    {
        "type": "local_shell_call_output",
        "id": "call_3",
        "call_id": "call_3",
        "output": '{"stdout":"a"}',
        "status": "completed",
    },
    {
        "type": "shell_call",
        "id": "sh_1",
        "call_id": "call_4",
        "action": {"commands": ["ls"], "timeout_ms": None, "max_output_length": 10},
        "status": "completed",
        "environment": {"type": "local"},
        "caller": _DIRECT,
        "created_by": "u",
    },
    {
        "type": "shell_call",
        "id": "sh_2",
        "call_id": "call_4",
        "action": {"commands": [], "timeout_ms": 1, "max_output_length": None},
        "status": "in_progress",
        "environment": None,
    },
    {
        "type": "shell_call_output",
        "id": "sho_1",
        "call_id": "call_4",
        "output": _SHELL_OUTPUT,
        "status": "completed",
        "max_output_length": None,
        "caller": _DIRECT,
        "created_by": "u",
    },
    {
        "type": "apply_patch_call",
        "id": "apc_1",
        "call_id": "call_5",
        "operation": {"type": "create_file", "path": "a", "diff": "+b"},
        "status": "completed",
        "caller": _DIRECT,
        "created_by": "u",
    },
    {
        "type": "apply_patch_call_output",
        "id": "apo_1",
        "call_id": "call_5",
        "status": "failed",
        "output": "no such file",
        "caller": _DIRECT,
        "created_by": "u",
    },
    {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "q", "queries": ["q"], "sources": []},
    },
    {
        "type": "file_search_call",
        "id": "fs_1",
        "status": "completed",
        "queries": ["q"],
        "results": [{"file_id": "file-1", "text": "t", "filename": "a", "attributes": {}, "score": 0.5}],
    },
    {"type": "file_search_call", "id": "fs_2", "status": "in_progress", "queries": []},
    {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "status": "completed",
        "container_id": "cntr_1",
        "code": "1",
        "outputs": [{"type": "logs", "logs": "1"}],
    },
    {
        "type": "code_interpreter_call",
        "id": "ci_2",
        "status": "in_progress",
        "container_id": "cntr_1",
        "code": None,
        "outputs": None,
    },
    {
        "type": "image_generation_call",
        "id": "ig_1",
        "status": "completed",
        "result": "AA==",
        "revised_prompt": "p",
        "background": "opaque",
        "output_format": "png",
        "quality": "high",
        "size": "1024x1024",
        "action": "generate",
    },
    {"type": "image_generation_call", "id": "ig_2", "status": "in_progress", "result": None},
    {
        "type": "computer_call",
        "id": "cu_1",
        "call_id": "call_6",
        "action": {"type": "click", "button": "left", "x": 1, "y": 2},
        "pending_safety_checks": [{"id": "c", "code": "x", "message": "m"}],
        "status": "completed",
    },
    {
        "type": "computer_call",
        "id": "cu_2",
        "call_id": "call_6",
        "actions": [{"type": "screenshot"}],
        "pending_safety_checks": [],
        "status": "completed",
    },
    {
        "type": "computer_call_output",
        "id": "cuo_1",
        "call_id": "call_6",
        "output": {"type": "computer_screenshot", "image_url": "https://a.example/s.png"},
        "acknowledged_safety_checks": [{"id": "c"}],
        "status": "completed",
        "created_by": "u",
    },
    {
        "type": "mcp_list_tools",
        "id": "mcpl_1",
        "server_label": "s",
        "tools": [{"name": "t", "input_schema": {"type": "object"}}],
        "error": "down",
    },
    {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "s", "name": "t", "arguments": "{}"},
    {
        "type": "mcp_approval_response",
        "id": "mcpa_1",
        "approval_request_id": "mcpr_1",
        "approve": False,
        "reason": "no",
    },
    {
        "type": "mcp_call",
        "id": "mcp_1",
        "server_label": "s",
        "name": "t",
        "arguments": "{}",
        "output": "o",
        "error": {"type": "http_error", "code": 500, "message": "m"},
        "status": "failed",
        "approval_request_id": "mcpr_1",
    },
    {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA", "created_by": "u"},
]
"""Items that may stand in an output. No single key is null unless OpenAI's schema demands the key."""

FUNCTION_TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "name": "f",
    "description": "d",
    "parameters": {"type": "object", "properties": {"b": {}, "a": {}}},
    "strict": True,
    "defer_loading": False,
    "allowed_callers": ["direct"],
    "output_schema": {"type": "object"},
}
TOOLS: Final[list[dict[str, Any]]] = [
    FUNCTION_TOOL,
    {"type": "function", "name": "g", "description": None, "parameters": None, "strict": None},
    {"type": "custom", "name": "c", "description": "d", "format": {"type": "text"}},
    {
        "type": "custom",
        "name": "c",
        "format": {"type": "grammar", "definition": "start: /a/", "syntax": "lark"},
        "defer_loading": True,
        "allowed_callers": ["direct"],
    },
    {"type": "local_shell"},
    {"type": "shell", "environment": {"type": "local"}, "allowed_callers": ["direct"]},
    {"type": "apply_patch", "allowed_callers": ["direct"]},
    {"type": "web_search", "search_context_size": "low"},
]
CHOICES: Final[list[Any]] = [
    "none",
    "auto",
    "required",
    {"type": "function", "name": "f"},
    {"type": "custom", "name": "c"},
    {"type": "apply_patch"},
    {"type": "shell"},
    {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    {"type": "web_search_preview"},
]
FORMATS: Final[list[dict[str, Any]]] = [
    {"type": "text"},
    {"type": "json_object"},
    {"type": "json_schema", "name": "s", "description": "d", "schema": {"b": 1, "a": 1.0}, "strict": True},
]

RESPONSE: Final[dict[str, Any]] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1700000000,
    "status": "completed",
    "model": "m",
    "output": [],
    "usage": {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 3,
    },
    "completed_at": 1700000001,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "metadata": {},
    "background": False,
    "service_tier": "default",
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "max_tool_calls": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
}
"""A whole response with nothing but what every response has."""

_AT: Final = {"item_id": "i", "output_index": 1}
_PART: Final = {**_AT, "content_index": 2}
_PARAGRAPH: Final = {**_AT, "summary_index": 2}
_COMMAND: Final = {"output_index": 1, "command_index": 0}
_STATES: Final = (
    "created",
    "queued",
    "in_progress",
    "completed",
    "incomplete",
    "failed",
    "cancelled",
    "restarted",
)
_NEWS: Final = (
    "web_search_call.in_progress web_search_call.searching web_search_call.completed"
    " file_search_call.in_progress file_search_call.searching file_search_call.completed"
    " code_interpreter_call.in_progress code_interpreter_call.interpreting code_interpreter_call.completed"
    " image_generation_call.in_progress image_generation_call.generating image_generation_call.completed"
    " mcp_list_tools.in_progress mcp_list_tools.completed mcp_list_tools.failed"
    " mcp_call.in_progress mcp_call.completed mcp_call.failed"
)


def _event(kind: str, /, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "sequence_number": 7, **fields}


EVENTS: Final[list[dict[str, Any]]] = [
    *(_event(state, response=RESPONSE) for state in _STATES),
    {"type": "error", "sequence_number": 7, "code": "server_error", "message": "m", "param": "p"},
    {"type": "error", "sequence_number": 7, "code": None, "message": "m", "param": None},
    _event("output_item.added", output_index=1, item=ITEMS[0]),
    _event("output_item.done", output_index=1, item=ITEMS[0]),
    _event("content_part.added", **_PART, part=OUTPUT_TEXT),
    _event("content_part.done", **_PART, part=REFUSAL),
    _event("output_text.delta", **_PART, delta="a", logprobs=[LOGPROB]),
    _event("output_text.delta", **_PART, delta="a", logprobs=[]),
    _event("output_text.done", **_PART, text="a", logprobs=[]),
    *(
        _event("output_text.annotation.added", **_PART, annotation_index=0, annotation=annotation)
        for annotation in ANNOTATIONS
    ),
    _event("refusal.delta", **_PART, delta="a"),
    _event("refusal.done", **_PART, refusal="a"),
    _event("reasoning_text.delta", **_PART, delta="a"),
    _event("reasoning_text.done", **_PART, text="a"),
    _event("reasoning_summary_part.added", **_PARAGRAPH, part={"type": "summary_text", "text": ""}),
    _event("reasoning_summary_part.done", **_PARAGRAPH, part=SUMMARY, status="incomplete"),
    _event("reasoning_summary_text.delta", **_PARAGRAPH, delta="a"),
    _event("reasoning_summary_text.done", **_PARAGRAPH, text="a"),
    _event("function_call_arguments.delta", **_AT, delta="{"),
    _event("function_call_arguments.done", **_AT, name="f", arguments="{}"),
    _event("custom_tool_call_input.delta", **_AT, delta="a"),
    _event("custom_tool_call_input.done", **_AT, input="a"),
    _event("audio.delta", delta="AA=="),
    _event("audio.done"),
    _event("audio.transcript.delta", delta="a"),
    _event("audio.transcript.done"),
    *(_event(name, **_AT) for name in _NEWS.split()),
    _event("code_interpreter_call_code.delta", **_AT, delta="1"),
    _event("code_interpreter_call_code.done", **_AT, code="1"),
    _event("image_generation_call.partial_image", **_AT, partial_image_index=0, partial_image_b64="AA=="),
    _event(
        "image_generation_call.partial_image",
        **_AT,
        partial_image_index=0,
        partial_image_b64="AA==",
        size="1024x1024",
        quality="high",
        background="opaque",
        output_format="png",
    ),
    _event("mcp_call_arguments.delta", **_AT, delta="{"),
    _event("mcp_call_arguments.done", **_AT, arguments="{}"),
    _event("shell_call_command.added", **_COMMAND, command=""),
    _event("shell_call_command.delta", **_COMMAND, delta="l"),
    _event("shell_call_command.done", **_COMMAND, command="ls"),
    _event("shell_call_output_content.delta", **_AT, command_index=0, delta={"stdout": "a"}),
    _event("shell_call_output_content.done", **_AT, command_index=0, output=_SHELL_OUTPUT),
]
"""At least one event of every type, each with all of its keys."""
