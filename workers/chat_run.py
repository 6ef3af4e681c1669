"""What the run of a chat job has of its own: how its request is read, and the completion that its answer is.

Events for followers and the response are written as for every job, by the runner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eurouter.v1 import chat_pb2
from eurouter.v1 import response_object_pb2 as object_pb

from service.api.chat.background import chosen
from service.api.chat.completion import whole
from service.api.responses.prepare import Asked, Preparer
from service.coalesce import merge
from service.domain.calls import Principal
from service.domain.events import Event
from service.router import Run

_ENOUGH: Final = 1024


class ChatAnswer:
    """The answer of one chat job as it comes. `asked` is what the router is asked for it."""

    __slots__ = ("_events", "_functions_style", "_most", "asked")

    def __init__(
        self,
        request: chat_pb2.CreateChatCompletionRequest,
        preparer: Preparer,
        principal: Principal,
        *,
        streaming: bool,
    ) -> None:
        """Reads the request.

        Raises:
            ServiceError: it is wrong by now, or names no model of ours.
        """
        call, selection = chosen(request, principal, preparer.catalog, preparer.settings(), streaming=streaming)
        self.asked = Asked(call.generation, call.needs, (), selection)
        self._functions_style = call.functions_style
        self._events: list[Event] = []
        self._most = _ENOUGH

    def add(self, events: Sequence[Event]) -> None:
        """More of the answer."""
        self._events += events
        if len(self._events) > self._most:
            # A long answer is thousands of small deltas.
            self._events = merge(self._events)
            self._most = 2 * len(self._events) + _ENOUGH

    def completion(self, run: Run, response: object_pb.Response) -> chat_pb2.ChatCompletion:
        """The whole answer, with the id and the time of the job's response.

        Raises:
            ValueError: it holds what the contract has no room for.
        """
        made = whole(
            self._events,
            provider=run.decision.provider_slug,
            model=run.endpoint.upstream_model,
            completion_id="",
            now=0,
            functions_style=self._functions_style,
        )
        made.id = f"chatcmpl-{response.id.removeprefix('resp_')}"
        made.created = response.created_at
        return made
