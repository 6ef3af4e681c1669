"""Pieces that whole completions and chunks share: events of the domain -> protobuf. No state of a stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from eurouter.v1 import chat_pb2 as pb
from eurouter.v1 import content_pb2

from service.api.problems import field_names
from service.domain.events import (
    FinishReason,
    OpaqueAnnotation,
    ReasoningSeal,
    TokenLogprob,
    UrlCitation,
    Usage,
)
from service.domain.money import decimal_text

FINISH_REASONS: Final[dict[FinishReason, pb.FinishReason.ValueType]] = {
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
    FinishReason.TOOL_CALLS: pb.FINISH_REASON_TOOL_CALLS,
    FinishReason.CONTENT_FILTER: pb.FINISH_REASON_CONTENT_FILTER,
    FinishReason.ERROR: pb.FINISH_REASON_ERROR,
}

_COMPLETION_DETAILS: Final = field_names(pb.CompletionTokensDetails.DESCRIPTOR)
_PROMPT_DETAILS: Final = field_names(pb.PromptTokensDetails.DESCRIPTOR)

# What a provider adds must not pass for a field that we state ourselves.
_OWN_FIELDS: Final[dict[str, frozenset[str]]] = {
    message.DESCRIPTOR.name: field_names(message.DESCRIPTOR)
    for message in (
        pb.ChatCompletion,
        pb.ChatCompletionChunk,
        pb.Choice,
        pb.ChunkChoice,
        pb.AssistantMessage,
        pb.Delta,
        pb.Usage,
    )
}
_VERDICTS: Final = frozenset({"prompt_filter_results", "content_filter_results"})


Extensible: TypeAlias = (
    pb.ChatCompletion
    | pb.ChatCompletionChunk
    | pb.Choice
    | pb.ChunkChoice
    | pb.AssistantMessage
    | pb.Delta
    | pb.Usage
)


def put_extra(message: Extensible, fields: Iterable[tuple[str, str]]) -> None:
    """Writes fields that a provider added; its verdicts on content have fields of their own."""
    own = _OWN_FIELDS[message.DESCRIPTOR.name]
    for name, text in fields:
        if name not in own:
            message.extra[name] = text
        elif name in _VERDICTS:
            setattr(message, name, text)


def logprobs(text: Iterable[TokenLogprob], refusal: Iterable[TokenLogprob]) -> pb.ChatLogprobs:
    """Log probabilities of a choice or of its next tokens."""
    return pb.ChatLogprobs(content=[_token(token) for token in text], refusal=[_token(token) for token in refusal])


def _token(token: TokenLogprob) -> pb.TokenLogprob:
    return pb.TokenLogprob(
        token=token.token,
        logprob=token.logprob,
        bytes=token.bytes or (),
        top_logprobs=[
            pb.TopLogprob(token=top.token, logprob=top.logprob, bytes=top.bytes or ()) for top in token.top
        ],
    )


def annotation(event: UrlCitation | OpaqueAnnotation) -> content_pb2.Annotation:
    """A source."""
    if isinstance(event, UrlCitation):
        cited = content_pb2.UrlCitation(
            start_index=event.start_index, end_index=event.end_index, url=event.url, title=event.title
        )
        return content_pb2.Annotation(url_citation=cited)
    return content_pb2.Annotation(opaque=content_pb2.Opaque(type=event.type, json=event.json))


def reasoning_detail(text: str, kind: str, seal: ReasoningSeal, index: int) -> content_pb2.ReasoningDetail:
    """A sealed piece of reasoning, which has to come back; `index` counts a message's pieces."""
    detail = content_pb2.ReasoningDetail(format=seal.format, id=seal.id, index=index, signature=seal.signature)
    if seal.encrypted is not None:
        detail.type = "reasoning.encrypted"
        detail.data = seal.encrypted
    elif kind == "summary":
        detail.type = "reasoning.summary"
        detail.summary = text
    else:
        detail.type = "reasoning.text"
        detail.text = text
    return detail


def put_usage(message: pb.Usage, event: Usage) -> None:
    """Writes the tokens used; what the provider did not say stays unset, a zero that it said stays a zero."""
    message.prompt_tokens = event.input_tokens
    message.completion_tokens = event.output_tokens
    message.total_tokens = event.total_tokens
    if event.cost is not None:
        message.cost = decimal_text(event.cost.amount)
        message.currency = event.cost.currency
    if event.extra:
        put_extra(message, event.extra)
    # Both stay unset until something is written into them.
    prompt, completion = message.prompt_tokens_details, message.completion_tokens_details
    if event.cached_tokens is not None:
        prompt.cached_tokens = event.cached_tokens
    if event.cache_write_tokens is not None:
        prompt.cache_write_tokens = event.cache_write_tokens
    if event.reasoning_tokens is not None:
        completion.reasoning_tokens = event.reasoning_tokens
    for name, count in event.details:
        side, _, field = name.partition(".")
        if side == "completion" and field in _COMPLETION_DETAILS:
            setattr(completion, field, count)
        elif side == "prompt" and field in _PROMPT_DETAILS:
            setattr(prompt, field, count)
        else:
            message.extra[name] = str(count)
