"""The messages of the Kafka contract and their schemas, for the published document. No logic.

Bodies are the API's own, whose fields stand in the protos: here is what a team needs to write its first record.
"""

from __future__ import annotations

from typing import Any, Final

from service.edge.kafka import names
from service.edge.kafka.asyncapi_headers import (
    DEAD_LETTER,
    PUBLISHED,
    RESPONSE_ID_PATTERN,
    SUBMITTED,
    TOMBSTONE,
    Schema,
)
from service.edge.kafka.batch_lines import URLS
from service.edge.kafka.dead_letters import CREDENTIALS
from service.edge.kafka.framing import Form

_ID: Final = "resp_5f1c7b0e9a2d4c6f8b1a3e5d7c9f0b2a4e6d"
_PROTO: Final = "x-protobuf-message"
_MODEL: Final[Schema] = {"type": "string", "description": "A model of the catalogue.", "examples": ["small"]}
_STREAM: Final[Schema] = {
    "type": "boolean",
    "description": "Whether pieces of the output are kept for who follows it. The result is the same.",
}


def ref(*path: str) -> dict[str, str]:
    """A reference to a place in the document."""
    return {"$ref": "#/" + "/".join(path)}


def _schema(name: str) -> dict[str, str]:
    return ref("components", "schemas", name)


def _object(description: str, required: list[str], properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "required": required,
        "properties": properties,
        **more,
    }


def _headers(properties: dict[str, Schema], description: str, required: list[str]) -> dict[str, Any]:
    return _object(description, required, dict(properties), additionalProperties=True)


_RESPONSES_REQUEST: Final = _object(
    "A request of the Responses API; all its fields stand in protos/eurouter/v1/responses.proto. `background` and "
    "`store` are true or left out.",
    ["model", "input"],
    {
        "model": _MODEL,
        "input": {
            "description": "A text, or items.",
            "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}],
        },
        "instructions": {"type": "string"},
        "previous_response_id": {"type": "string", "pattern": RESPONSE_ID_PATTERN},
        "max_output_tokens": {"type": "integer", "minimum": 1},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "provider": {"type": "object", "description": "Filters and preferences for routing."},
        "service_tier": {"type": "string"},
        "stream": _STREAM,
    },
    **{_PROTO: "eurouter.v1.CreateResponseRequest"},
)
_CHAT_REQUEST: Final = _object(
    "A request of the chat API; all its fields stand in protos/eurouter/v1/chat.proto.",
    ["model", "messages"],
    {
        "model": _MODEL,
        "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "max_completion_tokens": {"type": "integer", "minimum": 1},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "provider": {"type": "object", "description": "Filters and preferences for routing."},
        "service_tier": {"type": "string"},
        "stream": _STREAM,
    },
    **{_PROTO: "eurouter.v1.CreateChatCompletionRequest"},
)
_BATCH_LINE: Final = _object(
    "A line of OpenAI's Batch format.",
    ["custom_id", "url", "body"],
    {
        "custom_id": {"type": "string", "minLength": 1, "description": "Returned as the correlation id."},
        "method": {"type": "string", "const": "POST"},
        "url": {"type": "string", "enum": list(URLS)},
        "body": {"oneOf": [_schema("ResponsesRequest"), _schema("ChatRequest")]},
    },
    additionalProperties=False,
)
_RESPONSE: Final = _object(
    "The response as GetResponse and GET /v1/responses/{id} show it.",
    ["id", "object", "status", "created_at", "model", "output"],
    {
        "id": {"type": "string", "pattern": RESPONSE_ID_PATTERN},
        "object": {"type": "string", "const": "response"},
        "status": PUBLISHED[names.STATUS],
        "created_at": {"type": "integer", "description": "Unix seconds."},
        "model": {"type": "string"},
        "output": {"type": "array", "items": {"type": "object"}},
        "error": {"type": ["object", "null"], "description": "Why it failed: code and message."},
        "usage": {"type": ["object", "null"]},
    },
    **{_PROTO: "eurouter.v1.Response"},
)
_CHAT_COMPLETION: Final = _object(
    "The answer to a chat request.",
    ["id", "object", "created", "model", "choices"],
    {
        "id": {"type": "string"},
        "object": {"type": "string", "const": "chat.completion"},
        "created": {"type": "integer", "description": "Unix seconds."},
        "model": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "object"}},
        "usage": {"type": "object"},
    },
    **{_PROTO: "eurouter.v1.ChatCompletion"},
)
_REFERENCE: Final = _object(
    "What stands for a response that is too large for a record, or for every one where the operator says so. Of a "
    "very large one only the required fields are there.",
    ["id", "object", "status"],
    {name: _RESPONSE["properties"][name] for name in ("id", "object", "status", "created_at", "model", "error")},
    **{_PROTO: "eurouter.v1.Response"},
)


def _bytes(message: str) -> dict[str, Any]:
    return {"type": "string", "format": "binary", "description": f"A {message}, as protobuf.", _PROTO: message}


SCHEMAS: Final[dict[str, Any]] = {
    "ResponsesRequest": _RESPONSES_REQUEST,
    "ChatRequest": _CHAT_REQUEST,
    "BatchLine": _BATCH_LINE,
    "Response": _RESPONSE,
    "ChatCompletion": _CHAT_COMPLETION,
    "ResponseReference": _REFERENCE,
    "SubmissionHeaders": _headers(
        SUBMITTED, "Names in any case; one that came twice with two values is refused. Others are left alone.", []
    ),
    "ResultHeaders": _headers(
        PUBLISHED, "", [names.CONTENT_TYPE, names.STATUS, names.ATTEMPT, names.VERSION, names.INLINE]
    ),
    "TombstoneHeaders": _headers(TOMBSTONE, "", [names.VERSION]),
    "DeadLetterHeaders": _headers(
        DEAD_LETTER,
        f"Beside the record's own as they came, without {names.SIGNATURE} and without credentials that were not "
        f"asked for ({', '.join(sorted(CREDENTIALS))}).",
        [name for name in DEAD_LETTER if name.startswith("eurouter-dlq-original") or name == names.DLQ_REASON],
    ),
}

KEYS: Final[dict[str, Any]] = {
    "own": {"kafka": {"key": {"type": "string", "description": "Your own; it says nothing to the service."}}},
    "responseId": {"kafka": {"key": {"type": "string", "pattern": RESPONSE_ID_PATTERN}}},
}


def _message(
    title: str, headers: str | None, payload: Any, key: str, *examples: Any, form: str = Form.JSON.value
) -> dict[str, Any]:
    message: dict[str, Any] = {
        "title": title,
        "contentType": form,
        **({} if headers is None else {"headers": _schema(headers)}),
        "payload": payload,
        "bindings": ref("components", "messageBindings", key),
    }
    if examples:
        message["examples"] = [{"headers": headers, "payload": payload} for headers, payload in examples]
    return message


def _submitted(title: str, payload: Any, *examples: Any, form: str = Form.JSON.value) -> dict[str, Any]:
    message = _message(title, "SubmissionHeaders", payload, "own", *examples, form=form)
    return {**message, "correlationId": ref("components", "correlationIds", "correlationId")}


def _result(title: str, payload: Any, *examples: Any, form: str = Form.JSON.value) -> dict[str, Any]:
    message = _message(title, "ResultHeaders", payload, "responseId", *examples, form=form)
    return {**message, "correlationId": ref("components", "correlationIds", "correlationId")}


_ASKED: Final = {"model": "small", "input": "Name three rivers."}
_CHAT: Final = {"model": "small", "messages": [{"role": "user", "content": "Name three rivers."}]}
_ANSWERED: Final = {
    names.CONTENT_TYPE: Form.JSON.value,
    names.STATUS: "completed",
    names.ATTEMPT: "1",
    names.VERSION: "3",
    names.INLINE: "true",
    names.CORRELATION_ID: "row-17",
    names.SOURCE_TOPIC: "team-a.requests",
    names.SOURCE_PARTITION: "4",
    names.SOURCE_OFFSET: "1041",
}
_SHORT: Final = {
    "id": _ID,
    "object": "response",
    "status": "completed",
    "created_at": 1790000000,
    "model": "small",
}

SUBMISSIONS: Final[dict[str, Any]] = {
    "responsesRequest": _submitted(
        "A request of the Responses API",
        _schema("ResponsesRequest"),
        ({names.CONTENT_TYPE: Form.JSON.value, names.CORRELATION_ID: "row-17"}, _ASKED),
    ),
    "chatRequest": _submitted(
        "A chat request",
        _schema("ChatRequest"),
        ({names.API: "chat", names.IDEMPOTENCY_KEY: "order-17", names.GROUP: "nightly"}, _CHAT),
    ),
    "batchLine": _submitted(
        "A line of OpenAI's Batch format",
        _schema("BatchLine"),
        ({}, {"custom_id": "row-17", "method": "POST", "url": "/v1/chat/completions", "body": _CHAT}),
    ),
    "responsesRequestProtobuf": _submitted(
        "A request of the Responses API, as protobuf",
        _bytes("eurouter.v1.CreateResponseRequest"),
        form=Form.PROTOBUF.value,
    ),
    "chatRequestProtobuf": _submitted(
        "A chat request, as protobuf",
        _bytes("eurouter.v1.CreateChatCompletionRequest"),
        form=Form.PROTOBUF.value,
    ),
}
RESULTS: Final[dict[str, Any]] = {
    "response": _result(
        "A response that is over", _schema("Response"), (_ANSWERED, {**_SHORT, "output": [], "error": None})
    ),
    "chatCompletion": _result("The answer to a chat request", _schema("ChatCompletion")),
    "responseReference": _result(
        "A response to be fetched by its id",
        _schema("ResponseReference"),
        ({**_ANSWERED, names.INLINE: "false"}, _SHORT),
    ),
    "responseProtobuf": _result(
        "A response that is over, as protobuf", _bytes("eurouter.v1.Response"), form=Form.PROTOBUF.value
    ),
    "chatCompletionProtobuf": _result(
        "The answer to a chat request, as protobuf", _bytes("eurouter.v1.ChatCompletion"), form=Form.PROTOBUF.value
    ),
    "tombstone": {
        **_message("A response that was deleted or expired", "TombstoneHeaders", {"type": "null"}, "responseId"),
        "summary": "A null value: forget what was said of this key. No result of it comes after it.",
    },
}
WAKE_UPS: Final[dict[str, Any]] = {
    "wakeUp": {
        **_message(
            "A job waits",
            None,
            {"type": "string", "pattern": RESPONSE_ID_PATTERN},
            "responseId",
            form="text/plain",
        ),
        "summary": "Among the service's own processes; it holds no content, and one that is lost does no harm.",
    }
}
DEAD_LETTERS: Final[dict[str, Any]] = {
    "deadLetter": {
        **_message(
            "A record that is no job",
            "DeadLetterHeaders",
            {"description": "As submitted; null when it was too large to be kept."},
            "own",
            form="application/octet-stream",
        ),
        "examples": [
            {
                "headers": {
                    names.DLQ_REASON: "unknown_model",
                    names.DLQ_MESSAGE: "the model smal is not in the catalogue",
                    names.DLQ_TOPIC: "team-a.requests",
                    names.DLQ_PARTITION: "4",
                    names.DLQ_OFFSET: "1042",
                    names.DLQ_TIMESTAMP: "1790000000000",
                    names.DLQ_GROUP: "eurouter.intake.v1",
                    names.DLQ_OWNER: "team-a",
                },
                "payload": '{"model": "smal", "input": "Name three rivers."}',
            }
        ],
    }
}
MESSAGES: Final = {**SUBMISSIONS, **RESULTS, **WAKE_UPS, **DEAD_LETTERS}
