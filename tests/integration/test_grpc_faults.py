"""Every fault of a provider, through the gRPC door: each ends in the status that the error catalogue names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from eurouter.v1 import chat_pb2
from grpc import aio

from adapters.providers.simulator import (
    CONTEXT_LENGTH,
    INVALID_KEY,
    OVERLOADED,
    PAYMENT_REQUIRED,
    SERVER_ERROR,
    UNAVAILABLE,
    Cut,
    ErrorIn200,
    Fault,
    Garbage,
    HttpError,
    Reset,
    Script,
    Simulator,
    SlowFirstByte,
    Stall,
    insufficient_quota,
    rate_limited,
)
from adapters.providers.simulator import Reason as Why
from service.domain.errors import ERRORS, Reason
from tests.support.running import ALPHA_KEY, BETA_KEY, InProcess, ask, running_service
from tests.support.statuses import reason_of, retry_delay_of, trailers_of

DIALECTS = ("alpha", "beta")
RPCS = ("unary", "stream")
QUICK = {"upstream": {"connect_seconds": 1, "first_byte_seconds": 1, "idle_seconds": 1, "total_seconds": 5}}

EARLY: dict[str, tuple[Fault, Reason]] = {
    "cut before the first token": (Cut(0), Reason.PROVIDER_BROKEN_ANSWER),
    "stall before the first token": (Stall(0), Reason.PROVIDER_TIMEOUT),
    "garbage": (Garbage(0), Reason.PROVIDER_BROKEN_ANSWER),
    "error in a 200": (ErrorIn200(), Reason.PROVIDER_UNAVAILABLE),
    "error event first": (ErrorIn200(0), Reason.PROVIDER_UNAVAILABLE),
    "slow first byte": (SlowFirstByte(30), Reason.PROVIDER_TIMEOUT),
    "slow first byte after headers": (SlowFirstByte(30, headers_first=True), Reason.PROVIDER_TIMEOUT),
    "429": (rate_limited(30), Reason.PROVIDER_RATE_LIMITED),
    "429 without a time": (rate_limited(None), Reason.PROVIDER_RATE_LIMITED),
    "spent credit": (insufficient_quota(), Reason.PROVIDER_QUOTA_SPENT),
    "529": (OVERLOADED, Reason.PROVIDER_UNAVAILABLE),
    "500": (SERVER_ERROR, Reason.PROVIDER_UNAVAILABLE),
    "503": (UNAVAILABLE, Reason.PROVIDER_UNAVAILABLE),
    "401": (INVALID_KEY, Reason.PROVIDER_AUTH_FAILED),
    "402": (PAYMENT_REQUIRED, Reason.PROVIDER_QUOTA_SPENT),
    "403": (HttpError(403, Why.FORBIDDEN), Reason.PROVIDER_AUTH_FAILED),
    "404": (HttpError(404, Why.NOT_FOUND), Reason.PROVIDER_MODEL_MISSING),
    "400": (HttpError(400, Why.INVALID_REQUEST), Reason.PROVIDER_REJECTED),
    "400 context": (CONTEXT_LENGTH, Reason.CONTEXT_LENGTH_EXCEEDED),
    "413": (HttpError(413, Why.INVALID_REQUEST), Reason.BODY_TOO_LARGE),
    "418": (HttpError(418, Why.INVALID_REQUEST), Reason.PROVIDER_UNAVAILABLE),
    "504": (HttpError(504), Reason.PROVIDER_TIMEOUT),
    "502 as HTML": (HttpError(502, body=b"<html>bad gateway</html>"), Reason.PROVIDER_UNAVAILABLE),
    "reset before a byte": (Reset(None), Reason.PROVIDER_UNAVAILABLE),
}
"""Before the commit point, streamed or not."""

# Anthropic says of spent credit that the request is invalid.
SPELT_OTHERWISE = {("beta", "spent credit"): insufficient_quota(400)}

LATE: dict[str, tuple[Fault, Reason]] = {
    "cut": (Cut(3), Reason.PROVIDER_BROKEN_ANSWER),
    "stall": (Stall(3), Reason.PROVIDER_TIMEOUT),
    "garbage": (Garbage(3), Reason.PROVIDER_BROKEN_ANSWER),
    "error event": (ErrorIn200(3), Reason.PROVIDER_UNAVAILABLE),
    "reset": (Reset(3), Reason.PROVIDER_BROKEN_ANSWER),
}
"""After the commit point: only a stream can get so far."""


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with running_service(tmp_path, QUICK) as running:
        yield running


async def read(up: InProcess, rpc: str, request: chat_pb2.CreateChatCompletionRequest) -> tuple[str, Any]:
    """The text that came, and the error with which the call ended (None: it ended well)."""
    text = ""
    try:
        if rpc == "unary":
            answer = await up.chat.CreateChatCompletion(request)
            return answer.choices[0].message.content, None
        async for chunk in up.chat.StreamChatCompletion(request):
            text += "".join(choice.delta.content for choice in chunk.choices)
    except aio.AioRpcError as error:
        return text, error
    return text, None


def simulator(up: InProcess, dialect: str) -> Simulator:
    return up.alpha if dialect == "alpha" else up.beta


def assert_is(error: Any, reason: Reason) -> None:
    assert error is not None, "the call ended well"
    assert reason_of(error) == reason.value, error.details()
    assert error.code() is grpc.StatusCode[ERRORS[reason].grpc]
    waits = retry_delay_of(error) is not None and ERRORS[reason].retryable
    assert (trailers_of(error)["grpc-retry-pushback-ms"] != "-1") is waits
    for key in (ALPHA_KEY, BETA_KEY):
        assert key not in repr(error)


def assert_came(text: str, fault: str) -> None:
    """A reset takes along what the client's kernel had not handed over yet; nothing else loses anything."""
    assert text == "abc" or (fault == "reset" and text and "abc".startswith(text))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("fault", EARLY)
async def test_a_fault_before_the_commit_point_is_a_status(
    up: InProcess, dialect: str, rpc: str, fault: str
) -> None:
    given, reason = EARLY[fault]
    given = SPELT_OTHERWISE.get((dialect, fault), given)
    simulator(up, dialect).script(Script(tokens=8, fault=given))
    text, error = await read(up, rpc, ask(f"sim/{dialect}"))
    assert text == ""
    assert_is(error, reason)
    assert trailers_of(error)["x-provider-slug"] == dialect
    assert len(simulator(up, dialect).calls) == 1


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_error_event_says_what_it_is_without_a_status(up: InProcess, dialect: str) -> None:
    simulator(up, dialect).script(Script(tokens=8, fault=ErrorIn200(0, Why.RATE_LIMITED)))
    _, error = await read(up, "stream", ask(f"sim/{dialect}"))
    assert_is(error, Reason.PROVIDER_RATE_LIMITED)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fault", LATE)
async def test_a_fault_after_the_commit_point_ends_the_stream_with_a_status(
    up: InProcess, dialect: str, fault: str
) -> None:
    given, reason = LATE[fault]
    simulator(up, dialect).script(Script(text=("a", "b", "c", "d", "e"), pace=0.005, fault=given))
    text, error = await read(up, "stream", ask(f"sim/{dialect}"))
    assert_came(text, fault)
    assert_is(error, reason)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fault", LATE)
async def test_half_a_whole_answer_is_an_error_and_never_half_an_answer(
    up: InProcess, dialect: str, fault: str
) -> None:
    given, reason = LATE[fault]
    simulator(up, dialect).script(Script(text=("a", "b", "c", "d", "e"), fault=given))
    text, error = await read(up, "unary", ask(f"sim/{dialect}"))
    assert text == ""
    assert_is(error, reason)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("rpc", RPCS)
async def test_a_provider_that_refuses_connections_is_unavailable(up: InProcess, dialect: str, rpc: str) -> None:
    await simulator(up, dialect).refuse_connections()
    text, error = await read(up, rpc, ask(f"sim/{dialect}"))
    assert text == ""
    assert_is(error, Reason.PROVIDER_UNAVAILABLE)


FALLS_BACK = {name for name, (_, reason) in EARLY.items() if ERRORS[reason].fault != "caller"} - {"418"}


@pytest.mark.parametrize(
    ("model", "first", "second"), [("sim/both", "alpha", "beta"), ("sim/reverse", "beta", "alpha")]
)
@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize(
    "fault", ["429", "529", "401", "garbage", "error event first", "cut before the first token"]
)
async def test_before_the_commit_point_the_other_dialect_takes_over(
    up: InProcess, model: str, first: str, second: str, rpc: str, fault: str
) -> None:
    assert fault in FALLS_BACK
    simulator(up, first).script(Script(tokens=4, fault=EARLY[fault][0]))
    simulator(up, second).script(Script(text="the other one", reasoning="hm"))
    text, error = await read(up, rpc, ask(model))
    assert (text, error) == ("the other one", None)
    assert len(simulator(up, first).calls) == len(simulator(up, second).calls) == 1


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("fault", ["400", "400 context", "418"])
async def test_what_would_fail_everywhere_or_is_unknown_is_not_tried_elsewhere(
    up: InProcess, rpc: str, fault: str
) -> None:
    up.alpha.script(Script(fault=EARLY[fault][0]))
    _, error = await read(up, rpc, ask("sim/both"))
    assert_is(error, EARLY[fault][1])
    assert not up.beta.calls


@pytest.mark.parametrize("fault", LATE)
async def test_after_the_commit_point_nothing_falls_back(up: InProcess, fault: str) -> None:
    given, reason = LATE[fault]
    up.alpha.script(Script(text=("a", "b", "c", "d"), pace=0.005, fault=given))
    text, error = await read(up, "stream", ask("sim/both"))
    assert_came(text, fault)
    assert_is(error, reason)
    assert not up.beta.calls


@pytest.mark.parametrize("rpc", RPCS)
async def test_when_both_fail_each_is_named_with_its_reason(up: InProcess, rpc: str) -> None:
    up.alpha.script(Script(fault=SERVER_ERROR))
    up.beta.script(Script(fault=OVERLOADED))
    _, error = await read(up, rpc, ask("sim/both"))
    assert_is(error, Reason.PROVIDER_UNAVAILABLE)
    assert trailers_of(error)["x-fallback-count"] == "1"
    _, again = await read(up, rpc, ask("sim/both"))
    assert_is(again, Reason.NO_ENDPOINT_AVAILABLE)
    assert retry_delay_of(again) is not None
    assert len(up.alpha.calls) == len(up.beta.calls) == 1, "both cool down"
