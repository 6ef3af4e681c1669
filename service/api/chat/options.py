"""Request fields that are objects of their own: reasoning, the answer's form, audio, prediction, search.

From protobuf to the domain, checked. What stays an option keeps the shape of the Chat Completions API.
"""

from __future__ import annotations

from typing import Final, assert_never

from eurouter.v1 import chat_pb2 as pb

from service.api.chat.call import ChatDraft
from service.api.media import FOREIGN, read_opaque
from service.api.problems import shown
from service.api.readers import read_json_schema, word
from service.domain.fields import Field
from service.domain.generation import GrammarFormat, Json, OutputFormat

_FORMATS: Final = frozenset(
    field.name for field in pb.ResponseFormat.DESCRIPTOR.oneofs_by_name["format"].fields if field.name != "opaque"
)
_FORMAT_FIELDS: Final[dict[str, Field]] = {
    "json_object": Field.JSON_OBJECT,
    "json_schema": Field.JSON_SCHEMA,
    "grammar": Field.GRAMMAR,
    "python": Field.PYTHON_FORMAT,
    "opaque": Field.OPAQUE_FORMAT,
}
_MAX_TEXT: Final = 512


def read_reasoning(draft: ChatDraft, reasoning: pb.Reasoning) -> None:
    """The field `reasoning`. Comes before `reasoning_effort`, whose field number is higher."""
    if reasoning.HasField("effort"):
        draft.need(Field.REASONING_EFFORT, "reasoning.effort")
        draft.values["reasoning_effort"] = word(draft, "reasoning.effort", reasoning.effort)
    if reasoning.HasField("summary"):
        draft.need(Field.REASONING_SUMMARY, "reasoning.summary")
        draft.values["reasoning_summary"] = word(draft, "reasoning.summary", reasoning.summary)


def read_reasoning_effort(draft: ChatDraft, effort: str) -> None:
    """The field `reasoning_effort`."""
    word(draft, "reasoning_effort", effort)
    before = draft.values.setdefault("reasoning_effort", effort)
    if before != effort:
        draft.problems.add("reasoning_effort", f"contradicts reasoning.effort, which is {shown(before)}: give one")
    draft.need(Field.REASONING_EFFORT, "reasoning_effort")


def read_response_format(draft: ChatDraft, message: pb.ResponseFormat) -> None:
    """The field `response_format`."""
    kind = message.WhichOneof("format")
    output: OutputFormat | None = None
    match kind:
        case "text" | "json_object" | "python":
            output = kind
        case "json_schema":
            output = read_json_schema(draft.problems, "response_format.json_schema", message.json_schema)
        case "grammar":
            output = GrammarFormat(message.grammar)
            if not message.grammar:
                draft.problems.add("response_format.grammar", "must not be empty")
        case "opaque":
            draft.need_dialect("response_format")
            output = read_opaque(draft, "response_format", message.opaque, _FORMATS)
        case None:
            draft.problems.add("response_format", "is empty: give it a type, such as json_schema")
        case _:
            assert_never(kind)
    if kind in _FORMAT_FIELDS:
        path = f"response_format.{kind}" if kind in ("json_schema", "grammar") else "response_format"
        draft.need(_FORMAT_FIELDS[kind], path)
    draft.values["output"] = output


def read_audio(draft: ChatDraft, audio: pb.ChatAudioParam) -> None:
    """The field `audio`."""
    draft.need(Field.AUDIO_OUTPUT, "audio")
    if not audio.voice:
        draft.problems.add("audio.voice", "is needed: the name of a voice, such as alloy")
    elif audio.voice.startswith("{"):
        draft.problems.foreign("audio.voice", f"{FOREIGN}: use a voice by its name")
    if not audio.format:
        draft.problems.add("audio.format", "is needed: wav, aac, mp3, flac, opus or pcm16")
    else:
        word(draft, "audio.format", audio.format)
    draft.options[Field.AUDIO_OUTPUT] = {"voice": audio.voice, "format": audio.format}


def read_prediction(draft: ChatDraft, prediction: pb.Prediction) -> None:
    """The field `prediction`: text only."""
    draft.need(Field.PREDICTION, "prediction")
    if not prediction.content:
        draft.problems.add("prediction.content", "must hold the expected text")
    texts: list[Json] = []
    for index, part in enumerate(prediction.content):
        at = f"prediction.content[{index}]"
        if part.WhichOneof("part") != "text":
            draft.problems.add(at, "must be a text part: only text can be predicted")
        if part.HasField("prompt_cache_breakpoint"):
            draft.problems.add(f"{at}.prompt_cache_breakpoint", "may stand in messages only")
        texts.append({"type": "text", "text": part.text})
    content: Json = prediction.content[0].text if len(texts) == 1 else texts
    draft.options[Field.PREDICTION] = {"type": "content", "content": content}


def read_web_search(draft: ChatDraft, search: pb.WebSearchOptions) -> None:
    """The field `web_search_options`."""
    draft.need(Field.WEB_SEARCH, "web_search_options")
    options: dict[str, Json] = {}
    if search.HasField("search_context_size"):
        path = "web_search_options.search_context_size"
        options["search_context_size"] = word(draft, path, search.search_context_size)
    if search.HasField("user_location"):
        place: dict[str, Json] = {f.name: value for f, value in search.user_location.approximate.ListFields()}
        for name, value in place.items():
            if len(str(value)) > _MAX_TEXT:
                path = f"web_search_options.user_location.approximate.{name}"
                draft.problems.add(path, f"must be at most {_MAX_TEXT} characters long")
        options["user_location"] = {"type": "approximate", "approximate": place}
    draft.options[Field.WEB_SEARCH] = options


def read_stream_options(draft: ChatDraft, options: pb.StreamOptions) -> None:
    """The field `stream_options`."""
    if options.include_usage:
        draft.routing["include_usage"] = True
    if options.HasField("include_obfuscation"):
        draft.need(Field.OBFUSCATION, "stream_options.include_obfuscation")
        draft.options[Field.OBFUSCATION] = options.include_obfuscation
