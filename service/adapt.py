"""Makes one generation fit one endpoint, and the endpoint's answer fit the request again.

Three things are fitted: tools that the endpoint can't say become functions, an answer's form that it does not know
a tool that must be called, and the oldest turns go where its context is too short. Nothing here chooses endpoints
or retries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.bridge import bridge, tools_to_bridge
from service.domain.bridge_calls import CallMapper
from service.domain.catalog import Endpoint
from service.domain.cost import last_usage
from service.domain.emulated_answer import AnswerMapper
from service.domain.emulation import about_the_schema, emulate
from service.domain.errors import ServiceError
from service.domain.events import Event, Finish, Usage
from service.domain.failure import FailureKind, UpstreamError
from service.domain.fields import Field
from service.domain.generation import Generation, JsonSchema
from service.domain.ports import EventSource
from service.domain.truncate import estimate, truncate
from service.structured import SchemaCheck, beside

DEFAULT_ANSWER_TOKENS: Final = 4096
"""What is kept free for the answer where the request sets no limit to it."""

_READ_ON: Final = 2.0
"""Seconds that the usage of an answer which does not match is waited for."""


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

    async def ready(self, left: Callable[[], float]) -> None:
        """Before anything is sent; `left` are the seconds until the call's deadline.

        Raises:
            ServiceError: INVALID_REQUEST where the answer could not be held to its schema.
            UpstreamError: TIMEOUT.
        """
        if self.check is not None:
            await beside(left, self.check.prepare)

    async def whole(self, events: Sequence[Event], left: Callable[[], float]) -> Sequence[Event]:
        """A whole answer turned back; `left` as for `ready`.

        Raises:
            UpstreamError: it is none of the schema's, or TIMEOUT; with the answer's usage.
        """
        if self.mapper is None:
            return events
        if self.check is None:
            return self.mapper.whole(events)
        try:
            return await beside(left, self.mapper.whole, events)
        except UpstreamError as error:
            raise UpstreamError(error.failure, last_usage(events)) from error

    def source(self, source: EventSource, left: Callable[[], float]) -> EventSource:
        """A streamed answer turned back; `left` as for `ready`, and its `next` raises as `whole`."""
        if self.mapper is None:
            return source
        if self.check is None:
            return MappedSource(source, self.mapper)
        return CheckedSource(source, self.mapper, left)

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
    """An event source over another one, its events turned back by `mapper`. Not safe for concurrent use."""

    __slots__ = ("_mapper", "_over", "_source")

    def __init__(self, source: EventSource, mapper: CallMapper | AnswerMapper) -> None:
        self._source = source
        self._mapper = mapper
        self._over = False

    async def next(self) -> Sequence[Event]:
        """The next events; empty only at the clean end. Raises what the source raises."""
        while not self._over:
            events = await self._source.next()
            self._over = not events
            mapped = await self._turned(events)
            if mapped:
                return mapped
        return ()

    async def _turned(self, events: Sequence[Event]) -> Sequence[Event]:
        return self._mapped(events)

    def _mapped(self, events: Sequence[Event]) -> Sequence[Event]:
        return self._mapper.map(events) if events else self._mapper.end()

    async def settle(self, seconds: float) -> None:
        """As the source's."""
        await self._source.settle(seconds)

    async def aclose(self) -> None:
        """Ends the source. Idempotent."""
        await self._source.aclose()


class CheckedSource(MappedSource):
    """One whose mapper holds what has ended to a schema, which is no work for the event loop."""

    __slots__ = ("_left", "_used")

    def __init__(self, source: EventSource, mapper: CallMapper | AnswerMapper, left: Callable[[], float]) -> None:
        super().__init__(source, mapper)
        self._left = left
        self._used: Usage | None = None

    async def _turned(self, events: Sequence[Event]) -> Sequence[Event]:
        self._used = last_usage(events) or self._used
        try:
            if events and not any(isinstance(event, Finish) for event in events):
                return self._mapped(events)
            return await beside(self._left, self._mapped, events)
        except UpstreamError as error:
            if error.failure.kind is FailureKind.MISMATCH:
                await self._read_on()
            raise UpstreamError(error.failure, self._used) from error

    async def _read_on(self) -> None:
        """To the end of an answer that is of no use: its usage comes last, and it is paid for."""
        try:
            async with asyncio.timeout(min(_READ_ON, self._left())):
                while not self._over:
                    events = await self._source.next()
                    self._over = not events
                    self._used = last_usage(events) or self._used
        except (TimeoutError, UpstreamError):
            self._over = True
