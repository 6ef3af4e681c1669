"""Chat over gRPC: answers, routing metadata, ids, trace context, and requests that can't be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from eurouter.v1 import catalog_pb2, chat_pb2, routing_pb2
from grpc import aio

from adapters.providers.simulator import UNAVAILABLE, HttpError, Script, SlowFirstByte, ToolCall, rate_limited
from tests.support.running import InProcess, Rows, ask, plain_channel, running_service, two_dialects
from tests.support.statuses import fields_of, info_of, reason_of, retry_delay_of, trailers_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
# Ten tokens read and eleven written by the simulator, at two euros a million.
COST = {"x-cost": "0.000042", "x-cost-currency": "EUR"}


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with running_service(tmp_path, {"commit_wait_seconds": 0.2}) as running:
        yield running


def text_of(chunks: list[chat_pb2.ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)


async def sent(call: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Initial and trailing metadata."""
    return dict(await call.initial_metadata()), dict(await call.trailing_metadata())


@pytest.mark.parametrize("model", ["sim/alpha", "sim/beta"])
async def test_a_whole_answer_comes_from_either_dialect(up: InProcess, model: str) -> None:
    for simulator in (up.alpha, up.beta):
        simulator.script(Script(text="Rhine, Danube and Loire"))
    answer = await up.chat.CreateChatCompletion(ask(model))
    assert answer.choices[0].message.content == "Rhine, Danube and Loire"
    assert answer.choices[0].finish_reason == chat_pb2.FINISH_REASON_STOP
    assert answer.provider == model.removeprefix("sim/")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


@pytest.mark.parametrize("model", ["sim/alpha", "sim/beta"])
async def test_a_stream_comes_from_either_dialect_and_joins_to_the_text(up: InProcess, model: str) -> None:
    for simulator in (up.alpha, up.beta):
        simulator.script(Script(text="Rhine, Danube and Loire", pace=0.005))
    call = up.chat.StreamChatCompletion(ask(model, stream_options={"include_usage": True}))
    chunks = [chunk async for chunk in call]
    assert text_of(chunks) == "Rhine, Danube and Loire"
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == [
        chat_pb2.FINISH_REASON_STOP
    ]
    assert chunks[-1].usage.total_tokens > 0
    assert not chunks[-1].choices
    assert await call.code() is grpc.StatusCode.OK


async def test_tool_calls_arrive_whole_and_streamed(up: InProcess) -> None:
    up.alpha.script(Script(tool_calls=(ToolCall("call_1", "get_weather", '{"city":"Paris"}'),)))
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    answer = await up.chat.CreateChatCompletion(ask(tools=tools))
    function = answer.choices[0].message.tool_calls[0].function
    assert (function.name, function.arguments) == ("get_weather", '{"city":"Paris"}')
    chunks = [chunk async for chunk in up.chat.StreamChatCompletion(ask(tools=tools))]
    pieces = [t.function for chunk in chunks for c in chunk.choices for t in c.delta.tool_calls]
    assert "".join(piece.arguments for piece in pieces) == '{"city":"Paris"}'


@pytest.mark.parametrize("rpc", ["CreateChatCompletion", "StreamChatCompletion"])
async def test_the_routing_decision_comes_in_the_trailers(up: InProcess, rpc: str) -> None:
    up.alpha.script(Script(fault=UNAVAILABLE))
    call = getattr(up.chat, rpc)(ask("sim/both:floor"))
    assert [message async for message in aiter_of(call)]
    initial, trailing = await sent(call)
    assert {name: value for name, value in trailing.items() if name.startswith("x-")} == {
        "x-request-id": trailing["x-request-id"],
        "x-provider-slug": "beta",
        "x-provider-id": "beta",
        "x-model-used": "sim/both",
        "x-model-variant": "floor",
        "x-routing-strategy": trailing["x-routing-strategy"],
        "x-fallback-count": "1",
        "x-model-fallback-count": "0",
        **COST,
    }
    assert trailing["x-routing-strategy"]
    assert (initial | COST if initial else trailing) == trailing, "a stream announces the same at its start"
    assert bool(initial) is (rpc == "StreamChatCompletion")


@pytest.mark.parametrize("rpc", ["CreateChatCompletion", "StreamChatCompletion"])
async def test_a_models_name_in_any_script_comes_in_the_trailers(tmp_path: Path, rpc: str) -> None:
    def rows(alpha: str, beta: str) -> Rows:
        rows = two_dialects(alpha, beta)
        rows["models"][0]["id"] = "sim/modèle-一"
        return rows

    async with running_service(tmp_path, catalog=rows) as up:
        call = getattr(up.chat, rpc)(ask("sim/modèle-一"))
        assert [message async for message in aiter_of(call)]
        _, trailing = await sent(call)
    assert trailing["x-model-used"] == "sim/mod%C3%A8le-%E4%B8%80"


async def test_a_streams_decision_waits_for_the_commit_point(up: InProcess) -> None:
    up.alpha.script(Script(fault=UNAVAILABLE))
    call = up.chat.StreamChatCompletion(ask("sim/both"))
    assert text_of([chunk async for chunk in call])
    initial, trailing = await sent(call)
    assert (initial["x-provider-slug"], initial["x-fallback-count"]) == ("beta", "1")
    assert trailing == initial | COST


async def test_a_decision_that_changed_after_the_headers_went_out_follows_in_the_trailers(up: InProcess) -> None:
    up.alpha.script(Script(first_byte_delay=0.5, fault=UNAVAILABLE))
    call = up.chat.StreamChatCompletion(ask("sim/both"))
    initial = dict(await call.initial_metadata())
    assert not up.beta.calls, "the headers went out before the first endpoint had failed"
    assert (initial["x-provider-slug"], initial["x-fallback-count"]) == ("alpha", "0")
    assert text_of([chunk async for chunk in call])
    trailing = dict(await call.trailing_metadata())
    assert (trailing["x-provider-slug"], trailing["x-fallback-count"]) == ("beta", "1")


async def test_a_failure_after_the_headers_went_out_names_the_last_endpoint_in_the_trailers(up: InProcess) -> None:
    for simulator in (up.alpha, up.beta):
        simulator.script(Script(first_byte_delay=0.3, fault=UNAVAILABLE))
    call = up.chat.StreamChatCompletion(ask("sim/both"))
    assert dict(await call.initial_metadata())["x-provider-slug"] == "alpha"
    with pytest.raises(aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    trailing = trailers_of(caught.value)
    assert (trailing["x-provider-slug"], trailing["x-fallback-count"]) == ("beta", "1")
    assert set(info_of(caught.value).metadata) >= {"endpoint.alpha/sim/both", "endpoint.beta/sim/both"}


@pytest.mark.parametrize("rpc", ["CreateChatCompletion", "StreamChatCompletion"])
async def test_the_callers_request_id_is_returned_and_sent_upstream(up: InProcess, rpc: str) -> None:
    call = getattr(up.chat, rpc)(ask(), metadata=(("x-request-id", "mine-42"),))
    assert [message async for message in aiter_of(call)]
    _, trailing = await sent(call)
    assert trailing["x-request-id"] == "mine-42"
    assert up.alpha.calls[0].headers["x-request-id"] == "mine-42"


@pytest.mark.parametrize("given", ["has a blank", "x" * 200])
async def test_a_malformed_request_id_is_replaced_in_the_answer_and_upstream(up: InProcess, given: str) -> None:
    call = up.chat.CreateChatCompletion(ask(), metadata=(("x-request-id", given),))
    made = dict(await call.trailing_metadata())["x-request-id"]
    assert made != given
    assert up.alpha.calls[0].headers["x-request-id"] == made


async def test_a_failed_call_returns_its_request_id_too(up: InProcess) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await up.chat.CreateChatCompletion(ask("no/such"), metadata=(("x-request-id", "mine-43"),))
    assert trailers_of(caught.value)["x-request-id"] == "mine-43"
    assert info_of(caught.value).metadata["request_id"] == "mine-43"


async def test_a_trace_goes_on_upstream_with_a_span_of_ours(up: InProcess) -> None:
    await up.chat.CreateChatCompletion(
        ask(), metadata=(("traceparent", PARENT), ("tracestate", "vendor=1,other=2"))
    )
    headers = up.alpha.calls[0].headers
    assert headers["traceparent"].startswith(f"00-{TRACE}-")
    assert headers["traceparent"] != PARENT
    assert headers["traceparent"].endswith("-01")
    assert headers["tracestate"] == "vendor=1,other=2"


async def test_a_call_without_a_trace_starts_one(up: InProcess) -> None:
    await up.chat.CreateChatCompletion(ask())
    await up.chat.CreateChatCompletion(ask())
    first, second = (call.headers["traceparent"].split("-")[1] for call in up.alpha.calls)
    assert first != second
    assert "tracestate" not in up.alpha.calls[0].headers


@pytest.mark.parametrize(("rpc", "stream"), [("CreateChatCompletion", True), ("StreamChatCompletion", False)])
async def test_a_stream_flag_that_contradicts_the_method_is_refused(up: InProcess, rpc: str, stream: bool) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await anext(aiter_of(getattr(up.chat, rpc)(ask(stream=stream))))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "stream" in fields_of(caught.value)
    assert not up.alpha.calls


@pytest.mark.parametrize(("rpc", "stream"), [("CreateChatCompletion", False), ("StreamChatCompletion", True)])
async def test_a_stream_flag_that_agrees_with_the_method_is_fine(up: InProcess, rpc: str, stream: bool) -> None:
    assert await anext(aiter_of(getattr(up.chat, rpc)(ask(stream=stream))))


async def aiter_of(call: Any) -> AsyncIterator[Any]:
    """The messages of a call with one answer or many."""
    if hasattr(call, "read"):
        async for message in call:
            yield message
    else:
        yield await call


@pytest.mark.parametrize("method", ["CreateChatCompletion", "StreamChatCompletion"])
@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"])
async def test_bytes_that_are_no_request_are_an_invalid_argument_of_ours(
    up: InProcess, method: str, data: bytes
) -> None:
    path = f"/eurouter.v1.ChatService/{method}"
    raw: Any = up.channel.unary_stream(path) if method.startswith("Stream") else up.channel.unary_unary(path)
    with pytest.raises(aio.AioRpcError) as caught:
        await anext(aiter_of(raw(data)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "eurouter.v1.CreateChatCompletionRequest" in (caught.value.details() or "")
    assert reason_of(caught.value) == "MALFORMED_BODY"


async def test_wrong_fields_are_named_by_their_json_paths(up: InProcess) -> None:
    request = ask(top_p=7, messages=[{"role": "user", "content": []}])
    with pytest.raises(aio.AioRpcError) as caught:
        await up.chat.CreateChatCompletion(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert {"top_p", "messages[0].content"} <= set(fields_of(caught.value))
    assert trailers_of(caught.value)["grpc-retry-pushback-ms"] == "-1"
    assert not up.alpha.calls


async def test_an_unknown_model_is_not_found(up: InProcess) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await up.chat.CreateChatCompletion(ask("no/such"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert reason_of(caught.value) == "MODEL_NOT_FOUND"


async def test_a_rate_limit_tells_how_long_to_wait(up: InProcess) -> None:
    up.alpha.script(Script(fault=rate_limited(42)))
    with pytest.raises(aio.AioRpcError) as caught:
        await up.chat.CreateChatCompletion(ask())
    error = caught.value
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (info_of(error).domain, reason_of(error)) == ("eurouter.dev", "PROVIDER_RATE_LIMITED")
    assert retry_delay_of(error) == 42
    assert trailers_of(error)["grpc-retry-pushback-ms"] == "42000"
    assert len(up.alpha.calls) == 1


async def test_a_providers_message_in_any_script_survives(up: InProcess) -> None:
    said = "Ungültig: 路由 не найден 🛤 100 %"
    up.alpha.script(Script(fault=HttpError(400, message=said)))
    with pytest.raises(aio.AioRpcError) as caught:
        await up.chat.CreateChatCompletion(ask())
    assert said in (caught.value.details() or "")


@pytest.mark.parametrize("character", ["x", "路", "🛤"])
async def test_fifty_endpoints_and_a_huge_message_still_fit_into_the_trailers(
    tmp_path: Path, character: str
) -> None:
    def many(alpha: str, _beta: str) -> dict[str, Any]:
        slugs = [f"provider-{n}" for n in range(50)]
        return {
            "providers": [{"slug": s, "dialect": "openai_chat", "base_url": f"{alpha}/v1"} for s in slugs],
            "models": [{"id": "sim/many", "endpoints": [{"provider": s, "model": "one"} for s in slugs]}],
        }

    async with running_service(tmp_path, {"routing": {"max_attempts": 20}}, many) as up:
        up.alpha.script(Script(fault=HttpError(503, message=character * 100_000)))
        async with plain_channel(up.grpc, max_metadata_size=8192, absolute_max_metadata_size=8192) as channel:
            send: Any = channel.unary_unary(
                "/eurouter.v1.ChatService/CreateChatCompletion",
                request_serializer=chat_pb2.CreateChatCompletionRequest.SerializeToString,
            )
            with pytest.raises(aio.AioRpcError) as caught:
                await send(ask("sim/many"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        metadata = info_of(caught.value).metadata
        listed = [name for name in metadata if name.startswith("endpoint.")]
        assert len(listed) + int(metadata.get("endpoints_left_out", "0")) == 20


async def test_the_catalogue_and_the_dry_run_answer(up: InProcess) -> None:
    listed = await up.models.ListModels(catalog_pb2.ListModelsRequest())
    assert {model.id for model in listed.models} == {"sim/alpha", "sim/beta", "sim/both", "sim/reverse"}
    model = await up.models.GetModel(catalog_pb2.GetModelRequest(id="both"))
    assert [provider.slug for provider in model.providers] == ["alpha", "beta"]
    providers = await up.models.ListProviders(catalog_pb2.ListProvidersRequest())
    assert [(p.slug, p.dialect) for p in providers.providers] == [("alpha", "openai_chat"), ("beta", "anthropic")]
    ran = await up.routing.DryRunRouting(routing_pb2.DryRunRoutingRequest(model="sim/reverse"))
    assert ran.models
    assert not up.alpha.calls


async def test_what_waits_before_the_commit_point_is_not_lost(up: InProcess) -> None:
    up.alpha.script(Script(text="late but whole", fault=SlowFirstByte(0.4)))
    call = up.chat.StreamChatCompletion(ask())
    assert dict(await call.initial_metadata())["x-provider-slug"] == "alpha"
    assert text_of([chunk async for chunk in call]) == "late but whole"
