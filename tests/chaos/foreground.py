"""Callers who wait for their answers, with clients set up as our pages say: nothing that they see may fail."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from random import Random
from typing import Any, Final

import aiohttp
from eurouter.v1 import chat_pb2_grpc, responses_pb2_grpc
from eurouter.v1 import responses_pb2 as pb
from eurouter.v1.chat_pb2 import CreateChatCompletionRequest
from grpc import aio

from service.wire import parse
from tests.chaos.doors import HttpDoor
from tests.chaos.entrance import Entrance
from tests.chaos.history import FOREGROUND, History

_SECONDS: Final = 20.0
_PAUSE: Final = 0.1
_TRIES: Final = 3
"""Of a call by HTTP: as many as OpenAI's own clients make."""

_SERVICES: Final = ("eurouter.v1.ChatService", "eurouter.v1.ResponsesService")
_SERVICE_CONFIG: Final = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": _SERVICES[0]},
    "methodConfig": [
        {
            "name": [{"service": name} for name in _SERVICES],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
_OPTIONS: Final = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # Without this the channels of a process share what they know of addresses.
    ("grpc.use_local_subchannel_pool", 1),
]


class _Wrong(Exception):  # noqa: N818  what a caller got
    pass


class Foreground:
    """`target` is the name of all services for gRPC. What fails goes into `history`; `counts` by kind of call."""

    def __init__(self, target: str, entrance: Entrance, history: History, seed: int) -> None:
        self._entrance = entrance
        self._history = history
        self._random = Random(f"foreground {seed}")
        self._channel = aio.insecure_channel(target, options=_OPTIONS)
        self._chat: Any = chat_pb2_grpc.ChatServiceStub(self._channel)
        self._responses: Any = responses_pb2_grpc.ResponsesServiceStub(self._channel)
        self._session = aiohttp.ClientSession()
        self._number = 0
        self._over = asyncio.Event()
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Calls until `stop`."""
        async with self._session, self._channel, asyncio.TaskGroup() as tasks:
            for act in (self._whole, self._stream, self._stream, self._http, self._conversation):
                tasks.create_task(self._repeat(act))

    def stop(self) -> None:
        """Lets `run` return once the calls under way are answered."""
        self._over.set()

    async def _repeat(self, act: Callable[[str], Awaitable[str]]) -> None:
        while not self._over.is_set():
            self._number += 1
            # The others count on while this one waits.
            number = self._number
            text = f"{FOREGROUND}{number} " + " ".join(f"w{word}" for word in range(20))
            kind = act.__name__.strip("_")
            try:
                answer = await act(text)
                if answer != text:
                    raise _Wrong(f"got {answer[:200]!r}")
            except aio.AioRpcError as error:
                self._failed(f"{kind}-{number}", f"{error.code().name}: {error.details()}")
            except (_Wrong, aiohttp.ClientError, TimeoutError) as error:
                self._failed(f"{kind}-{number}", repr(error))
            else:
                self.counts[kind] += 1
            await asyncio.sleep(_PAUSE)

    def _failed(self, name: str, what: str) -> None:
        self._history.unanswered.append((f"foreground-{name}", what[:300]))

    async def _whole(self, text: str) -> str:
        answer = await self._chat.CreateChatCompletion(_asked("quick", text), timeout=_SECONDS)
        return str(answer.choices[0].message.content)

    async def _stream(self, text: str) -> str:
        """One that lasts about a second."""
        chunks: AsyncIterator[Any] = self._chat.StreamChatCompletion(_asked("steady", text), timeout=_SECONDS)
        return "".join([choice.delta.content async for chunk in chunks for choice in chunk.choices])

    async def _http(self, text: str) -> str:
        """At any door that is named; at another where the connection fails or the service says no."""
        body = {"model": "chaos/quick", "messages": [{"role": "user", "content": text}]}
        for left in reversed(range(_TRIES)):
            door = self._random.choice(self._entrance.by_kind["http"])
            assert isinstance(door, HttpDoor)
            try:
                return await self._posted(door.url.replace("/responses", "/chat/completions"), body)
            except (aiohttp.ClientConnectionError, _Wrong):
                if not left:
                    raise
                self.counts["retries by HTTP"] += 1
                await asyncio.sleep(_PAUSE)
        raise AssertionError

    async def _posted(self, url: str, body: Mapping[str, object]) -> str:
        async with self._session.post(url, json=body, timeout=aiohttp.ClientTimeout(_SECONDS)) as answer:
            if answer.status != 200:
                raise _Wrong(f"{answer.status} {(await answer.text())[:200]}")
            return str((await answer.json())["choices"][0]["message"]["content"])

    async def _conversation(self, text: str) -> str:
        """A stored response, read, and continued, each by whichever service comes next."""
        first = await self._created(text, "one")
        read = await self._responses.GetResponse(pb.GetResponseRequest(response_id=first.id), timeout=_SECONDS)
        if read.id != first.id or read.status != first.status:
            raise _Wrong(f"{first.id} is read as {read.id} {read.status}")
        second = await self._created(text, "two", previous_response_id=first.id)
        if second.previous_response_id != first.id:
            raise _Wrong(f"{second.id} goes on from {second.previous_response_id}, not {first.id}")
        return "".join(part.output_text.text for item in second.output for part in item.message.content)

    async def _created(self, text: str, turn: str, **more: object) -> Any:
        asked = parse(pb.CreateResponseRequest, {"model": "chaos/quick", "input": text, "store": True, **more})
        # With a key a call may be made again though its answer got lost.
        key = (("idempotency-key", f"{text.split()[1]}-{turn}-of-the-foreground"),)
        return await self._responses.CreateResponse(asked, metadata=key, timeout=_SECONDS)


def _asked(model: str, text: str) -> CreateChatCompletionRequest:
    body = {"model": f"chaos/{model}", "messages": [{"role": "user", "content": text}]}
    return parse(CreateChatCompletionRequest, body)
