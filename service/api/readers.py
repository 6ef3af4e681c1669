"""Readers of request fields that several APIs have, and makers of such readers.

A reader checks one field alone and puts it into the draft; each API keeps a table of them. What several fields
say together is the API's to judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from eurouter.v1 import chat_pb2, preferences_pb2, response_items_pb2

from service.api.draft import Draft
from service.api.preferences import to_preferences
from service.api.problems import (
    NAME_RULE,
    WORD_RULE,
    Problems,
    is_name,
    is_word,
    json_complaint,
    key_path,
    read_json,
    shown,
)
from service.domain.asked_schema import AskedSchema
from service.domain.fields import Field
from service.domain.generation import Json, JsonSchema, OutputFormat

Read: TypeAlias = Callable[[Draft, Any], None]

NO_LIMIT: Final = 2**31 - 1
MAX_TEXT: Final = 1024
MAX_IDENTIFIER: Final = 64

# The pattern of the API's own schema: versions 1 to 8, or the nil or max UUID.
_RULE_ID: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
    r"|00000000-0000-0000-0000-000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff"
)
_MAX_NAME: Final = 255
_MAX_MODELS: Final = 32
_MAX_PAIRS: Final = 16
_MAX_KEY: Final = 64
_MAX_VALUE: Final = 512


def word(draft: Draft, path: str, value: str) -> str:
    """A value of a set that providers grow: only its form is ours to check."""
    if not is_word(value):
        draft.problems.add(path, f"{WORD_RULE}; got {shown(value)}")
    return value


def number(
    name: str, field: Field, low: float, high: float, *, neutral: float | None = None, into: str | None = None
) -> Read:
    """A number within bounds, argument `into` of Generation. `neutral` asks for what all endpoints do unasked."""
    argument = into or name
    bounds = f"at least {low}" if high == NO_LIMIT else f"between {low} and {high}"

    def read(draft: Draft, value: float) -> None:
        # Not-a-number fails every comparison, so it ends here too.
        if not low <= value <= high:
            draft.problems.add(name, f"must be {bounds}; got {value}")
        draft.values[argument] = value
        if value != neutral:
            draft.fields[field] = name

    return read


def plain(name: str, field: Field, *, neutral: bool | None = None) -> Read:
    """A value without bounds. `neutral` asks for what all endpoints do unasked."""

    def read(draft: Draft, value: object) -> None:
        draft.values[name] = value
        if value is not neutral:
            draft.fields[field] = name

    return read


def word_option(name: str, field: Field) -> Read:
    """A value of a set that providers grow, kept as an option."""

    def read(draft: Draft, value: str) -> None:
        draft.options[field] = word(draft, name, value)
        draft.fields[field] = name

    return read


def text_option(name: str, field: Field, limit: int) -> Read:
    """Text of at most `limit` characters, kept as an option."""

    def read(draft: Draft, value: str) -> None:
        if len(value) > limit:
            draft.problems.add(name, f"must be at most {limit} characters long; got {len(value)}")
        draft.fields[field] = name
        draft.options[field] = value

    return read


def routing_name(name: str) -> Read:
    """The name of a model or of a rule."""

    def read(draft: Draft, value: str) -> None:
        if not 0 < len(value) <= _MAX_NAME:
            draft.problems.add(name, f"must be 1 to {_MAX_NAME} characters long; got {len(value)}")
        draft.routing[name] = value

    return read


def read_models(draft: Draft, models: Sequence[str]) -> None:
    """The field `models`."""
    if len(models) > _MAX_MODELS:
        draft.problems.add("models", f"must be at most {_MAX_MODELS}; got {len(models)}")
    for index, name in enumerate(models):
        if not 0 < len(name) <= _MAX_NAME:
            draft.problems.add(f"models[{index}]", f"must be 1 to {_MAX_NAME} characters long; got {len(name)}")
    draft.routing["models"] = tuple(models)


def read_rule_id(draft: Draft, value: str) -> None:
    """The field `rule_id`."""
    if _RULE_ID.fullmatch(value) is None:
        draft.problems.add("rule_id", f"must be a UUID; got {shown(value)}")
    draft.routing["rule_id"] = value.lower()


def read_provider(draft: Draft, message: preferences_pb2.ProviderPreferences) -> None:
    """The field `provider`."""
    draft.routing["preferences"] = to_preferences(message, "provider", draft.problems)


def read_stream(draft: Draft, value: bool) -> None:
    """The field `stream`."""
    draft.stream = value


def check_stream(draft: Draft, streaming: bool) -> None:
    """That what the request says of streams fits how the caller is answered."""
    if draft.stream is not None and draft.stream is not streaming:
        draft.problems.add("stream", f"must be {str(streaming).lower()} or left out for this method")
    if "stream_options" in draft.seen and not streaming:
        draft.problems.add("stream_options", "is for streams only: set stream to true or leave it out")


def check_selector(draft: Draft) -> None:
    """That the request says which model it wants."""
    if draft.routing.keys().isdisjoint(("model", "models", "rule_id", "rule_name")):
        draft.problems.add("model", "is needed: name a model here or in models, or a rule in rule_id or rule_name")


def read_metadata(draft: Draft, metadata: Mapping[str, str]) -> None:
    """The field `metadata`."""
    if len(metadata) > _MAX_PAIRS:
        draft.problems.add("metadata", f"must be at most {_MAX_PAIRS} pairs; got {len(metadata)}")
    for key, value in metadata.items():
        at = key_path("metadata", key)
        if len(key) > _MAX_KEY:
            draft.problems.add(at, f"must have a key of at most {_MAX_KEY} characters; got {len(key)}")
        if len(value) > _MAX_VALUE:
            draft.problems.add(at, f"must be at most {_MAX_VALUE} characters long; got {len(value)}")
    draft.fields[Field.METADATA] = "metadata"
    draft.options[Field.METADATA] = dict(metadata)


def read_cache_options(draft: Draft, cache: chat_pb2.PromptCacheOptions) -> None:
    """The field `prompt_cache_options`."""
    draft.need(Field.PROMPT_CACHE_OPTIONS, "prompt_cache_options")
    draft.options[Field.PROMPT_CACHE_OPTIONS] = {
        field.name: word(draft, f"prompt_cache_options.{field.name}", value) for field, value in cache.ListFields()
    }


def read_moderation(draft: Draft, moderation: chat_pb2.Moderation) -> None:
    """The field `moderation`."""
    draft.need(Field.MODERATION, "moderation")
    if not moderation.model:
        draft.problems.add("moderation.model", "is needed: the name of the moderation model")
    options: dict[str, Json] = {"model": moderation.model}
    if moderation.HasField("policy"):
        parsed = read_json(moderation.policy)
        if isinstance(parsed, tuple) and isinstance(parsed[0], dict | list):
            options["policy"] = parsed[0]
        else:
            draft.problems.add("moderation.policy", "must be a JSON object or list as text")
    draft.options[Field.MODERATION] = options


def read_json_schema(
    problems: Problems, at: str, form: chat_pb2.JsonSchemaFormat | response_items_pb2.ResponseJsonSchema
) -> JsonSchema:
    """The form of an answer that is JSON."""
    if not is_name(form.name):
        problems.add(f"{at}.name", f"{NAME_RULE}; got {shown(form.name)}")
    schema = form.schema if form.HasField("schema") else None
    if schema is not None and (complaint := json_complaint(schema, dict, "a JSON Schema object")) is not None:
        problems.add(f"{at}.schema", complaint)
    return JsonSchema(
        name=form.name,
        schema=schema,
        description=form.description if form.HasField("description") else None,
        strict=form.strict if form.HasField("strict") else None,
    )


def schema_of(output: OutputFormat | None) -> AskedSchema | None:
    """The schema that the answer must match, None without one."""
    if not isinstance(output, JsonSchema) or output.schema is None:
        return None
    return AskedSchema(output.schema)


def extra_reader(named: frozenset[str]) -> Read:
    """The reader of fields that nobody named; `named` are those of the request's message."""

    def read(draft: Draft, extra: Mapping[str, str]) -> None:
        for name, text in extra.items():
            at = name[:_MAX_KEY]
            if not name:
                draft.problems.add("extra", "must not hold a field without a name")
            elif name == "extra":
                draft.problems.add(at, "no such field: send what it holds at the top level of the request")
            elif name in named:
                draft.problems.add(at, "has a field of its own: set that one, not `extra`")
            elif isinstance(complaint := read_json(text), str):
                draft.problems.add(at, f"must be a JSON value as text: {complaint}")
        draft.extra = frozenset(extra)
        draft.extra_hints = draft.extra & draft.hint_fields
        draft.values["extra"] = dict(extra)

    return read
