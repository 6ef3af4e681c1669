"""Random bytes, mutated requests and random messages at the gRPC door: refused or answered, never INTERNAL."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from eurouter.v1 import chat_pb2, routing_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support.running import InProcess, ask, running_service
from tests.support.statuses import fields_of

# Hypothesis' thread and the service's share one `random`: a request id made while a strategy draws looks as if the
# strategy had asked for it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning"
)

METHODS: Final = (
    "ChatService/CreateChatCompletion",
    "ChatService/StreamChatCompletion",
    "RoutingService/DryRunRouting",
    "CatalogService/ListModels",
    "CatalogService/GetModel",
)
NEVER: Final = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED}
BOUNDED = settings(
    max_examples=150,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
_PNG = "data:image/png;base64,iVBORw0KGgo="
GOOD: Final = tuple(
    ask("sim/both", **fields).SerializeToString()
    for fields in (
        {},
        {"temperature": 0.5, "stop": ["a", "b"], "seed": 2**53, "logit_bias": {"50256": -100}, "n": 2},
        {"tools": [_TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": _PNG}}]}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}},
        {"provider": {"order": ["beta"], "sort": "price", "max_retention_days": 3}, "models": ["sim/alpha"]},
        {
            "metadata": {"k": "v"},
            "user": "u",
            "reasoning": {"effort": "low"},
            "stream_options": {"include_usage": True},
        },
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "1", "content": "x"},
            ]
        },
    )
)
TEXTS: Final = (
    "",
    "x",
    "sim/both",
    "auto",
    "low",
    "{}",
    '{"type": "object"}',
    "\u0000",
    "🛤" * 40,
    "eu",
    _PNG,
    "[" * 200,
    "a/b:free",
)
NUMBERS: Final = (0, 1, -1, 2, 100, 2**31 - 1, -(2**31))
REALS: Final = (0.0, 0.5, -1.0, 1e308, float("nan"), float("inf"))


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with running_service(tmp_path) as running:
        yield running


def calls_over(channel: grpc.Channel) -> dict[str, Callable[[bytes], grpc.StatusCode]]:
    """The methods by name, as functions from a request's bytes to a status."""

    def sender(method: str) -> Callable[[bytes], grpc.StatusCode]:
        stream = "/Stream" in method
        call: Any = (channel.unary_stream if stream else channel.unary_unary)(f"/eurouter.v1.{method}")

        def send(data: bytes) -> grpc.StatusCode:
            try:
                if stream:
                    list(call(data, timeout=20))
                else:
                    call(data, timeout=20)
            except grpc.RpcError as error:
                code: grpc.StatusCode = error.code()
                return code
            return grpc.StatusCode.OK

        return send

    return {method: sender(method) for method in METHODS}


async def throw(up: InProcess, data: st.SearchStrategy[bytes], methods: tuple[str, ...] = METHODS) -> set[Any]:
    """Sends what the strategy makes to the methods; the codes that came. The server must live on."""
    seen: set[Any] = set()

    def fuzz() -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(up.grpc, options=options) as channel:
            calls = calls_over(channel)

            @BOUNDED
            @given(data, st.sampled_from(methods))
            def one(body: bytes, method: str) -> None:
                code = calls[method](body)
                seen.add(code)
                assert code not in NEVER, (method, body)

            one()

    with capture_logs() as logs:
        await asyncio.to_thread(fuzz)
    assert not [line for line in logs if line["event"] == "request_crashed"]
    assert (await up.chat.CreateChatCompletion(ask("sim/alpha"))).choices
    assert up.service.admission.in_flight == 0
    return seen


async def test_random_bytes_are_refused(up: InProcess) -> None:
    seen = await throw(up, st.binary(max_size=200))
    assert grpc.StatusCode.INVALID_ARGUMENT in seen


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good request with some bytes changed, left out, repeated or taken from another."""
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(("flip", "cut", "insert", "double", "join"))):
            case "flip" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 8))]
            case "insert":
                data[at:at] = draw(st.binary(max_size=4))
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 40))]
            case _:
                data += draw(st.sampled_from(GOOD))
    return bytes(data)


async def test_mutated_requests_are_refused_or_answered(up: InProcess) -> None:
    seen = await throw(up, mutated(), METHODS[:2])
    assert {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK} <= seen


def fill(message: Message, dice: random.Random, depth: int) -> None:
    """Sets some fields of a message, and of those inside it, to values that are right, odd or wrong."""
    for field in message.DESCRIPTOR.fields:
        if dice.random() > (0.25 if depth else 0.15):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            target = getattr(message, field.name)
            value_field = field.message_type.fields_by_name["value"]
            if value_field.message_type is None:
                target[dice.choice(TEXTS)] = scalar(value_field, dice)
        elif field.message_type is not None:
            if depth < 4:
                for inner in inner_messages(message, field, dice):
                    fill(inner, dice, depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(scalar(field, dice) for _ in range(dice.randint(1, 3)))
        else:
            setattr(message, field.name, scalar(field, dice))


def inner_messages(message: Message, field: Any, dice: random.Random) -> Iterator[Message]:
    if not field.is_repeated:
        inner: Message = getattr(message, field.name)
        inner.SetInParent()
        yield inner
        return
    for _ in range(dice.randint(1, 3)):
        yield getattr(message, field.name).add()


def scalar(field: Any, dice: random.Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            text = dice.choice(TEXTS)
            return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
        case FieldDescriptor.CPPTYPE_BOOL:
            return dice.random() < 0.5
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return dice.choice(REALS)
        case FieldDescriptor.CPPTYPE_ENUM:
            assert field.enum_type is not None
            return dice.choice([*(v.number for v in field.enum_type.values), 77])
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            return abs(dice.choice(NUMBERS[:-1]))
        case _:
            return dice.choice(NUMBERS)


def random_request(seed: int) -> bytes:
    """A chat request with random fields, usually for a model that exists."""
    dice = random.Random(seed)
    request = ask("sim/both") if dice.random() < 0.9 else chat_pb2.CreateChatCompletionRequest()
    fill(request, dice, 0)
    if dice.random() < 0.8:
        request.model = "sim/both"
        request.ClearField("models")
        request.ClearField("rule_id")
        request.ClearField("rule_name")
        request.ClearField("stream")
    return request.SerializeToString()


def random_dry_run(seed: int) -> bytes:
    dice = random.Random(seed)
    request = routing_pb2.DryRunRoutingRequest()
    fill(request, dice, 0)
    return request.SerializeToString()


async def test_random_messages_are_refused_or_answered(up: InProcess) -> None:
    seen = await throw(up, st.integers(0, 2**32).map(random_request), METHODS[:2])
    assert grpc.StatusCode.INVALID_ARGUMENT in seen
    seen = await throw(up, st.integers(0, 2**32).map(random_dry_run), METHODS[2:3])
    assert grpc.StatusCode.INVALID_ARGUMENT in seen


@pytest.mark.parametrize(
    "message",
    [
        {"audio": {"id": "a"}},
        {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"refusal": "no"},
        {"name": "somebody"},
        {"annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "a"}}]},
    ],
    ids=lambda message: next(iter(message)),
)
async def test_a_user_message_with_one_field_that_is_not_its_content_is_refused(
    up: InProcess, message: dict[str, Any]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await up.chat.CreateChatCompletion(ask(messages=[{"role": "user", **message}]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert any(path.startswith("messages[0].") for path in fields_of(caught.value))
