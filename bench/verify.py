"""Asks a server once with ordinary clients and reads all it says: the load generator only counts."""

from __future__ import annotations

import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any, Final

import grpc
import orjson
from eurouter.v1 import chat_pb2, chat_pb2_grpc

from bench.fleet import StartError
from bench.traffic import (
    BURST_MODEL,
    HTTP_PATH,
    STREAM_TOKENS,
    UNARY_MODEL,
    answer_text,
    request,
    request_json,
    tokens_of,
)

SECONDS: Final = 10.0
ANSWERED: Final = (UNARY_MODEL, BURST_MODEL)


def answers_grpc(name: str, port: int, key: str, models: tuple[str, str] = ANSWERED) -> None:
    """Returns when the server answers both RPCs in full: a whole answer of one model, a stream of the other.

    Raises:
        StartError: it refused, or tokens are missing.
    """
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = chat_pb2_grpc.ChatServiceStub(channel)
            whole = stub.CreateChatCompletion(request(models[0]), metadata=metadata, timeout=SECONDS)
            chunks = list(stub.StreamChatCompletion(request(models[1]), metadata=metadata, timeout=SECONDS))
    except grpc.RpcError as error:
        raise StartError(f"{name} refused a call: {error}") from None
    check_text(name, whole.choices[0].message.content, tokens_of(UNARY_MODEL))
    check_text(name, "".join(_text(chunk) for chunk in chunks), STREAM_TOKENS)


def answers_http(name: str, port: int, key: str, models: tuple[str, str] = ANSWERED) -> None:
    """The same for the HTTP door, whole and as server-sent events.

    Raises:
        StartError: it refused, or tokens are missing.
    """
    whole = orjson.loads(ask_http(name, port, key, HTTP_PATH, request_json(models[0], stream=False)))
    check_text(name, whole["choices"][0]["message"]["content"], tokens_of(UNARY_MODEL))
    streamed = ask_http(name, port, key, HTTP_PATH, request_json(models[1], stream=True))
    *events, last = [event.removeprefix(b"data: ") for event in streamed.split(b"\n\n") if event]
    if last != b"[DONE]":
        raise StartError(f"{name} ended its stream with {last[:200]!r}")
    choices: list[Any] = [choice for event in events for choice in orjson.loads(event)["choices"]]
    check_text(name, "".join(choice["delta"].get("content") or "" for choice in choices), STREAM_TOKENS)


def ask_http(name: str, port: int, key: str, path: str, body: bytes | None = None) -> bytes:
    """What a server answers to a POST, without a body to a GET.

    Raises:
        StartError: it refused or did not answer.
    """
    status, said = exchange(name, port, key, path, body)
    if status != HTTPStatus.OK:
        raise StartError(f"{name} refused a call: {status} {said[:400].decode(errors='replace')}")
    return said


def exchange(name: str, port: int, key: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """The same with its status, errors too.

    Raises:
        StartError: it did not answer.
    """
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        raise StartError(f"{name} did not answer: {error}") from None


def check_text(name: str, text: str, tokens: int) -> None:
    """Compares every word.

    Raises:
        StartError: it is not what the simulator says.
    """
    if text != (expected := answer_text(tokens)):
        raise StartError(f"{name} answered {text[:100]!r} ({len(text)} characters), not {expected[:100]!r}")


def _text(chunk: chat_pb2.ChatCompletionChunk) -> str:
    return "".join(choice.delta.content for choice in chunk.choices)
