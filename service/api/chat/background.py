"""Chat requests that are made in the background: accepted as jobs. Workers make them; see workers/.

Such a job is read, followed, cancelled and continued as a response, in the form that `as_response` gives it.
Nothing is asked of a provider and nothing is stored here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from eurouter.v1 import chat_pb2 as pb
from eurouter.v1 import tools_pb2

from service.api.chat.as_response import as_response_request
from service.api.chat.call import ChatCall
from service.api.chat.handler import floor_for, select_for
from service.api.chat.to_domain import to_domain
from service.api.problems import Problems
from service.api.responses.echo import new_response
from service.api.responses.idempotency import canonical
from service.api.responses.ids import as_kept, new_response_id
from service.api.responses.items import MAX_ITEMS
from service.api.responses.keeping import Keeping, keeping_for_chat
from service.api.responses.new_jobs import AcceptedRequest, NewJobs, wanted_model
from service.api.responses.prepare import ResponsesSettings
from service.api.responses.submission import Submission
from service.api.responses.writer import ResponseWriter
from service.domain.calls import CallContext, Principal, permitted
from service.domain.idempotency import Idempotency
from service.domain.job_store import JobOrigin, NewJob
from service.domain.ports import CatalogSource
from service.domain.selection import Selection
from service.router import Router

# What the API says of fields that a request leaves out.
_DEFAULTS: Final = pb.CreateChatCompletionRequest(
    temperature=1.0,
    top_p=1.0,
    frequency_penalty=0.0,
    presence_penalty=0.0,
    logprobs=False,
    n=1,
    parallel_tool_calls=True,
    verbosity="medium",
    service_tier="auto",
    store=False,
)
_DEFAULTS.response_format.text.SetInParent()
_DEFAULTS.tool_choice.mode = tools_pb2.TOOL_CHOICE_MODE_AUTO

# No Responses request is serialized so: its bytes never begin like this.
_API: Final = b"chat\n"


class ChatJobs:
    """Makes jobs of chat requests. One per process.

    `settings` and the clocks are as Preparer's, `restart_on_loss` and `results_topic` as NewJobs'.
    """

    def __init__(
        self,
        catalog: CatalogSource,
        router: Router,
        settings: Callable[[], ResponsesSettings] = ResponsesSettings,
        *,
        wall_clock: Callable[[], float],
        new_id: Callable[[], str],
        restart_on_loss: Callable[[str], bool] = lambda _owner: True,
        results_topic: Callable[[str], str | None] = lambda _owner: None,
    ) -> None:
        self._catalog = catalog
        self._new_jobs = NewJobs(router, restart_on_loss, results_topic)
        self._settings = settings
        self._wall_clock = wall_clock
        self._new_id = new_id

    async def job(
        self,
        request: pb.CreateChatCompletionRequest,
        submission: Submission,
        context: CallContext,
        *,
        streaming: bool,
        response_id: str | None = None,
        origin: JobOrigin | None = None,
    ) -> NewJob:
        """The job that a request is. `response_id`: its response has this one, not one of ours.

        Raises:
            ServiceError: the request is wrong or is none for the background, or nobody may serve it.
        """
        settings = self._settings()
        call, selection = chosen(request, context.principal, self._catalog, settings, streaming=streaming)
        _check_form(request)
        keeping = keeping_for_chat(selection.policy, settings.retention, self._wall_clock())
        needs = permitted(call.needs, context)
        self._new_jobs.check(submission, keeping.retention, needs, selection, context.principal.owner)
        accepted = self._accepted(
            request, selection, keeping, response_id or new_response_id(self._new_id()), submission.idempotency_key
        )
        return self._new_jobs.make(accepted, submission, context, streaming=streaming, origin=origin)

    def _accepted(
        self,
        request: pb.CreateChatCompletionRequest,
        selection: Selection,
        keeping: Keeping,
        response_id: str,
        key: str | None,
    ) -> AcceptedRequest:
        shown = as_response_request(request)
        response = new_response(
            shown,
            response_id=response_id,
            created_at=int(self._wall_clock()),
            store=True,
            model=wanted_model(selection),
        )
        items = as_kept(shown.input, response_id)
        return AcceptedRequest(
            api="chat",
            request=request.SerializeToString(deterministic=True),
            service_tier=request.service_tier,
            writer=ResponseWriter(
                response, first_position=len(items), clock=self._wall_clock, show_encrypted=False, detail="items"
            ),
            items=items,
            keeping=keeping,
            idempotency=None if key is None else chat_idempotency_of(key, request),
        )


def chosen(
    request: pb.CreateChatCompletionRequest,
    principal: Principal,
    catalog: CatalogSource,
    settings: ResponsesSettings,
    *,
    streaming: bool,
) -> tuple[ChatCall, Selection]:
    """What a chat request asks for, and the models and policy that it means now.

    Raises:
        ServiceError: the request is wrong, or names no model of ours.
    """
    call = to_domain(request, hint_fields=settings.calls.hint_fields, streaming=streaming)
    return call, select_for(call, catalog.current(), floor_for(settings.calls, principal), principal.owner)


def chat_idempotency_of(key: str, request: pb.CreateChatCompletionRequest) -> Idempotency:
    """As `idempotency_of` for Responses requests, none of which is ever the same as a chat request."""
    return Idempotency(key, hashlib.sha256(_API + canonical(request, _DEFAULTS)).digest())


def _check_form(request: pb.CreateChatCompletionRequest) -> None:
    """Refuses what a response has no form for: it has one answer, which is text and calls.

    Raises:
        ServiceError: INVALID_REQUEST.
    """
    problems = Problems()
    if request.HasField("n") and request.n != 1:
        problems.add("n", "must be 1 or left out: in the background a request has one answer; send one for each")
    if "audio" in request.modalities:
        problems.add("modalities", "can't hold audio in the background: ask for it in the foreground")
    if request.HasField("audio"):
        problems.add("audio", "can't be asked for in the background: leave it out or ask in the foreground")
    count = sum(1 + len(message.tool_calls) + len(message.reasoning_details) for message in request.messages)
    if count > MAX_ITEMS:
        problems.add(
            "messages", f"must be at most {MAX_ITEMS} messages and tool calls in the background; got {count}"
        )
    problems.raise_if_any()
