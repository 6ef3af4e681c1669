"""What `make run` shows: a real local model behind the router, one streamed answer, one made in the background,
and how to call it next.

Where the model's packages are missing the labelled simulator takes its place, and the output says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from eurouter.v1 import chat_pb2, chat_pb2_grpc, content_pb2, responses_pb2, responses_pb2_grpc
from grpc import aio

from adapters.catalog.load import DEFAULT_CATALOG
from adapters.local_model import LocalModel, LocalModelError, LocalModelUnavailable
from adapters.providers.simulator import Simulator
from service import wire
from service.process import Ports

MODEL_ID: Final = "huggingfacetb/smollm2-135m-instruct"
SIMULATED_ID: Final = "simulator/sim-echo"
QUESTION: Final = "Name three rivers in Europe."
BACKGROUND_QUESTION: Final = "Tell me something about the Danube."
_LONGEST_ANSWER: Final = 1024

# llama.cpp's server reads neither of these and says nothing about them: they would be dropped silently.
_NOT_IN_LLAMA_CPP: Final = (
    "audio",
    "messages.audio",
    "metadata",
    "modalities",
    "moderation",
    "prediction",
    "prompt_cache_breakpoint",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning.effort",
    "reasoning.summary",
    "response_format.python",
    "safety_identifier",
    "service_tier",
    "store",
    "tool_choice.allowed_tools",
    "tools.custom",
    "user",
    "verbosity",
    "web_search_options",
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Demo:
    """A running upstream: the catalogue file that leads to it and the model to ask."""

    catalog: Path
    model: str
    simulated: bool


async def start(stack: AsyncExitStack, python: Path, say: Say) -> Demo:
    """Starts the local model, or the simulator where that can't be; `stack` stops it again."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eurouter-demo-")))
    say("starting the local model (SmolLM2-135M through llama.cpp, one core, no key)")
    local = LocalModel(python, max_tokens=_LONGEST_ANSWER, on_event=_announce(say))
    try:
        await local.start()
    except (LocalModelUnavailable, LocalModelError) as error:
        say(f"no local model: {error}")
        say("using the SIMULATOR in its place: it runs no model and repeats what it is told")
        simulator = await stack.enter_async_context(Simulator())
        rows = _simulator_rows(simulator.url)
        return Demo(_write(folder, rows), SIMULATED_ID, simulated=True)
    stack.push_async_callback(local.stop)
    return Demo(_write(folder, _local_rows(local.url)), MODEL_ID, simulated=False)


async def ask(address: str, model: str, say_part: Say) -> int:
    """Streams one answer over a real gRPC channel, telling each piece as it comes; how many pieces came.

    Raises:
        grpc.aio.AioRpcError: the call failed.
    """
    request = chat_pb2.CreateChatCompletionRequest(
        model=model,
        max_completion_tokens=60,
        temperature=0,
        messages=[
            chat_pb2.ChatMessage(role=chat_pb2.CHAT_ROLE_USER, content=[content_pb2.ContentPart(text=QUESTION)])
        ],
    )
    async with aio.insecure_channel(address) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        call = stub.StreamChatCompletion(request, timeout=120)
        pieces = 0
        async for chunk in call:
            for choice in chunk.choices:
                if choice.delta.content:
                    say_part(choice.delta.content)
                    pieces += 1
        return pieces


async def run_in_background(ports: Ports, model: str, say: Say, say_part: Say) -> str:
    """Has a response made in the background, leaves it once it is queued and follows it to its end; its status.

    Raises:
        grpc.aio.AioRpcError: a call failed.
    """
    request = wire.parse(
        responses_pb2.CreateResponseRequest,
        {
            "model": model,
            "input": BACKGROUND_QUESTION,
            "max_output_tokens": 120,
            "temperature": 0,
            "background": True,
        },
    )
    async with aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        stub: Any = responses_pb2_grpc.ResponsesServiceStub(channel)
        waiting = stub.StreamResponse(request, timeout=120)
        async for event in waiting:
            if event.WhichOneof("event") == "queued":
                break
        waiting.cancel()
        name = event.queued.response.id
        say(f"==> {name} is queued, and its caller has left. Follow it, in a second terminal, too:")
        say(f"    curl -N 'http://127.0.0.1:{ports.http}/v1/responses/{name}?stream=true'\n")
        asked = responses_pb2.FollowResponseRequest(response_id=name, starting_after=event.sequence_number)
        async for event in stub.FollowResponse(asked, timeout=120):
            if event.WhichOneof("event") == "output_text_delta":
                say_part(event.output_text_delta.delta)
        ended = event.WhichOneof("event")
        say(f"\n\n==> {ended}, with event {event.sequence_number}; its events and itself are kept for 30 days")
        return str(ended)


def next_steps(ports: Ports, model: str) -> str:
    """Commands to try, as they can be pasted."""
    body = f'{{"model": "{model}", "messages": [{{"role": "CHAT_ROLE_USER", "content": [{{"text": "Hello"}}]}}]}}'
    chat = f'{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'
    later = f'{{"model": "{model}", "background": true, "input": "Hello"}}'
    return f"""
Call it next (Ctrl-C here stops everything):

  gRPC   .venv/bin/grpcurl -plaintext -d '{body}' \\
           127.0.0.1:{ports.grpc} eurouter.v1.ChatService/StreamChatCompletion
  HTTP   curl -N http://127.0.0.1:{ports.http}/v1/chat/completions -d '{chat}'
  Later  curl http://127.0.0.1:{ports.http}/v1/responses -d '{later}'
  SDK    OpenAI(base_url="http://127.0.0.1:{ports.http}/v1", api_key="any")
  Models curl http://127.0.0.1:{ports.http}/v1/models
  Admin  http://127.0.0.1:{ports.admin}/readyz and /metrics
"""


def _announce(say: Say) -> Callable[[str, Mapping[str, Any]], None]:
    def tell(event: str, values: Mapping[str, Any]) -> None:
        if event in ("local_model_died", "local_model_start_failed"):
            say(f"{event}: {', '.join(f'{k}={v}' for k, v in values.items())}")

    return tell


def _local_rows(url: str) -> dict[str, Any]:
    providers: list[dict[str, Any]] = [
        {
            "slug": "local",
            "name": "Local model",
            "dialect": "openai_chat",
            "base_url": f"{url}/v1",
            "ours": True,
            "quirks": {"max_tokens_field": "max_tokens"},
            "refuses": list(_NOT_IN_LLAMA_CPP),
        },
        {
            "slug": "local-messages",
            "name": "Local model, Messages API",
            "dialect": "anthropic",
            "base_url": f"{url}/v1",
            "ours": True,
            # Its other door keeps to a schema; this one takes it and answers as it likes.
            "refuses": ["response_format.json_schema", "tool_choice"],
        },
    ]
    # llama.cpp is started with a context of 4096 and cuts answers at this many tokens: see adapters/local_model.
    limits = {"context_length": 4096, "max_output_tokens": _LONGEST_ANSWER, "model": "smollm2-135m-instruct"}
    price = {"prompt": 0, "completion": 0}
    model = {
        "id": MODEL_ID,
        "name": "SmolLM2 135M Instruct",
        "description": "A very small model that runs beside the service: for trying it out.",
        "endpoints": [{"provider": p["slug"], "price": price, **limits} for p in providers],
    }
    return {"providers": providers, "models": [model]}


def _simulator_rows(url: str) -> dict[str, Any]:
    provider = {
        "slug": "simulator",
        "name": "Simulator (no model)",
        "dialect": "openai_chat",
        "base_url": f"{url}/v1",
        "ours": True,
        "simulator": True,
    }
    price = {"prompt": 0, "completion": 0}
    model = {"id": SIMULATED_ID, "endpoints": [{"provider": "simulator", "model": "sim-echo", "price": price}]}
    return {"providers": [provider], "models": [model]}


def _write(folder: Path, rows: dict[str, Any]) -> Path:
    """The shipped catalogue plus `rows`, as a file."""
    document = yaml.safe_load(DEFAULT_CATALOG.read_text())
    for key, added in rows.items():
        document[key] = [*(document.get(key) or []), *added]
    path = folder / "catalogue.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path
