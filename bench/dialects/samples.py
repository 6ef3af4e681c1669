"""The same question, conversation and answers for every dialect, as its own wire has them. No measurement here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from adapters.providers.dialect import Dialect
from adapters.providers.registry import DIALECTS
from adapters.providers.simulator import Script
from adapters.providers.simulator.anthropic import AnthropicMessages
from adapters.providers.simulator.azure import AzureChat
from adapters.providers.simulator.bedrock import BedrockConverse
from adapters.providers.simulator.gemini import GeminiContent
from adapters.providers.simulator.mistral import MistralChat
from adapters.providers.simulator.openai_chat import OpenAIChat
from adapters.providers.simulator.openai_responses import OpenAIResponses
from adapters.providers.simulator.wire import Encoded, Whole, WireFormat
from bench.traffic import DIALECTS as SPOKEN
from bench.traffic import MAX_TOKENS, STREAM_TOKENS, SYSTEM, TEMPERATURE, UNARY_MODEL, USER, tokens_of
from service.domain.catalog import Endpoint, Facts, Price, Provider
from service.domain.generation import FunctionTool, Generation, Role, Text, ToolCall, ToolResult, Turn

BASE: Final = "openai_chat"
"""What the others are compared with."""

EVENTS_A_READ: Final = 32
"""How many events one read brings when a stream comes faster than it is read."""
EXCHANGES: Final = 10

_WIRES: Final[Mapping[str, WireFormat]] = {
    "openai_chat": OpenAIChat(),
    "openai_responses": OpenAIResponses(),
    "anthropic": AnthropicMessages(),
    "bedrock": BedrockConverse(),
    "gemini": GeminiContent(),
    "mistral": MistralChat(),
    "azure": AzureChat(),
}
NAMES: Final = tuple(SPOKEN)
PARAMETERS: Final = orjson.dumps(
    {
        "type": "object",
        "properties": {
            "origin": {"type": "string", "description": "a station"},
            "destination": {"type": "string"},
            "day": {"type": "string", "format": "date"},
            "changes": {"type": "integer", "minimum": 0},
        },
        "required": ["origin", "destination"],
    }
).decode()


@dataclass(frozen=True, slots=True)
class Sample:
    """One dialect with what it is asked and answered; `events` are the stream's pieces, one a token at least."""

    dialect: Dialect
    endpoint: Endpoint
    whole: bytes
    events: tuple[bytes, ...]

    @property
    def reads(self) -> tuple[bytes, ...]:
        """The stream as a fast provider's comes: many events in each read."""
        return tuple(b"".join(some) for some in _batches(self.events, EVENTS_A_READ))


def sample(name: str) -> Sample:
    """The answers that the simulator would give to this dialect's own requests."""
    dialect, wire, base = DIALECTS[name], _WIRES[name], SPOKEN[name]
    provider = Provider(name, name, name, f"http://127.0.0.1:1{base}")
    can = dialect.expressible_with(provider.quirks)
    endpoint = Endpoint(f"{name}/m", provider, "bench/m", "m", Price(), Facts(), can, max_output_tokens=4096)

    def answered(tokens: int, *, stream: bool) -> Encoded | Whole:
        asked = dialect.build(QUESTION, endpoint, stream=stream)
        path = base + asked.path.partition("?")[0]
        form = wire.read(path, {"model": "m"}, orjson.loads(asked.body)).form
        script = Script(tokens=tokens)
        return wire.stream(script, form) if stream else wire.whole(script, form)

    whole, streamed = answered(tokens_of(UNARY_MODEL), stream=False), answered(STREAM_TOKENS, stream=True)
    assert isinstance(whole, Whole)
    assert isinstance(streamed, Encoded)
    events = (streamed.head, *streamed.tokens, streamed.tail)
    return Sample(dialect, endpoint, whole.body, tuple(event for event in events if event))


def _batches(events: tuple[bytes, ...], size: int) -> Iterator[tuple[bytes, ...]]:
    return (events[at : at + size] for at in range(0, len(events), size))


def _turns() -> Iterator[Turn]:
    yield Turn(Role.SYSTEM, (Text(SYSTEM),))
    for number in range(EXCHANGES):
        call = ToolCall(
            f"call_{number}", "find_trains", '{"origin": "Utrecht", "destination": "Milano", "changes": 2}'
        )
        yield Turn(Role.USER, (Text(USER),))
        yield Turn(Role.ASSISTANT, (Text("Let me look that up."), call))
        yield Turn(
            Role.TOOL, (ToolResult(call.id, (Text("08:02 Utrecht, 11:29 Basel, 16:50 Milano: 149 euros"),)),)
        )
        yield Turn(Role.ASSISTANT, (Text("Take the train at 08:02 and change in Basel; you arrive at 16:50."),))
    yield Turn(Role.USER, (Text(USER),))


QUESTION: Final = Generation(
    turns=(Turn(Role.SYSTEM, (Text(SYSTEM),)), Turn(Role.USER, (Text(USER),))),
    temperature=TEMPERATURE,
    max_output_tokens=MAX_TOKENS,
)
CONVERSATION: Final = Generation(
    turns=tuple(_turns()),
    tools=tuple(
        FunctionTool(f"{verb}_trains", "Trains between two stations.", PARAMETERS)
        for verb in ("find", "book", "price")
    ),
    temperature=TEMPERATURE,
    max_output_tokens=MAX_TOKENS,
)
