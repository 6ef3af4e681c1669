"""The same for the Responses API: what is said and kept, and that a conversation reaches the upstream whole."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import grpc
import orjson
from eurouter.v1 import response_object_pb2, responses_pb2, responses_pb2_grpc

from bench.fleet import StartError
from bench.traffic import (
    BURST_MODEL,
    RESPONSES_PATH,
    STREAM_TOKENS,
    UNARY_MODEL,
    Kind,
    http_call,
    response_request,
    tokens_of,
)
from bench.verify import SECONDS, ask_http, check_text, exchange

_CALLS_PATH: Final = "/simulator/calls"
_DONE: Final = b"data: [DONE]"
_UNARY_TOKENS: Final = tokens_of(UNARY_MODEL)
_KINDS: Final[tuple[Kind, ...]] = ("response", "stored response")


def answers_grpc(name: str, port: int, key: str, previous: str) -> None:
    """Returns when both RPCs answer in full, keep what they should and nothing else, and continue `previous`.

    Raises:
        StartError: it refused, tokens are missing, or what is kept is wrong.
    """
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            calls = _Calls(name, responses_pb2_grpc.ResponsesServiceStub(channel), key)
            for store in (False, True):
                calls.whole(store=store)
                calls.streamed(store=store)
            calls.whole(store=False, previous=previous)
    except grpc.RpcError as error:
        raise StartError(f"{name} refused a call: {error}") from None


class _Calls:
    """Calls with grpcio's client, each checked."""

    def __init__(self, name: str, stub: responses_pb2_grpc.ResponsesServiceStub, key: str) -> None:
        self._name = name
        self._stub = stub
        self._with: Any = {"metadata": (("authorization", f"Bearer {key}"),), "timeout": SECONDS}

    def whole(self, *, store: bool, previous: str | None = None) -> None:
        request = response_request(UNARY_MODEL, store=store, previous=previous)
        self._check(self._stub.CreateResponse(request, **self._with), _UNARY_TOKENS, store=store)

    def streamed(self, *, store: bool) -> None:
        *events, last = self._stub.StreamResponse(response_request(BURST_MODEL, store=store), **self._with)
        check_text(self._name, "".join(event.output_text_delta.delta for event in events), STREAM_TOKENS)
        self._check(last.completed.response, STREAM_TOKENS, store=store)

    def _check(self, response: response_object_pb2.Response, tokens: int, *, store: bool) -> None:
        said = "".join(part.output_text.text for item in response.output for part in item.message.content)
        check_text(self._name, said, tokens)
        if self._kept(response.id) != (response if store else None):
            raise StartError(f"{self._name}: GetResponse does not say what store {store} should leave")

    def _kept(self, response_id: str) -> response_object_pb2.Response | None:
        try:
            return self._stub.GetResponse(responses_pb2.GetResponseRequest(response_id=response_id), **self._with)
        except grpc.RpcError as error:
            if _code(error) is grpc.StatusCode.NOT_FOUND:
                return None
            raise


def answers_http(name: str, port: int, key: str, previous: str) -> None:
    """The same for the HTTP door, whole and as server-sent events.

    Raises:
        StartError: it refused, tokens are missing, or what is kept is wrong.
    """
    for kind in _KINDS:
        whole = orjson.loads(ask_http(name, port, key, *http_call(kind, UNARY_MODEL, stream=False)))
        _check_json(name, port, key, whole, _UNARY_TOKENS)
        streamed = ask_http(name, port, key, *http_call(kind, BURST_MODEL, stream=True))
        *lines, done = [line for line in streamed.splitlines() if line.startswith(b"data: ")]
        if done != _DONE:
            raise StartError(f"{name} ended its stream with {done[:200]!r}")
        *events, last = [orjson.loads(line.removeprefix(b"data: ")) for line in lines]
        deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
        check_text(name, "".join(deltas), STREAM_TOKENS)
        _check_json(name, port, key, last["response"], STREAM_TOKENS)
    path, body = http_call("response", UNARY_MODEL, stream=False, previous=previous)
    _check_json(name, port, key, orjson.loads(ask_http(name, port, key, path, body)), _UNARY_TOKENS)


def _check_json(name: str, port: int, key: str, response: Any, tokens: int) -> None:
    check_text(name, _said(response), tokens)
    status, kept = exchange(name, port, key, f"{RESPONSES_PATH}/{response['id']}")
    found = orjson.loads(kept) if status == HTTPStatus.OK else None
    if found != (response if response["store"] else None):
        raise StartError(f"{name}: GET does not say what store {response['store']} should leave ({status})")


def conversation(name: str, port: int, key: str, upstream_port: int, length: int) -> str:
    """Makes a conversation of so many stored responses over HTTP; the id of the last one.

    Raises:
        StartError: a call was refused, or the next one did not bring all of them to the upstream.
    """
    previous: str | None = None
    for _ in range(length):
        path, body = http_call("stored response", UNARY_MODEL, stream=False, previous=previous)
        previous = orjson.loads(ask_http(name, port, key, path, body))["id"]
    assert previous is not None
    path, body = http_call("response", UNARY_MODEL, stream=False, previous=previous)
    ask_http(name, port, key, path, body)
    asked = orjson.loads(ask_http("the upstream", upstream_port, "", _CALLS_PATH))["calls"][-1]["body"]["messages"]
    roles = [message["role"] for message in asked]
    if roles != ["system", *["user", "assistant"] * length, "user"]:
        raise StartError(f"{name} sent {len(roles)} messages for a conversation of {length}: {roles[:6]}…")
    check_text(f"{name} on behalf of its model", asked[-2]["content"], _UNARY_TOKENS)
    return previous


def _code(error: Any) -> grpc.StatusCode:
    # What a call raises is a grpc.Call as well, which no type says.
    code: grpc.StatusCode = error.code()
    return code


def _said(response: Any) -> str:
    return "".join(part["text"] for item in response["output"] for part in item["content"])
