"""The Responses routes: JSON in, JSON or server-sent events out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import orjson
from aiohttp import web
from eurouter.v1 import response_events_pb2
from eurouter.v1 import responses_pb2 as pb
from google.protobuf.message import Message

from service import wire
from service.api.responses.background import BackgroundResponses, Following
from service.api.responses.handler import ResponsesHandler
from service.api.responses.replay import Replay
from service.api.responses.stored import StoredResponses
from service.api.responses.stream import ResponseStream
from service.api.responses.submission import Submission
from service.domain.errors import Reason, ServiceError, invalid
from service.edge import http_bodies, http_query
from service.edge.calls import REQUEST_ID
from service.edge.heartbeats import Heartbeats
from service.edge.http_calls import HttpCall
from service.edge.submission import REPLAYED, lines_of, submission_of

_STREAM_ONLY: Final = frozenset({Reason.SHUTTING_DOWN, Reason.DEADLINE_EXCEEDED})
_FOLLOW_AGAIN: Final = (
    "this stream had to stop, and the response goes on: follow it again, with starting_after and the last "
    "sequence_number that came"
)


class HttpResponses:
    """The routes over the same handlers as the gRPC service."""

    def __init__(
        self,
        responses: ResponsesHandler,
        stored: StoredResponses,
        background: BackgroundResponses,
        heartbeats: Heartbeats,
        hint_fields: Callable[[], frozenset[str]],
    ) -> None:
        self._responses = responses
        self._stored = stored
        self._background = background
        self._heartbeats = heartbeats
        self._hint_fields = hint_fields

    async def create(self, http: HttpCall) -> web.StreamResponse:
        """POST /responses, streamed when its `stream` is true."""
        ignored: list[str] = []
        request = http_bodies.parse(pb.CreateResponseRequest, await http.read(), self._hint_fields(), ignored)
        submission = submission_of(lines_of(http.request.headers), time.time)
        if request.background:
            return await self._submit(http, request, submission)
        submission.refuse_in_foreground()
        key = submission.idempotency_key
        if request.stream:
            return await self._stream(http, request, key, ignored)
        answer = await self._responses.create(request, http.call, key)
        if answer.decision is None:
            return _json(http, answer.response, replayed=True)
        return web.Response(
            body=wire.render_bytes(answer.response),
            content_type="application/json",
            headers=http_bodies.headers(http, answer.decision, ignored, answer.cost),
        )

    async def get(self, http: HttpCall) -> web.StreamResponse:
        """GET /responses/{id}; with `stream=true` the events of a background response."""
        include = _list(http, "include")
        if http_query.flag("stream", http.request.query.get("stream", "")):
            after = http_query.number("starting_after", http.request.query.get("starting_after", "-1"))
            return await self._write(http, await self._background.follow(_id(http), after, include, http.call))
        if "starting_after" in http.request.query:
            raise invalid("starting_after", "is for streams only: add stream=true or leave it out")
        asked_whole = pb.GetResponseRequest(response_id=_id(http), include=include)
        return _json(http, await self._stored.get(asked_whole, http.call))

    async def delete(self, http: HttpCall) -> web.StreamResponse:
        """DELETE /responses/{id}."""
        asked = pb.DeleteResponseRequest(response_id=_id(http))
        return _json(http, await self._stored.delete(asked, http.call))

    async def cancel(self, http: HttpCall) -> web.StreamResponse:
        """POST /responses/{id}/cancel."""
        return _json(http, await self._background.cancel(_id(http), http.call))

    async def input_items(self, http: HttpCall) -> web.StreamResponse:
        """GET /responses/{id}/input_items."""
        query = http.request.query
        asked = pb.ListInputItemsRequest(response_id=_id(http), include=_list(http, "include"))
        if "limit" in query:
            asked.limit = http_query.number("limit", query["limit"])
        for name in ("order", "after", "before"):
            if name in query:
                setattr(asked, name, http_query.text(name, query[name]))
        return _json(http, await self._stored.input_items(asked, http.call))

    async def _submit(
        self, http: HttpCall, request: pb.CreateResponseRequest, submission: Submission
    ) -> web.StreamResponse:
        submitted = await self._background.accept(request, submission, http.call, streaming=request.stream)
        response, replayed = submitted.response, submitted.repeated
        if not request.stream:
            return _json(http, response, replayed=replayed)
        events = await self._background.follow(response.id, -1, (), http.call)
        return await self._write(http, events, replayed=replayed)

    async def _write(
        self, http: HttpCall, events: Following | Replay, *, replayed: bool = False
    ) -> web.StreamResponse:
        """Events of a response that this call does not make; the caller may leave and come back."""
        try:
            shown = _headers(http, replayed=replayed)
            async with http_bodies.event_stream(http, self._heartbeats, shown) as response:
                http.tell = _told_alone
                while batch := await events.next():
                    await response.write(b"".join(map(_event, batch)))
                    self._heartbeats.wrote(response)
            await response.write_eof(http_bodies.DONE)
            return response
        finally:
            await events.aclose()

    async def _stream(
        self, http: HttpCall, request: pb.CreateResponseRequest, key: str | None, ignored: list[str]
    ) -> web.StreamResponse:
        events = await self._responses.stream(request, http.call, key)
        if isinstance(events, Replay):
            return await self._write(http, events, replayed=True)
        try:
            decision = await events.start()
            shown = http_bodies.headers(http, decision, ignored)
            async with http_bodies.event_stream(http, self._heartbeats, shown) as response:
                http.tell = lambda failure: _told(events, failure)
                while batch := await events.next():
                    await response.write(b"".join(map(_event, batch)))
                    self._heartbeats.wrote(response)
            await response.write_eof(http_bodies.late(decision, events.decision) + http_bodies.DONE)
            return response
        finally:
            await events.aclose()


def _event(event: response_events_pb2.ResponseStreamEvent) -> bytes:
    arm = event.WhichOneof("event")
    if arm is None:
        raise ValueError("an event of no kind")
    return b"event: %b\ndata: %b\n\n" % (wire.event_type(arm).encode(), wire.render_bytes(event))


def _told(events: ResponseStream, failure: ServiceError) -> bytes:
    """What ends a stream whose response failed: the events say so already, or an error event does."""
    event = events.error(failure)
    return (b"" if event is None else _event(event)) + http_bodies.DONE


def _told_alone(failure: ServiceError) -> bytes:
    """What ends the stream of a follower: the response goes on, so that no event of it can say so."""
    code = failure.spec.openai_code or "server_error"
    stopped = failure.reason in _STREAM_ONLY
    message = _FOLLOW_AGAIN if stopped else failure.message
    told = {"type": "error", "code": code, "message": message, "param": None}
    # Where the response goes on, it must not look done.
    return b"event: error\ndata: %b\n\n" % orjson.dumps(told) + (b"" if stopped else http_bodies.DONE)


def _json(http: HttpCall, message: Message, *, replayed: bool = False) -> web.Response:
    headers = _headers(http, replayed=replayed)
    return web.Response(body=wire.render_bytes(message), content_type="application/json", headers=headers)


def _headers(http: HttpCall, *, replayed: bool) -> dict[str, str]:
    """The headers of an answer that no endpoint was chosen for; `replayed`: an earlier call made it."""
    told = {REQUEST_ID: http.call.request_id}
    return {**told, REPLAYED[0]: REPLAYED[1]} if replayed else told


def _id(http: HttpCall) -> str:
    return http_query.text("response_id", http.request.match_info["id"])


def _list(http: HttpCall, name: str) -> list[str]:
    """A parameter that is repeated, under its name or, as OpenAI's clients send it, with [] after it."""
    query = http.request.query
    given = [*query.getall(name, ()), *query.getall(f"{name}[]", ())]
    return [http_query.text(name, each) for each in given]
