"""Events are held to the types that they declare before they leave the upstream."""

from __future__ import annotations

import time
from typing import Any

import pytest

from adapters.providers.sound import checked
from service.domain.events import (
    AudioDelta,
    Event,
    Extra,
    Finish,
    FinishReason,
    ReasoningSeal,
    Start,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    TopToken,
    UrlCitation,
    Usage,
)
from service.domain.failure import FailureKind, UpstreamError

LIKELY = TokenLogprob("a", -0.5, (97,), (TopToken("b", -1, None), TopToken("a", -0.5, (97,))))
SOUND: list[Event] = [
    Start("id", "model", 1763780400, None, "default"),
    Start("id", "model", 2**40),
    TextDelta("a", 0, (LIKELY,)),
    TextDelta("", 2**31 - 1),
    ToolCallStart(0, "call", "name"),
    ToolCallDelta(3, "{}"),
    ReasoningSeal("format", signature="s"),
    UrlCitation("https://example.com", "", -1, 7),
    AudioDelta(expires_at=2**33),
    Finish(FinishReason.STOP, "stop"),
    Usage(1, 2, 3, cached_tokens=0, details=(("prompt.audio_tokens", 4),), extra=(("x", "{}"),)),
    Extra("answer", (("name", "1"),)),
]


def wrong(kind: Any, *values: Any, **more: Any) -> Event:
    event: Event = kind(*values, **more)
    return event


def test_events_that_hold_what_they_declare_pass_as_the_same_object() -> None:
    assert checked(SOUND) is SOUND
    assert checked(()) == ()


@pytest.mark.parametrize(
    ("event", "place"),
    [
        (wrong(Start, 7, "m"), "Start.id"),
        (wrong(Start, "id", None), "Start.model"),
        (wrong(Start, "id", "m", 2**60), "Start.created"),
        (wrong(Start, "id", "m", service_tier=["x"]), "Start.service_tier"),
        (wrong(TextDelta, None), "TextDelta.text"),
        (wrong(TextDelta, "a", True), "TextDelta.choice"),
        (wrong(TextDelta, "a", -1), "TextDelta.choice"),
        (wrong(TextDelta, "a", 2**31), "TextDelta.choice"),
        (wrong(TextDelta, "a", 0, (TokenLogprob("a", "x"),)), "TextDelta.logprobs"),  # type: ignore[arg-type]
        (wrong(TextDelta, "a", 0, [LIKELY]), "TextDelta.logprobs"),
        (wrong(ToolCallStart, 0, "id", {}), "ToolCallStart.name"),
        (wrong(ToolCallStart, 0, "id", "n", "robbery"), "ToolCallStart.kind"),
        (wrong(ToolCallDelta, 0, {"a": 1}), "ToolCallDelta.arguments"),
        (wrong(Finish, "stop"), "Finish.reason"),
        (wrong(Usage, 1.5, 2, 3), "Usage.input_tokens"),
        (wrong(Usage, 1, -2, 3), "Usage.output_tokens"),
        (wrong(Usage, 1, 2, 2**31), "Usage.total_tokens"),
        (wrong(Usage, 1, 2, 3, details=(("a", "b"),)), "Usage.details"),
        (wrong(Extra, "answer", (("name", 1),)), "Extra.fields"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_that_cannot_stand_there_is_a_protocol_failure_that_names_the_place(
    event: Event, place: str
) -> None:
    with pytest.raises(UpstreamError) as error:
        checked([SOUND[0], event])
    assert error.value.failure.kind is FailureKind.PROTOCOL
    assert error.value.failure.message == f"the provider's answer holds a value that can't stand there ({place})"


def test_a_token_of_text_is_checked_in_less_than_a_microsecond() -> None:
    tokens = [TextDelta("token") for _ in range(1000)]
    best = 1.0
    for _ in range(20):
        began = time.perf_counter()
        checked(tokens)
        best = min(best, time.perf_counter() - began)
    assert best / 1000 < 1e-6, f"{best * 1e6:.0f} ns"
    print(f"{best * 1e6:.0f} ns")
