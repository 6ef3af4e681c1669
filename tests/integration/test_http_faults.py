"""What a provider does wrong, as an HTTP client hears of it: status, code and headers of the catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

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
from adapters.providers.simulator import Reason as Said
from service.domain.calls import Principal
from service.domain.errors import ERRORS, Reason
from service.edge.admission import Admission
from service.edge.calls import Calls, DeadlineLimits
from service.edge.http_calls import HttpCall, HttpCalls
from service.edge.http_server import HttpOptions, HttpServer
from tests.support.http_door import Door, body, http_door
from tests.support.running import ALPHA_KEY, BETA_KEY

QUICK = {"upstream": {"connect_seconds": 1, "first_byte_seconds": 1, "idle_seconds": 1}}

# (fault, reason, retried by clients)
BEFORE: list[tuple[Fault, Reason, bool]] = [
    (HttpError(400, Said.INVALID_REQUEST), Reason.PROVIDER_REJECTED, False),
    (CONTEXT_LENGTH, Reason.CONTEXT_LENGTH_EXCEEDED, False),
    (INVALID_KEY, Reason.PROVIDER_AUTH_FAILED, False),
    (HttpError(403, Said.FORBIDDEN), Reason.PROVIDER_AUTH_FAILED, False),
    (HttpError(404, Said.NOT_FOUND), Reason.PROVIDER_MODEL_MISSING, False),
    (PAYMENT_REQUIRED, Reason.PROVIDER_QUOTA_SPENT, False),
    (rate_limited(60), Reason.PROVIDER_RATE_LIMITED, True),
    (rate_limited(None), Reason.PROVIDER_RATE_LIMITED, False),
    (SERVER_ERROR, Reason.PROVIDER_UNAVAILABLE, False),
    (UNAVAILABLE, Reason.PROVIDER_UNAVAILABLE, False),
    (OVERLOADED, Reason.PROVIDER_UNAVAILABLE, False),
    (Garbage(), Reason.PROVIDER_BROKEN_ANSWER, False),
    (ErrorIn200(), Reason.PROVIDER_UNAVAILABLE, False),
    (SlowFirstByte(5), Reason.PROVIDER_TIMEOUT, False),
    (SlowFirstByte(5, headers_first=True), Reason.PROVIDER_TIMEOUT, False),
    (Reset(None), Reason.PROVIDER_UNAVAILABLE, False),
    (HttpError(413, Said.INVALID_REQUEST), Reason.BODY_TOO_LARGE, False),
    (HttpError(418, Said.SERVER_ERROR), Reason.PROVIDER_UNAVAILABLE, False),
]

AFTER: list[tuple[Fault, Reason]] = [
    (Cut(2), Reason.PROVIDER_BROKEN_ANSWER),
    (Stall(2), Reason.PROVIDER_TIMEOUT),
    (Garbage(2), Reason.PROVIDER_BROKEN_ANSWER),
    (ErrorIn200(2), Reason.PROVIDER_UNAVAILABLE),
    (Reset(2), Reason.PROVIDER_BROKEN_ANSWER),
]


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with http_door(tmp_path, QUICK) as opened:
        yield opened


def upstream(door: Door, model: str) -> Simulator:
    return door.up.alpha if model == "sim/alpha" else door.up.beta


@pytest.mark.parametrize("model", ["sim/alpha", "sim/beta"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fault", "reason", "retry"), BEFORE, ids=lambda value: str(value)[:50])
async def test_a_fault_before_any_output_has_its_status_and_one_attempt(
    door: Door, model: str, stream: bool, fault: Fault, reason: Reason, retry: bool
) -> None:
    upstream(door, model).script(Script(text="a b c d e f g h", fault=fault))
    answer = await door.post(body(model, stream=stream))
    assert answer.error["reason"] == reason, answer.error
    assert answer.status == ERRORS[reason].http
    assert answer.error["type"] == ERRORS[reason].openai_type
    assert answer.headers["x-should-retry"] == ("true" if retry else "false")
    assert ("retry-after" in answer.headers) == retry
    assert answer.headers["x-provider-slug"] == model.removeprefix("sim/")
    assert ALPHA_KEY not in answer.raw.decode()
    assert BETA_KEY not in answer.raw.decode()
    assert len(upstream(door, model).calls) == 1


@pytest.mark.parametrize("model", ["sim/alpha", "sim/beta"])
@pytest.mark.parametrize(("fault", "reason"), AFTER, ids=lambda value: str(value)[:50])
async def test_a_fault_after_output_is_told_in_the_stream_and_never_a_clean_end(
    door: Door, model: str, fault: Fault, reason: Reason
) -> None:
    upstream(door, model).script(Script(text="one two three four", pace=0.03, fault=fault))
    door.up.beta.enqueue(Script(text="must not be heard"), model="other")
    streamed = await door.stream(body(model))
    assert streamed.text == "one two"
    assert streamed.error is not None
    assert streamed.error["reason"] == reason
    assert not streamed.done
    assert len(upstream(door, model).calls) == 1


@pytest.mark.parametrize("fault", [Cut(), Reset()])
async def test_a_whole_answer_that_is_cut_is_an_error(door: Door, fault: Fault) -> None:
    door.up.alpha.script(Script(text="a b c d e f", fault=fault))
    answer = await door.post(body())
    assert (answer.status, answer.error["reason"]) == (502, "PROVIDER_BROKEN_ANSWER")


async def test_a_provider_that_refuses_connections_is_unavailable(door: Door) -> None:
    await door.up.alpha.refuse_connections()
    answer = await door.post(body())
    assert answer.status == 503
    assert answer.error["reason"] == "PROVIDER_UNAVAILABLE"
    cooling = await door.post(body())
    assert cooling.status == 503
    assert cooling.error["reason"] == "NO_ENDPOINT_AVAILABLE"
    assert cooling.headers["x-should-retry"] == "true"
    assert int(cooling.headers["retry-after"]) <= 30
    assert [row["endpoint"] for row in cooling.error["endpoints"]] != []


async def test_spent_credit_is_not_the_callers_fault_and_not_retried(door: Door) -> None:
    door.up.alpha.script(Script(fault=insufficient_quota()))
    answer = await door.post(body())
    assert answer.status == 503
    assert answer.error["code"] == "insufficient_quota"
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("retry_after", ["soon", "-1", "1e400", "inf", "nan", "9" * 400, "\u00e9"])
async def test_a_retry_after_that_says_nothing_is_no_fault_of_ours(door: Door, retry_after: str) -> None:
    door.up.alpha.script(Script(fault=rate_limited(retry_after)))
    answer = await door.post(body())
    assert answer.status == 429
    assert "retry-after" not in answer.headers or answer.headers["retry-after"].isdigit()


async def test_policy_that_leaves_nobody_is_a_503_that_clients_do_not_retry(door: Door) -> None:
    answer = await door.post(body("sim/both", provider={"data_residency": "de"}))
    assert answer.status == 503
    assert answer.error["reason"] == "NO_ENDPOINT_ALLOWED"
    assert answer.headers["x-should-retry"] == "false"
    assert len(answer.error["endpoints"]) == 2
    assert door.up.alpha.calls == door.up.beta.calls == ()


async def test_a_field_that_no_endpoint_can_express_is_a_400_that_names_it(door: Door) -> None:
    answer = await door.post(body("sim/beta", logit_bias={"7": 1}))
    assert answer.status == 400
    assert answer.error["param"] == "logit_bias"
    assert answer.error["code"] == "unsupported_parameter"
    assert door.up.beta.calls == ()


async def test_an_unexpected_exception_is_a_500_without_its_message_and_in_a_stream_an_event() -> None:
    secret = "the prompt of somebody"

    class Nobody:
        def request_offered(self, door: str, method: str, *, asks: bool) -> None: ...
        def request_started(self) -> None: ...
        def request_finished(self, door: str, method: str, outcome: str, seconds: float) -> None:
            outcomes.append(outcome)

        def request_refused(self, door: str, method: str, outcome: str) -> None: ...

    class Anyone:
        def authenticate(self, presented: str | None) -> Principal:
            del presented
            return Principal("local")

    async def crash(http: HttpCall) -> web.StreamResponse:
        if http.request.query.get("stream"):
            http.stream = web.StreamResponse()
            await http.stream.prepare(http.request)
            await http.stream.write(b"data: {}\n\n")
        raise ValueError(secret)

    outcomes: list[str] = []
    loop = asyncio.get_running_loop()
    calls = HttpCalls(Calls(Anyone(), DeadlineLimits, loop.time), Admission(Nobody(), loop.time))
    app = web.Application()
    app.router.add_get("/v1/crash", calls.route("crash", crash))
    server = HttpServer(app, HttpOptions(port=0))
    with capture_logs() as logs:
        await server.start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            async with session.get("/v1/crash") as response:
                assert response.status == 500
                told = await response.text()
                assert response.headers["x-request-id"] in told
            async with session.get("/v1/crash?stream=1") as response:
                assert response.status == 200
                streamed = await response.text()
        await server.stop()
    assert streamed.startswith('data: {}\n\ndata: {"error":{"code":"server_error"')
    assert streamed.endswith("}\n\n")
    assert outcomes == ["INTERNAL", "INTERNAL"]
    assert secret not in told + streamed + str(logs)
    assert [entry["error_type"] for entry in logs if entry["event"] == "request_crashed"] == ["ValueError"] * 2
