"""One conversation with tools through each door, as the callers of that door keep it.

`Loop.ask` sends a user's text, `Loop.give` the results of the calls that the last answer made; both go to the
model that they name and keep what came back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import aiohttp
from eurouter.v1 import chat_pb2 as pb
from eurouter.v1.content_pb2 import ContentPart
from eurouter.v1.tools_pb2 import ToolCall, ToolCallDelta

from tests.support.http_door import Door
from tests.support.responses_door import ResponsesDoor
from tests.support.running import InProcess, ask, ask_response

PARAMETERS: Final = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT_TOOL: Final = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
TOOL: Final = {"type": "function", "name": "get_weather", "parameters": PARAMETERS}
EFFORT: Final = {"effort": "low"}


class Loop(Protocol):
    """A conversation through one door."""

    async def ask(self, model: str, text: str) -> None: ...

    async def give(self, model: str, *results: str) -> None: ...


@dataclass
class ChatJson:
    """The Chat API over HTTP: messages are kept as JSON, `reasoning_details` with them."""

    door: Door
    stream: bool
    messages: list[dict[str, Any]] = field(default_factory=list)

    async def ask(self, model: str, text: str) -> None:
        self.messages.append({"role": "user", "content": text})
        await self._send(model)

    async def give(self, model: str, *results: str) -> None:
        calls = self.messages[-1]["tool_calls"]
        for call, result in zip(calls, results, strict=True):
            self.messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        await self._send(model)

    async def _send(self, model: str) -> None:
        body = {"model": model, "messages": self.messages, "tools": [CHAT_TOOL], "reasoning": EFFORT}
        if not self.stream:
            answer = await self.door.post(body)
            assert answer.status == 200, answer.raw
            message = answer.json["choices"][0]["message"]
        else:
            streamed = await self.door.stream(body)
            assert streamed.error is None
            message = _joined([c["delta"] for chunk in streamed.chunks for c in chunk["choices"]])
        kept = ("content", "tool_calls", "reasoning_details")
        said = {key: message[key] for key in kept if message.get(key) is not None}
        self.messages.append({"role": "assistant", **said})


def _joined(deltas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What clients that know `reasoning_details` make of a stream's deltas."""
    calls: dict[int, dict[str, Any]] = {}
    for piece in (piece for delta in deltas for piece in delta.get("tool_calls", ())):
        call = calls.setdefault(
            piece["index"], {"id": piece.get("id"), "type": "function", "function": {"name": "", "arguments": ""}}
        )
        for key, text in piece["function"].items():
            call["function"][key] += text
    details = [detail for delta in deltas for detail in delta.get("reasoning_details", ())]
    return {
        "content": "".join(delta.get("content") or "" for delta in deltas) or None,
        "tool_calls": [calls[at] for at in sorted(calls)] or None,
        "reasoning_details": details or None,
    }


@dataclass
class ChatGrpc:
    """The Chat API over gRPC: messages are kept as they came."""

    up: InProcess
    stream: bool
    messages: list[pb.ChatMessage] = field(default_factory=list)

    async def ask(self, model: str, text: str) -> None:
        self.messages.extend(ask(text=text).messages)
        await self._send(model)

    async def give(self, model: str, *results: str) -> None:
        for call, result in zip(self.messages[-1].tool_calls, results, strict=True):
            content = [ContentPart(text=result)]
            self.messages.append(pb.ChatMessage(role=pb.CHAT_ROLE_TOOL, tool_call_id=call.id, content=content))
        await self._send(model)

    async def _send(self, model: str) -> None:
        request = ask(model, tools=[CHAT_TOOL], reasoning=EFFORT)
        del request.messages[:]
        request.messages.extend(self.messages)
        said = pb.ChatMessage(role=pb.CHAT_ROLE_ASSISTANT)
        text = ""
        if self.stream:
            calls: dict[int, ToolCall] = {}
            async for chunk in self.up.chat.StreamChatCompletion(request):
                for choice in chunk.choices:
                    text += choice.delta.content
                    said.reasoning_details.extend(choice.delta.reasoning_details)
                    _join_calls(calls, choice.delta.tool_calls)
            said.tool_calls.extend(calls[at] for at in sorted(calls))
        else:
            answer = (await self.up.chat.CreateChatCompletion(request)).choices[0].message
            text = answer.content
            said.reasoning_details.extend(answer.reasoning_details)
            said.tool_calls.extend(answer.tool_calls)
        if text:
            said.content.add().text = text
        self.messages.append(said)


def _join_calls(calls: dict[int, ToolCall], pieces: Sequence[ToolCallDelta]) -> None:
    for piece in pieces:
        call = calls.setdefault(piece.index, ToolCall())
        if piece.id:
            call.id = piece.id
        call.function.name += piece.function.name
        call.function.arguments += piece.function.arguments


@dataclass
class Responses:
    """The Responses API over HTTP: by `previous_response_id` when `store`, else by items and encrypted content."""

    door: ResponsesDoor
    stream: bool
    store: bool
    items: list[dict[str, Any]] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    async def ask(self, model: str, text: str) -> None:
        await self._send(model, [{"type": "message", "role": "user", "content": text}])

    async def give(self, model: str, *results: str) -> None:
        calls = [item for item in self.last["output"] if item["type"] == "function_call"]
        await self._send(
            model,
            [
                {"type": "function_call_output", "call_id": call["call_id"], "output": result}
                for call, result in zip(calls, results, strict=True)
            ],
        )

    async def _send(self, model: str, new: list[dict[str, Any]]) -> None:
        self.items += new
        body: dict[str, Any] = {"model": model, "tools": [TOOL], "reasoning": EFFORT, "store": self.store}
        if self.store:
            body["input"] = new
            if self.last:
                body["previous_response_id"] = self.last["id"]
        else:
            body |= {"input": self.items, "include": ["reasoning.encrypted_content"]}
        if self.stream:
            followed = await self.door.stream(body)
            self.last = followed.response
        else:
            answer = await self.door.create(body)
            assert answer.status == 200, answer.raw
            self.last = answer.json
        assert self.last["status"] == "completed"
        # As stateless clients do it: an item of reasoning goes back by its encrypted content alone.
        self.items += [
            {key: value for key, value in item.items() if item["type"] != "reasoning" or key != "content"}
            for item in self.last["output"]
        ]


@dataclass
class ResponsesGrpc:
    """The Responses API over gRPC, by `previous_response_id`."""

    up: InProcess
    last: Any = None

    async def ask(self, model: str, text: str) -> None:
        await self._send(model, [{"type": "message", "role": "user", "content": text}])

    async def give(self, model: str, *results: str) -> None:
        calls = [item.function_call for item in self.last.output if item.HasField("function_call")]
        await self._send(
            model,
            [
                {"type": "function_call_output", "call_id": call.call_id, "output": result}
                for call, result in zip(calls, results, strict=True)
            ],
        )

    async def _send(self, model: str, new: list[dict[str, Any]]) -> None:
        more = {"previous_response_id": self.last.id} if self.last is not None else {}
        request = ask_response(model, new, tools=[TOOL], reasoning=EFFORT, **more)
        self.last = await self.up.responses.CreateResponse(request)


DOORS: Final = (
    "chat JSON",
    "chat JSON streamed",
    "chat gRPC",
    "chat gRPC streamed",
    "responses stored",
    "responses stored and streamed",
    "responses not stored",
    "responses not stored, streamed",
    "responses gRPC",
)


def loop_through(door: str, up: InProcess, session: aiohttp.ClientSession) -> Loop:
    """A conversation through one of DOORS."""
    stream = "streamed" in door
    if door.startswith("chat JSON"):
        return ChatJson(Door(up, session), stream)
    if door.startswith("chat gRPC"):
        return ChatGrpc(up, stream)
    if door == "responses gRPC":
        return ResponsesGrpc(up)
    return Responses(ResponsesDoor(up, session), stream, store="not stored" not in door)


def words(body: bytes) -> str:
    """A request's bytes as text with every character as itself."""
    return json.dumps(json.loads(body), ensure_ascii=False)
