"""Pieces of a response: values of the domain -> protobuf. No state of a stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import orjson
from eurouter.v1 import content_pb2
from eurouter.v1 import response_items_pb2 as items_pb
from eurouter.v1 import response_object_pb2 as pb

from service import wire
from service.api.problems import field_names
from service.domain.cost import AUDIO_INPUT, AUDIO_OUTPUT
from service.domain.events import AudioDelta, OpaqueAnnotation, TokenLogprob, UrlCitation, Usage
from service.domain.money import decimal_text

# What a provider adds must not pass for a field that we state ourselves, or that the Responses API has and that
# says something else in it (Together's chat answers have a `prompt` of their own).
_OWN_FIELDS: Final = field_names(pb.Response.DESCRIPTOR) | {"conversation", "output_text", "prompt"}
_OWN_USAGE: Final = field_names(pb.ResponseUsage.DESCRIPTOR)
_VERDICT: Final = "moderation"

AUDIO: Final = "audio"
"""The extra field that holds an audio answer, in the form that the Chat API gives it."""


def put_extra(response: pb.Response, fields: Iterable[tuple[str, str]]) -> None:
    """Writes fields that a provider added; its verdict on content has a field of its own."""
    for name, text in fields:
        if name not in _OWN_FIELDS:
            response.extra[name] = text
        elif name == _VERDICT:
            response.moderation = text


def usage(event: Usage) -> pb.ResponseUsage:
    """Tokens used; cached ones and those for reasoning are 0 where the provider does not say."""
    message = pb.ResponseUsage()
    message.input_tokens = event.input_tokens
    message.output_tokens = event.output_tokens
    message.total_tokens = event.total_tokens
    message.input_tokens_details.cached_tokens = event.cached_tokens or 0
    message.output_tokens_details.reasoning_tokens = event.reasoning_tokens or 0
    if event.cache_write_tokens is not None:
        message.input_tokens_details.cache_write_tokens = event.cache_write_tokens
    if event.cost is not None:
        message.cost = decimal_text(event.cost.amount)
        message.currency = event.cost.currency
    for name, count in event.details:
        if name == AUDIO_INPUT:
            message.input_tokens_details.audio_tokens = count
        elif name == AUDIO_OUTPUT:
            message.output_tokens_details.audio_tokens = count
        elif count:
            # The Responses API has no place for these: prompt_video_tokens.
            message.extra[name.replace(".", "_")] = str(count)
    for name, text in event.extra:
        if name not in _OWN_USAGE:
            message.extra[name] = text
    return message


def put_audio(response: pb.Response, audio: AudioDelta) -> None:
    """Writes a whole audio answer, for which the Responses API has events but no place in the object."""
    told = {"id": audio.id, "expires_at": audio.expires_at, "data": audio.data, "transcript": audio.transcript}
    try:
        response.extra[AUDIO] = orjson.dumps({name: value for name, value in told.items() if value}).decode()
    except TypeError as error:
        raise ValueError("audio that is no text") from error


def logprobs(tokens: Iterable[TokenLogprob]) -> list[items_pb.ResponseLogprob]:
    """Log probabilities of a text's next tokens."""
    return [
        items_pb.ResponseLogprob(
            token=token.token,
            logprob=token.logprob,
            bytes=token.bytes or (),
            top_logprobs=[
                items_pb.ResponseTopLogprob(token=top.token, logprob=top.logprob, bytes=top.bytes or ())
                for top in token.top
            ],
        )
        for token in tokens
    ]


def annotation(event: UrlCitation | OpaqueAnnotation, start: int) -> items_pb.ResponseAnnotation:
    """A source of the text that begins at the answer's character `start`, by the text's own characters.

    One of a kind that the contract knows stands under its name, however it came.
    """
    if isinstance(event, UrlCitation):
        cited = content_pb2.UrlCitation(
            start_index=event.start_index - start,
            end_index=event.end_index - start,
            url=event.url,
            title=event.title,
        )
        return items_pb.ResponseAnnotation(url_citation=cited)
    try:
        return wire.parse(items_pb.ResponseAnnotation, orjson.loads(event.json))
    except wire.WireError:
        return items_pb.ResponseAnnotation(opaque=content_pb2.Opaque(type=event.type, json=event.json))
