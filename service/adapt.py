"""Makes one generation fit one endpoint, and the endpoint's answer fit the request again.

Two things are fitted: tools that the endpoint can't say become functions, and the oldest turns go where its
context is too short. Nothing here chooses endpoints or retries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.bridge import bridge, tools_to_bridge
from service.domain.bridge_calls import CallMapper
from service.domain.catalog import Endpoint
from service.domain.events import Event
from service.domain.generation import Generation
from service.domain.ports import EventSource
from service.domain.truncate import estimate, truncate

DEFAULT_ANSWER_TOKENS: Final = 4096
"""What is kept free for the answer where the request sets no limit to it."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """What one endpoint is asked.

    `mapper` turns its answer back, None when there is nothing to turn. `dropped` names the items that were
    left out, `tokens` estimates what is left; 0 where nothing may be left out, so nobody needs to know.
    """

    generation: Generation
    mapper: CallMapper | None = None
    dropped: tuple[str, ...] = ()
    tokens: int = 0


class Adapter:
    """One call's generation, fitted to any number of endpoints. What depends on it alone is found out once."""

    __slots__ = ("_bridged", "_estimate", "_generation", "_plain")

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._bridged = tools_to_bridge(generation)
        self._estimate = estimate(generation) if generation.truncate else 0
        self._plain = Adapted(generation, tokens=self._estimate)

    def fit(self, endpoint: Endpoint, budget: int | None = None) -> Adapted:
        """What `endpoint` is asked: the generation itself where nothing needs fitting.

        `budget` is the most tokens to send, where more is known than the endpoint's context says.
        """
        generation = self._generation
        missing = self._bridged - endpoint.expressible if self._bridged else self._bridged
        if not missing and not generation.truncate:
            return self._plain
        dropped: tuple[str, ...] = ()
        tokens = self._estimate
        limit = _room(generation, endpoint) if budget is None else budget
        if generation.truncate and limit is not None and tokens > limit:
            generation, dropped = truncate(generation, limit)
            tokens = estimate(generation)
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
    """An event source over another one, its calls turned back by `mapper`. Not safe for concurrent use."""

    __slots__ = ("_mapper", "_over", "_source")

    def __init__(self, source: EventSource, mapper: CallMapper) -> None:
        self._source = source
        self._mapper = mapper
        self._over = False

    async def next(self) -> Sequence[Event]:
        """The next events; empty only at the clean end. Raises what the source raises."""
        while not self._over:
            events = await self._source.next()
            if events:
                mapped = self._mapper.map(events)
            else:
                self._over = True
                mapped = self._mapper.end()
            if mapped:
                return mapped
        return ()

    async def settle(self, seconds: float) -> None:
        """As the source's."""
        await self._source.settle(seconds)

    async def aclose(self) -> None:
        """Ends the source. Idempotent."""
        await self._source.aclose()
