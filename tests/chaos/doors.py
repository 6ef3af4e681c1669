"""A service as its callers reach it: the same few calls by HTTP and by gRPC, answers as the JSON that HTTP gives.

Away is what any caller must expect of a service that dies; everything else that is no answer is Refused.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import aiohttp
import grpc
from eurouter.v1 import responses_pb2 as pb
from eurouter.v1 import responses_pb2_grpc
from grpc import aio

from service.wire import parse, render_bytes
from tests.chaos.cluster import Address
from tests.chaos.history import Json
from tests.support.http_door import events
from tests.support.running import plain_channel

_SECONDS: Final = 20.0
_STREAM_SECONDS: Final = 300.0
_AWAY_STATUS: Final = frozenset({502, 503, 504})
_AWAY_CODE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        # What a client's library says of a connection that broke in the middle of an answer.
        grpc.StatusCode.UNKNOWN,
    }
)


class Away(Exception):  # noqa: N818  what happened, for a caller
    """No answer: the service, or its database, is not there. Whether it did what was asked is not known."""


class Refused(Exception):  # noqa: N818  as above
    """An answer that says no; `status` is HTTP's, or the name of gRPC's code."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(f"{status}: {text[:300]}")
        self.status = status


class Door(Protocol):
    """One way into one service. Streams give events and raise as calls do; close them when they are left early."""

    @property
    def name(self) -> str:
        """The service's."""
        ...

    async def create(self, body: Json, key: str | None) -> Json:
        """Asks for a background response.

        Raises:
            Away: nobody knows.
            Refused: not accepted.
        """
        ...

    def create_stream(self, body: Json, key: str | None) -> AsyncGenerator[Json, None]:
        """The same with `stream: true`: its events, from the first one on."""
        ...

    def follow(self, response_id: str, after: int) -> AsyncGenerator[Json, None]:
        """The events after number `after` (-1: all)."""
        ...

    async def get(self, response_id: str) -> Json:
        """The response as it is."""
        ...

    async def cancel(self, response_id: str) -> Json:
        """Cancels it; the response as it is then."""
        ...

    async def delete(self, response_id: str) -> Json:
        """Deletes it, whatever it is; the answer says that it is gone."""
        ...


class HttpDoor:
    """By HTTP."""

    def __init__(self, address: Address, session: aiohttp.ClientSession) -> None:
        self.name = address.name
        self.url = f"{address.http}/v1/responses"
        self._session = session

    async def create(self, body: Json, key: str | None) -> Json:
        """As Door."""
        return await self._call("POST", "", json=body, headers=_header(key))

    def create_stream(self, body: Json, key: str | None) -> AsyncGenerator[Json, None]:
        """As Door."""
        return self._stream("POST", "", json={**body, "stream": True}, headers=_header(key))

    def follow(self, response_id: str, after: int) -> AsyncGenerator[Json, None]:
        """As Door."""
        query = {"stream": "true"} | ({"starting_after": str(after)} if after >= 0 else {})
        return self._stream("GET", f"/{response_id}", params=query)

    async def get(self, response_id: str) -> Json:
        """As Door."""
        return await self._call("GET", f"/{response_id}")

    async def cancel(self, response_id: str) -> Json:
        """As Door."""
        return await self._call("POST", f"/{response_id}/cancel")

    async def delete(self, response_id: str) -> Json:
        """As Door."""
        return await self._call("DELETE", f"/{response_id}")

    async def _call(self, method: str, path: str, **options: Any) -> Json:
        async with self._asked(method, path, _SECONDS, **options) as response:
            answer: Json = json.loads(await response.read())
            return answer

    async def _stream(self, method: str, path: str, **options: Any) -> AsyncGenerator[Json, None]:
        async with self._asked(method, path, _STREAM_SECONDS, **options) as response:
            done = False
            async for event in events(response):
                if event.startswith(b":"):
                    continue
                data = event.partition(b"data: ")[2]
                if data == b"[DONE]":
                    done = True
                    continue
                value: Json = json.loads(data)
                if "sequence_number" not in value:
                    # The follower's own trouble, which is no event of the response.
                    raise Away(f"{self.name}: {value}")
                yield value
            if not done:
                raise Away(f"{self.name}: the stream broke off")

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, seconds: float, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        limit = aiohttp.ClientTimeout(seconds)
        try:
            async with self._session.request(method, self.url + path, timeout=limit, **options) as response:
                if response.status != 200:
                    text = await response.text()
                    if response.status in _AWAY_STATUS:
                        raise Away(f"{self.name}: {response.status} {text[:200]}")
                    raise Refused(str(response.status), text)
                yield response
        except (aiohttp.ClientError, TimeoutError, ConnectionError, ValueError) as error:
            raise Away(f"{self.name}: {error!r}") from error


class GrpcDoor:
    """By gRPC."""

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self._channel = plain_channel(
            address.grpc,
            min_reconnect_backoff_ms=100,
            initial_reconnect_backoff_ms=100,
            max_reconnect_backoff_ms=500,
        )
        self._stub: Any = responses_pb2_grpc.ResponsesServiceStub(self._channel)

    async def aclose(self) -> None:
        """Closes the connection."""
        await self._channel.close(None)

    async def create(self, body: Json, key: str | None) -> Json:
        """As Door."""
        asked = parse(pb.CreateResponseRequest, body)
        return await _answer(self._stub.CreateResponse(asked, metadata=_metadata(key), timeout=_SECONDS))

    def create_stream(self, body: Json, key: str | None) -> AsyncGenerator[Json, None]:
        """As Door."""
        asked = parse(pb.CreateResponseRequest, {**body, "stream": True})
        return _events(self._stub.StreamResponse(asked, metadata=_metadata(key), timeout=_STREAM_SECONDS))

    def follow(self, response_id: str, after: int) -> AsyncGenerator[Json, None]:
        """As Door."""
        asked = pb.FollowResponseRequest(response_id=response_id, starting_after=after if after >= 0 else None)
        return _events(self._stub.FollowResponse(asked, timeout=_STREAM_SECONDS))

    async def get(self, response_id: str) -> Json:
        """As Door."""
        asked = pb.GetResponseRequest(response_id=response_id)
        return await _answer(self._stub.GetResponse(asked, timeout=_SECONDS))

    async def cancel(self, response_id: str) -> Json:
        """As Door."""
        asked = pb.CancelResponseRequest(response_id=response_id)
        return await _answer(self._stub.CancelResponse(asked, timeout=_SECONDS))

    async def delete(self, response_id: str) -> Json:
        """As Door."""
        asked = pb.DeleteResponseRequest(response_id=response_id)
        return await _answer(self._stub.DeleteResponse(asked, timeout=_SECONDS))


async def _answer(call: Any) -> Json:
    try:
        answer: Json = json.loads(render_bytes(await call))
    except aio.AioRpcError as error:
        raise _why(error) from error
    return answer


async def _events(call: Any) -> AsyncGenerator[Json, None]:
    try:
        async for event in call:
            value: Json = json.loads(render_bytes(event))
            yield value
    except aio.AioRpcError as error:
        raise _why(error) from error
    finally:
        call.cancel()


def _why(error: aio.AioRpcError) -> Away | Refused:
    text = error.details() or ""
    if error.code() in _AWAY_CODE or "RST_STREAM" in text:
        return Away(f"{error.code().name}: {text[:200]}")
    return Refused(error.code().name, text)


def _header(key: str | None) -> Mapping[str, str]:
    return {} if key is None else {"idempotency-key": key}


def _metadata(key: str | None) -> aio.Metadata:
    return aio.Metadata(*_header(key).items())
