"""Makes one generation fit one endpoint, and the endpoint's answer fit the request again.

Three things are fitted: tools that the endpoint can't say become functions, an answer's form that it does not know
a tool that must be called, and the oldest turns go where its context is too short. Nothing here chooses endpoints
or retries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.bridge import bridge, tools_to_bridge
from service.domain.bridge_calls import CallMapper
from service.domain.catalog import Endpoint
from service.domain.emulated_answer import AnswerMapper
from service.domain.emulation import about_the_schema, emulate
from service.domain.errors import ServiceError
from service.domain.events import Event, Finish
from service.domain.fields import Field
from service.domain.generation import Generation, JsonSchema
from service.domain.ports import EventSource
from service.domain.truncate import estimate, truncate
from service.structured import SchemaCheck, beside

DEFAULT_ANSWER_TOKENS: Final = 4096
"""What is kept free for the answer where the request sets no limit to it."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """What one endpoint is asked.

    `mapper` turns its answer back, None when there is nothing to turn; with a `check` its form is emulated.
    `dropped` names the items that were left out, `tokens` estimates what is left; 0 where nothing may be left out,
    so nobody needs to know.
    """

    generation: Generation
    mapper: CallMapper | AnswerMapper | None = None
    dropped: tuple[str, ...] = ()
    tokens: int = 0
    check: SchemaCheck | None = None

    async def ready(self) -> None:
        """Before anything is sent.

        Raises:
            ServiceError: INVALID_REQUEST where the answer could not be held to its schema.
        """
        if self.check is not None:
            await beside(self.check.prepare)

    async def whole(self, events: Sequence[Event]) -> Sequence[Event]:
        """A whole answer turned back.

        Raises:
            UpstreamError: it is none of the schema's.
        """
        if self.mapper is None:
            return events
        if self.check is None:
            return self.mapper.whole(events)
        return await beside(self.mapper.whole, events)

    def source(self, source: EventSource) -> EventSource:
        """A streamed answer turned back; its `next` raises as `whole`."""
        if self.mapper is None:
            return source
        return MappedSource(source, self.mapper, checked=self.check is not None)

    def reworded(self, refusal: ServiceError) -> ServiceError:
        """The endpoint's refusal to be asked so, about what the caller wrote."""
        return about_the_schema(refusal) if self.check is not None else refusal


class Adapter:
    """One call's generation, fitted to any number of endpoints. What depends on it alone is found out once."""

    __slots__ = ("_bridged", "_check", "_estimate", "_generation", "_plain", "_schema")

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._bridged = tools_to_bridge(generation)
        self._schema = generation.output if isinstance(generation.output, JsonSchema) else None
        self._check: SchemaCheck | None = None
        self._estimate = estimate(generation) if generation.truncate else 0
        self._plain = Adapted(generation, tokens=self._estimate)

    def fit(self, endpoint: Endpoint, budget: int | None = None) -> Adapted:
        """What `endpoint` is asked: the generation itself where nothing needs fitting.

        `budget` is the most tokens to send, where more is known than the endpoint's context says.
        """
        generation = self._generation
        can = endpoint.expressible
        missing = self._bridged - can if self._bridged else self._bridged
        formless = self._schema is not None and Field.JSON_SCHEMA not in can
        if not missing and not generation.truncate and not formless:
            return self._plain
        dropped: tuple[str, ...] = ()
        tokens = self._estimate
        limit = _room(generation, endpoint) if budget is None else budget
        if generation.truncate and limit is not None and tokens > limit:
            generation, dropped = truncate(generation, limit)
            tokens = estimate(generation)
        if self._schema is not None and formless:
            # No tool but the answer's can be called then: only history has something to bridge.
            if missing:
                generation, _ = bridge(generation, missing)
            generation, emulated = emulate(generation, self._schema, can)
            check = self._check = self._check or SchemaCheck(emulated.schema)
            return Adapted(generation, AnswerMapper(emulated, check), dropped, tokens, check)
        if not missing:
            return Adapted(generation, None, dropped, tokens)
        generation, tools = bridge(generation, missing)
        return Adapted(generation, CallMapper(tools), dropped, tokens)


def _room(generation: Generation, endpoint: Endpoint) -> int | None:
    """Tokens of `endpoint`'s context that the request may take; None when the context is not stated.

    The answer's share is at most half: limits are often set far above what is ever written.
    """
    context = endpoint.context_length
    if context is None:
        return None
    return context - min(generation.max_output_tokens or DEFAULT_ANSWER_TOKENS, context // 2)


class MappedSource:
    """An event source over another one, its events turned back by `mapper`. Not safe for concurrent use.

    `checked`: the mapper holds what has ended to a schema, which is no work for the event loop.
    """

    __slots__ = ("_checked", "_mapper", "_over", "_source")

    def __init__(self, source: EventSource, mapper: CallMapper | AnswerMapper, *, checked: bool = False) -> None:
        self._source = source
        self._mapper = mapper
        self._checked = checked
        self._over = False

    async def next(self) -> Sequence[Event]:
        """The next events; empty only at the clean end. Raises what the source raises."""
        while not self._over:
            events = await self._source.next()
            self._over = not events
            if self._checked and (self._over or any(isinstance(event, Finish) for event in events)):
                mapped = await beside(self._mapped, events)
            else:
                mapped = self._mapped(events)
            if mapped:
                return mapped
        return ()

    def _mapped(self, events: Sequence[Event]) -> Sequence[Event]:
        return self._mapper.map(events) if events else self._mapper.end()

    async def settle(self, seconds: float) -> None:
        """As the source's."""
        await self._source.settle(seconds)

    async def aclose(self) -> None:
        """Ends the source. Idempotent."""
        await self._source.aclose()
