"""A streamed call from its first read on: waits for the commit point, then hands on events. Any API's.

Which messages become of the events is its API's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from service.coalesce import Coalescer
from service.domain.catalog import Endpoint
from service.domain.errors import Reason, ServiceError
from service.domain.events import Event
from service.domain.money import Cost
from service.domain.routing import Decision
from service.router import Run


class Opened:
    """One run's events. Call `start`, then `next` until it is empty, and `aclose` in any case.

    Not safe for concurrent use.
    """

    __slots__ = ("_commit_wait", "_first", "_over", "_run", "_source")

    def __init__(self, run: Run, source: Coalescer, commit_wait: float) -> None:
        self._run = run
        self._source = source
        self._commit_wait = commit_wait
        self._first: asyncio.Task[Sequence[Event]] | None = None
        self._over = False

    @property
    def decision(self) -> Decision:
        """As far as it is made: final once `next` has given something."""
        return self._run.decision

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of `decision`."""
        return self._run.endpoint

    @property
    def cost(self) -> Cost | None:
        """What the answer costs: known at its clean end, if its usage is."""
        return self._run.cost

    @property
    def waiting(self) -> bool:
        """Whether `start` gave up waiting: nothing came yet."""
        return self._first is not None and not self._first.done()

    async def start(self) -> Decision:
        """Waits for the first output, at most `commit_wait` seconds; the decision then.

        Raises:
            ServiceError: every attempt failed before there was any output.
        """
        # The stream's only task: the first read must go on when the wait for it ends.
        first = self._first = asyncio.create_task(_read(self._source))
        try:
            await asyncio.wait((first,), timeout=self._commit_wait)
        except asyncio.CancelledError:
            first.cancel()
            raise
        if first.done():
            first.result()
        return self._run.decision

    async def next(self) -> Sequence[Event]:
        """The next events; empty only at the clean end.

        Raises:
            ServiceError: the stream failed or was cut.
        """
        if self._over:
            return ()
        first = self._first
        if first is None:
            return await self._source.next()
        events = await first
        self._first = None
        return events

    async def aclose(self) -> None:
        """Ends the upstream call now, if it is not over. Idempotent."""
        self._over = True
        first, self._first = self._first, None
        try:
            if first is not None:
                # Its failure was told by `start`, or nobody waits for it any more.
                first.add_done_callback(_seen)
                first.cancel()
                await asyncio.wait((first,))
        finally:
            # A caller who is cancelled again while it leaves must not leave the call and its place behind.
            await self._source.aclose()


def _seen(first: asyncio.Task[Sequence[Event]]) -> None:
    """Takes note of its failure, so that asyncio does not report it as one that nobody saw."""
    if not first.cancelled():
        first.exception()


async def _read(source: Coalescer) -> Sequence[Event]:
    return await source.next()


def unwritable(decision: Decision) -> ServiceError:
    """The error for an answer that the contract has no room for. The cause may quote it: it goes to nobody."""
    return ServiceError(
        Reason.PROVIDER_BROKEN_ANSWER,
        f"{decision.provider_slug}: the answer holds a value that can't be passed on",
        decision=decision.headers(),
    )
