"""Serves chat requests for every door: reads the request, has the router run it, writes the answer.

No transport and no format of a door stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eurouter.v1 import chat_pb2 as pb

from service.api.chat.call import ChatCall
from service.api.chat.completion import whole
from service.api.chat.from_events import ChunkWriter
from service.api.chat.to_domain import to_domain
from service.api.opened import Opened, unwritable
from service.api.retention import check_retention
from service.coalesce import Coalescer
from service.domain.calls import CallContext, Principal
from service.domain.catalog import Catalog
from service.domain.events import Event
from service.domain.money import Cost
from service.domain.ports import CatalogSource
from service.domain.preferences import OPEN, Floor
from service.domain.routing import Decision
from service.domain.selection import Selection, select
from service.router import Router


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What operators set for chat, reloadable.

    `hint_fields` are unnamed top-level request fields that may go unused. `floor` holds for everyone.
    `commit_wait`: seconds after which a stream's headers go out although nothing visible came yet.
    """

    hint_fields: frozenset[str] = frozenset()
    floor: Floor = OPEN
    commit_wait: float = 15.0


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """A whole completion, how its endpoint was chosen and what it costs where that is known."""

    completion: pb.ChatCompletion
    decision: Decision
    cost: Cost | None


def floor_for(settings: ChatSettings, principal: Principal) -> Floor:
    """The operator's floor and the key's own limits at once."""
    own = principal.floor
    return settings.floor if own == OPEN else settings.floor.narrowed_by(own)


def select_for(call: ChatCall, catalog: Catalog, floor: Floor, owner: str) -> Selection:
    """The models and the policy that `call`, by `owner`, asks for.

    Raises:
        ServiceError: MODEL_NOT_FOUND, RULE_NOT_FOUND or INVALID_REQUEST.
    """
    selection = select(
        catalog,
        model=call.model,
        models=call.models,
        rule_id=call.rule_id,
        rule_name=call.rule_name,
        preferences=call.preferences,
        floor=floor,
        owner=owner,
    )
    check_retention(call.generation, selection.policy)
    return selection


class ChatHandler:
    """Chat completions, whole or streamed. One per process.

    `wall_clock` gives Unix seconds, `new_id` the last part of a completion's id, `window` the seconds for
    which a busy process may hold a stream's next read.
    """

    def __init__(
        self,
        catalog: CatalogSource,
        router: Router,
        settings: Callable[[], ChatSettings] = ChatSettings,
        *,
        wall_clock: Callable[[], float],
        new_id: Callable[[], str],
        window: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._catalog = catalog
        self._router = router
        self._settings = settings
        self._wall_clock = wall_clock
        self._new_id = new_id
        self._window = window

    async def create(self, request: pb.CreateChatCompletionRequest, context: CallContext) -> ChatAnswer:
        """The whole completion.

        Raises:
            ServiceError: the request is wrong, nobody may or can serve it, or every attempt failed.
        """
        call, selection = self._read(request, context, self._settings(), streaming=False)
        answer = await self._router.call(call.generation, call.needs, selection, context)
        try:
            message = whole(
                answer.events,
                provider=answer.decision.provider_slug,
                model=answer.endpoint.upstream_model,
                completion_id=self._completion_id(),
                now=int(self._wall_clock()),
                functions_style=call.functions_style,
            )
        except ValueError as error:
            raise unwritable(answer.decision) from error
        return ChatAnswer(message, answer.decision, answer.cost)

    def stream(self, request: pb.CreateChatCompletionRequest, context: CallContext) -> ChatStream:
        """The streamed completion; nothing is sent upstream before its `start`.

        Raises:
            ServiceError: the request is wrong, or nobody may or can serve it.
        """
        settings = self._settings()
        call, selection = self._read(request, context, settings, streaming=True)
        run = self._router.open(call.generation, call.needs, selection, context)

        def writer() -> ChunkWriter:
            return ChunkWriter(
                provider=run.decision.provider_slug,
                model=run.endpoint.upstream_model,
                completion_id=self._completion_id(),
                now=int(self._wall_clock()),
                include_usage=call.include_usage,
                functions_style=call.functions_style,
            )

        return ChatStream(Opened(run, Coalescer(run, self._window), settings.commit_wait), writer)

    def _read(
        self,
        request: pb.CreateChatCompletionRequest,
        context: CallContext,
        settings: ChatSettings,
        *,
        streaming: bool,
    ) -> tuple[ChatCall, Selection]:
        call = to_domain(request, hint_fields=settings.hint_fields, streaming=streaming)
        floor = floor_for(settings, context.principal)
        return call, select_for(call, self._catalog.current(), floor, context.principal.owner)

    def _completion_id(self) -> str:
        return f"chatcmpl-{self._new_id()}"


class ChatStream:
    """One streamed completion. Call `start`, then `next` until it is empty, and `aclose` in any case.

    Not safe for concurrent use.
    """

    __slots__ = ("_ended", "_make_writer", "_opened", "_writer")

    def __init__(self, opened: Opened, make_writer: Callable[[], ChunkWriter]) -> None:
        self._opened = opened
        self._make_writer = make_writer
        self._writer: ChunkWriter | None = None
        self._ended = False

    @property
    def decision(self) -> Decision:
        """As far as it is made: final once `next` has given something."""
        return self._opened.decision

    @property
    def cost(self) -> Cost | None:
        """What the completion costs: known at its clean end, if its usage is."""
        return self._opened.cost

    async def start(self) -> Decision:
        """Waits for the first output, at most `commit_wait`; the decision then.

        Raises:
            ServiceError: every attempt failed before there was any output.
        """
        return await self._opened.start()

    async def next(self) -> Sequence[pb.ChatCompletionChunk]:
        """The next chunks; empty only at the clean end.

        Raises:
            ServiceError: the stream failed or was cut.
        """
        while not self._ended:
            chunks = await self._write(await self._opened.next())
            if chunks:
                return chunks
        return ()

    async def aclose(self) -> None:
        """Ends the upstream call now, if it is not over. Idempotent."""
        self._ended = True
        await self._opened.aclose()

    async def _write(self, events: Sequence[Event]) -> Sequence[pb.ChatCompletionChunk]:
        writer = self._writer
        try:
            if not events:
                self._ended = True
                return writer.finish() if writer is not None else ()
            if writer is None:
                writer = self._writer = self._make_writer()
            return writer.write(events)
        except ValueError as error:
            self._ended = True
            await self._opened.aclose()
            raise unwritable(self.decision) from error
