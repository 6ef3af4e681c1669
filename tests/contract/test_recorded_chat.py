"""Recorded exchanges with OpenAI and compatible servers: every answer and stream is read."""

from __future__ import annotations

import json
import lzma
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.providers.openai_chat import DIALECT
from service.coalesce import merge
from service.domain.events import Event, Finish, TextDelta, ToolCallDelta, ToolCallStart
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fold import fold
from tests.contract.sample import cut_every, decode
from tests.support.sdk_readings import Reading, openais, openais_stream, ours

KINDS = ("openai.chat", "compat.chat")

# The recorder lost these streams' bodies: status 200 and nothing else, which is a cut stream.
EMPTY_BODIES = 3
# What each recorded error must be taken for, by status and code.
ERRORS = {
    (400, "invalid_image_url"): FailureKind.INVALID_REQUEST,
    (401, "invalid_api_key"): FailureKind.AUTH,
    (404, "model_not_found"): FailureKind.MODEL_MISSING,
}

Exchange = dict[str, Any]


@pytest.fixture(scope="module")
def exchanges(shared: Path) -> list[Exchange]:
    with lzma.open(shared / "fixtures" / "recorded-exchanges.jsonl.xz", "rt", encoding="utf-8") as lines:
        return [exchange for line in lines if (exchange := json.loads(line))["kind"] in KINDS]


def bodies(exchanges: list[Exchange], *, streamed: bool) -> list[tuple[str, bytes]]:
    """(where it was recorded, body) of the answers with status 200 that are streams, or are not."""
    return [
        (f"{exchange['file']} {exchange['i']}", exchange["body"].encode())
        for exchange in exchanges
        if exchange["status"] == 200 and exchange["body"].lstrip().startswith("{") is not streamed
    ]


def test_every_recorded_answer_is_read_with_its_text_calls_and_counts(exchanges: list[Exchange]) -> None:
    for where, body in bodies(exchanges, streamed=False):
        document = json.loads(body)
        folded = fold(DIALECT.read(body))
        assert folded.start.id == document["id"], where
        assert folded.usage is not None, where
        assert folded.usage.input_tokens == document["usage"]["prompt_tokens"], where
        assert len(folded.choices) == len(document["choices"]), where
        for choice, recorded in zip(folded.choices, document["choices"], strict=True):
            message = recorded.get("message", {})
            assert choice.text == message.get("content"), where
            assert choice.refusal == message.get("refusal"), where
            # An early vision model gave `finish_details` and no finish_reason: absent stays absent.
            assert (choice.finish.raw if choice.finish else None) == recorded.get("finish_reason"), where
            called = message.get("tool_calls") or []
            if message.get("function_call"):
                called = [{"function": message["function_call"]}]
            inner = [call.get("function") or call["custom"] for call in called]
            expected = [(call["name"], call.get("arguments", call.get("input"))) for call in inner]
            assert [(call.name, call.arguments) for call in choice.calls] == expected, where


def test_every_recorded_answer_and_stream_says_what_openais_sdk_reads(exchanges: list[Exchange]) -> None:
    for streamed, read, theirs in ((False, DIALECT.read, openais), (True, decoded, openais_stream)):
        for where, body in bodies(exchanges, streamed=streamed):
            expected = theirs(body) if body else []
            told = ours(read(body)) if body else []
            got = [with_ids_of(mine, other) for mine, other in zip(told, expected, strict=True)]
            assert got == expected, where


def decoded(body: bytes) -> list[Event]:
    return decode(DIALECT, [body])


def with_ids_of(mine: Reading, theirs: Reading) -> Reading:
    """`mine` without ids where OpenAI gave none: a `function_call` of old has one of ours."""
    given = {at for at, (id_, _, _) in enumerate(theirs.calls) if id_}
    calls = [(id_ if at in given else "", *call) for at, (id_, *call) in enumerate(mine.calls)]
    return replace(mine, calls=tuple(calls))


def test_every_recorded_stream_is_decoded_alike_at_any_split(exchanges: list[Exchange]) -> None:
    chance = random.Random(20)
    empty = 0
    for where, body in bodies(exchanges, streamed=True):
        if not body:
            with pytest.raises(UpstreamError) as error:
                decode(DIALECT, [])
            assert error.value.failure.kind is FailureKind.CUT
            empty += 1
            continue
        events = decode(DIALECT, [body])
        for size in (chance.randint(1, 12), chance.randint(13, 400)):
            assert merge(decode(DIALECT, cut_every(body, size))) == merge(events), where
        assert any(isinstance(event, Finish) for event in events), where
        assert any(isinstance(event, TextDelta | ToolCallStart) for event in events), where
    assert empty == EMPTY_BODIES


def test_every_recorded_stream_folds_to_what_its_chunks_say(exchanges: list[Exchange]) -> None:
    for where, body in bodies(exchanges, streamed=True):
        if not body:
            continue
        lines = (line.removeprefix(b"data:").strip() for line in body.split(b"\n") if line.startswith(b"data:"))
        chunks = [json.loads(line) for line in lines if line != b"[DONE]"]
        deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"] if "delta" in choice]
        events = decode(DIALECT, [body])
        text = "".join(event.text for event in events if isinstance(event, TextDelta))
        assert text == "".join(delta.get("content") or "" for delta in deltas), where
        fragments = [call["function"] for delta in deltas for call in delta.get("tool_calls") or []]
        arguments = "".join(event.arguments for event in events if isinstance(event, ToolCallDelta))
        assert arguments == "".join(fragment.get("arguments") or "" for fragment in fragments), where
        usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
        usage = fold(events).usage
        assert (usage.total_tokens if usage else None) == (usages[-1]["total_tokens"] if usages else None), where


def test_no_recorded_stream_may_lose_its_end(exchanges: list[Exchange]) -> None:
    for where, body in bodies(exchanges, streamed=True):
        if body:
            with pytest.raises(UpstreamError) as error:
                decode(DIALECT, [body[: body.rindex(b"data:")]])
            assert error.value.failure.kind is FailureKind.CUT, where


def test_every_recorded_error_has_its_kind(exchanges: list[Exchange]) -> None:
    seen = set()
    for exchange in exchanges:
        if exchange["status"] != 200:
            body = exchange["body"].encode()
            code = json.loads(body)["error"]["code"]
            failure = DIALECT.classify(exchange["status"], exchange["headers"], body)
            assert failure.kind is ERRORS[(exchange["status"], code)]
            assert failure.code == code
            assert "sk-" not in failure.message
            seen.add((exchange["status"], code))
    assert seen == set(ERRORS)
