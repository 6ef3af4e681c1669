"""A whole answer as events."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import orjson

from service.domain.events import VISIBLE, Event, Extra, Finish, TextDelta
from service.domain.failure import Failure, FailureKind, UpstreamError

from .answer import ANSWER_FIELDS, CHOICE_FIELDS, FINISH, AnswerReader, start_of
from .message import MESSAGE_FIELDS
from .usage import read_usage

Scope: TypeAlias = Literal["answer", "choice", "message"]
_SPOKEN: Final = frozenset({"role", "content"})


def protocol_error(what: str) -> UpstreamError:
    """The provider did not answer in this dialect; `what` holds nothing of the answer's content."""
    return UpstreamError(Failure(FailureKind.PROTOCOL, f"the provider's answer is not a chat completion: {what}"))


def parse(data: bytes) -> dict[str, Any]:
    """One JSON object.

    Raises:
        UpstreamError: PROTOCOL.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise protocol_error("invalid JSON") from None
    if not isinstance(document, dict):
        raise protocol_error("no JSON object")
    return document


def read(body: bytes) -> list[Event]:
    """The events of a whole answer.

    Raises:
        UpstreamError: an error in the answer's place (its own kind), PROTOCOL.
    """
    document = parse(body)
    events: list[Event] = []
    try:
        if (plain := _one_text(document)) is not None:
            return plain
        reader = AnswerReader()
        reader.take(document, events)
        if not reader.has_choices:
            raise protocol_error("no choices")
        reader.close(events)
        if not reader.finished and not any(isinstance(event, VISIBLE) for event in events):
            # Some look-alikes leave the reason out; one that says nothing either has no answer.
            raise protocol_error("no choice that ended or said anything")
    except (TypeError, KeyError, AttributeError, ValueError) as broken:
        raise protocol_error(f"a {type(broken).__name__} in its shape") from None
    return events


def _one_text(document: dict[str, Any]) -> list[Event] | None:
    """The events of an answer that is one text with an end and nothing else of ours, as most are; else None.

    A reader keeps books that such an answer has no use for, at twice the cost of all the rest.
    """
    choices = document.get("choices")
    if (
        type(choices) is not list
        or len(choices) != 1
        or document.get("error")
        or document.get("object") == "error"
    ):
        return None
    choice = choices[0]
    if type(choice) is not dict or choice.get("delta") is not None:
        return None
    if choice.get("logprobs") or choice.get("error"):
        return None
    message, index, word = choice.get("message"), choice.get("index", 0), choice.get("finish_reason")
    if type(message) is not dict or type(index) is not int or type(word) is not str or word not in FINISH:
        return None
    text = message.get("content")
    if type(text) is not str or not text:
        return None
    for name, value in message.items():
        if value and name not in _SPOKEN and name in MESSAGE_FIELDS:
            return None
    events: list[Event] = [start_of(document), TextDelta(text, index)]
    if not MESSAGE_FIELDS.issuperset(message):
        events += _added("message", index, message, MESSAGE_FIELDS)
    if not CHOICE_FIELDS.issuperset(choice):
        events += _added("choice", index, choice, CHOICE_FIELDS)
    events.append(Finish(FINISH[word], word, index))
    usage = document.get("usage")
    if usage:
        events.append(read_usage(usage))
    if not ANSWER_FIELDS.issuperset(document):
        events += _added("answer", 0, document, ANSWER_FIELDS)
    return events


def _added(scope: Scope, index: int, found: dict[str, Any], known: frozenset[str]) -> list[Event]:
    """What a provider added at one place, such as Azure's filter results."""
    fields = tuple(
        (name, orjson.dumps(value).decode())
        for name, value in found.items()
        if name not in known and value is not None
    )
    return [Extra(scope, fields, index)] if fields else []
