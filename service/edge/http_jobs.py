"""The routes of jobs as a whole: lists, statistics, the cancel of many; and those of dead letters."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from aiohttp import web
from eurouter.v1 import jobs_pb2 as pb
from google.protobuf.message import Message

from service import wire
from service.api.dead_letters import DeadLettersHandler
from service.api.jobs import JobsHandler
from service.domain.errors import Reason, ServiceError, Violation, invalid
from service.domain.jobs import JobState
from service.edge import http_bodies, http_query
from service.edge.calls import REQUEST_ID
from service.edge.http_calls import HttpCall

_LIST_NAMES: Final = ("state", "group", "owner", "page_size", "page_token", "counts")
_LETTER_NAMES: Final = ("owner", "reason", "topic", "page_size", "page_token", "content")
_LETTER_FIELDS: Final = {"reasons": "reason", "original_topic": "topic"}


class HttpJobs:
    """The routes over the same handler as the gRPC service."""

    def __init__(self, jobs: JobsHandler) -> None:
        self._jobs = jobs

    async def list_jobs(self, http: HttpCall) -> web.StreamResponse:
        """GET /jobs."""
        query = http.request.query
        _refuse_unknown(query, _LIST_NAMES)
        asked = pb.ListJobsRequest(states=_states(query.getall("state", ())))
        for name in ("group", "owner", "page_token"):
            if name in query:
                setattr(asked, name, http_query.text(name, query[name]))
        if "page_size" in query:
            asked.page_size = http_query.number("page_size", query["page_size"])
        if "counts" in query:
            asked.with_counts = http_query.flag("counts", query["counts"])
        return _json(http, await self._jobs.list_jobs(asked, http.call))

    async def cancel_jobs(self, http: HttpCall) -> web.StreamResponse:
        """POST /jobs/cancel."""
        asked = http_bodies.parse(pb.CancelJobsRequest, await http.read(), frozenset(), [])
        return _json(http, await self._jobs.cancel_jobs(asked, http.call))

    async def queue_stats(self, http: HttpCall) -> web.StreamResponse:
        """GET /jobs/stats."""
        query = http.request.query
        _refuse_unknown(query, ("owner",))
        asked = pb.GetQueueStatsRequest()
        if "owner" in query:
            asked.owner = http_query.text("owner", query["owner"])
        return _json(http, await self._jobs.queue_stats(asked, http.call))


class HttpDeadLetters:
    """The routes over the same handler as the gRPC service."""

    def __init__(self, letters: DeadLettersHandler) -> None:
        self._letters = letters

    async def list_dead_letters(self, http: HttpCall) -> web.StreamResponse:
        """GET /dead-letters."""
        query = http.request.query
        _refuse_unknown(query, _LETTER_NAMES)
        asked = pb.ListDeadLettersRequest(reasons=_words("reason", query.getall("reason", ())))
        for name, field in (("owner", "owner"), ("topic", "original_topic"), ("page_token", "page_token")):
            if name in query:
                setattr(asked, field, http_query.text(name, query[name]))
        if "page_size" in query:
            asked.page_size = http_query.number("page_size", query["page_size"])
        if "content" in query:
            asked.with_content = http_query.flag("content", query["content"])
        try:
            return _json(http, await self._letters.list_dead_letters(asked, http.call))
        except ServiceError as error:
            if error.violations:
                raise _as_asked(error) from None
            raise

    async def redrive_dead_letters(self, http: HttpCall) -> web.StreamResponse:
        """POST /dead-letters/redrive."""
        asked = http_bodies.parse(pb.RedriveDeadLettersRequest, await http.read(), frozenset(), [])
        return _json(http, await self._letters.redrive_dead_letters(asked, http.call))


def _json(http: HttpCall, message: Message) -> web.Response:
    headers = {REQUEST_ID: http.call.request_id}
    return web.Response(body=wire.render_bytes(message), content_type="application/json", headers=headers)


def _refuse_unknown(given: Collection[str], known: Collection[str]) -> None:
    """A filter that is left out because its name is misspelt would show what nobody asked for."""
    unknown = [
        Violation(name[:64], f"unknown parameter: use {', '.join(known)}") for name in given if name not in known
    ]
    if unknown:
        first = unknown[0]
        raise ServiceError(Reason.UNKNOWN_FIELD, f"{first.path}: {first.message}", violations=tuple(unknown))


def _as_asked(error: ServiceError) -> ServiceError:
    """The same error with the names that a query has for fields."""
    found = []
    for one in error.violations:
        field = one.path.partition("[")[0]
        found.append(Violation(_LETTER_FIELDS.get(field, one.path), one.message))
    first, rest = found[0], len(found) - 1
    message = f"{first.path}: {first.message}" + (f" (and {rest} more)" if rest else "")
    return ServiceError(error.reason, message, violations=tuple(found))


def _words(name: str, given: Collection[str]) -> list[str]:
    """A parameter that may be repeated, each time with one word or several between commas."""
    return [http_query.text(name, word.strip()) for word in ",".join(given).split(",") if word.strip()]


def _states(given: Collection[str]) -> list[pb.JobState.ValueType]:
    names = [name.strip() for name in ",".join(given).split(",") if name.strip()]
    known = {state.value: pb.JobState.Value(f"JOB_STATE_{state.name}") for state in JobState}
    if any(name not in known for name in names):
        raise invalid("state", f"must be one or several of {', '.join(known)}")
    return [known[name] for name in names]
