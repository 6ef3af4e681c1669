"""Keeps a consumer alive: makes one, watches it from another task than the one that reads, and makes the next.

What is done with records is the loops'. Calls of a broker's client may hang for ever, and a member of a group that
hangs holds its partitions: so whoever hangs is given up, and nothing of it counts any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from service.domain.consuming import Consumer, ConsumerError, Place, Record
from workers.intake_ports import ConsumingTelemetry, Failure
from workers.intake_settings import ConsumingSettings

Work: TypeAlias = Callable[[Consumer], Awaitable[None]]
"""What is done with a consumer that was started; it returns when it was told to stop."""


class WatchedConsumer:
    """A Consumer of which one knows for how long a call is under way. Given up, it serves nobody any more."""

    def __init__(self, consumer: Consumer, clock: Callable[[], float]) -> None:
        self._consumer = consumer
        self._clock = clock
        self._since: float | None = None
        self._given_up = False
        self.started = False

    @property
    def silent_for(self) -> float:
        """For how many seconds a call has been under way."""
        return 0.0 if self._since is None else self._clock() - self._since

    def give_up(self) -> None:
        """From here on every call fails, also one that is under way: what it brings is nobody's."""
        self._given_up = True

    async def start(self) -> None:
        """Connects and joins."""
        with self._under_way():
            await self._consumer.start()
        self.started = True

    async def poll(self, most: int, seconds: float) -> Sequence[Record]:
        """The next records."""
        with self._under_way():
            return await self._consumer.poll(most, seconds)

    async def commit(self, following: Mapping[Place, int]) -> None:
        """Stores the offsets of the records to read next."""
        with self._under_way():
            await self._consumer.commit(following)

    def rewind(self, following: Mapping[Place, int]) -> None:
        """Reads on from these offsets."""
        self._consumer.rewind(following)

    def pause(self, paused: bool) -> None:
        """Reads nothing more, or reads on."""
        self._consumer.pause(paused)

    def lag(self) -> Mapping[Place, int]:
        """How many records of each partition come after the last that was polled."""
        return self._consumer.lag()

    async def aclose(self) -> None:
        """Leaves the group and disconnects."""
        await self._consumer.aclose()

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        self._check()
        self._since = self._clock()
        try:
            yield
        finally:
            self._since = None
        self._check()

    def _check(self) -> None:
        if self._given_up:
            raise ConsumerError("it was given up")


class ConsumerSupervisor:
    """Has `work` done with one consumer after the other. `run` it once; `stop` lets it leave.

    `make` gives a consumer that is not started. `clock` is monotonic.
    """

    def __init__(
        self,
        make: Callable[[], Consumer],
        work: Work,
        telemetry: ConsumingTelemetry,
        *,
        settings: Callable[[], ConsumingSettings],
        clock: Callable[[], float],
    ) -> None:
        self._make = make
        self._work = work
        self._telemetry = telemetry
        self._settings = settings
        self._clock = clock
        self._stop = asyncio.Event()
        self._stopped_at = 0.0
        self._left = asyncio.Event()
        self._unfinished: set[asyncio.Task[None]] = set()
        self.connected = False
        self.lag: Mapping[Place, int] = {}

    @property
    def stopping(self) -> bool:
        """Whether it was told to."""
        return self._stop.is_set()

    def stop(self) -> None:
        """`run` returns when the work that is under way is done. Idempotent."""
        if not self.stopping:
            self._stopped_at = self._clock()
            self._stop.set()

    async def leave(self) -> None:
        """`stop`, and returns when `run` does."""
        self.stop()
        await self._left.wait()

    async def run(self) -> None:
        """Works until stopped or cancelled. Whatever fails is told, and tried again after a while."""
        wait = 0.0
        try:
            while not self.stopping:
                began = self._clock()
                await self._attend()
                settings = self._settings()
                if self._clock() - began > settings.longest_wait:
                    # It worked, or hung: in both cases nobody was kept busy by its failures.
                    wait = 0.0
                wait = min(settings.longest_wait, max(settings.first_wait, wait * 2))
                await self._until_stopped(wait)
        finally:
            self._left.set()

    async def _attend(self) -> None:
        """One consumer, from its making to its end."""
        try:
            consumer = WatchedConsumer(self._make(), self._clock)
        except Exception as error:  # noqa: BLE001 - the next one may be better
            self._telemetry.gave_up("start", error)
            return
        session = asyncio.create_task(self._session(consumer))
        try:
            stuck = await self._watch(consumer, session)
            self._tell(consumer, session, stuck=stuck)
        finally:
            self.connected = False
            self._show({})
            ending = self._keep(asyncio.create_task(self._end(consumer, session)))
            # A second cancel must not leave a member behind.
            await asyncio.shield(ending)

    async def _session(self, consumer: WatchedConsumer) -> None:
        await consumer.start()
        self.connected = True
        await self._work(consumer)

    async def _watch(self, consumer: WatchedConsumer, session: asyncio.Task[None]) -> bool:
        """Until the session is over, hangs, or had its time to leave. Whether it hangs."""
        while True:
            settings = self._settings()
            await asyncio.wait((session,), timeout=settings.watch)
            if session.done():
                return False
            if consumer.silent_for > settings.stuck:
                return True
            if self.stopping and self._clock() - self._stopped_at > settings.drain:
                return False
            if consumer.started:
                self._look(consumer)

    def _look(self, consumer: WatchedConsumer) -> None:
        try:
            lag = consumer.lag()
        except Exception:  # noqa: BLE001 - a figure is no reason to stop reading
            lag = {}
        self._show(lag)

    def _show(self, lag: Mapping[Place, int]) -> None:
        self.lag = lag
        self._telemetry.lag(lag)

    def _tell(self, consumer: WatchedConsumer, session: asyncio.Task[None], *, stuck: bool) -> None:
        if not session.done():
            if stuck:
                self._telemetry.gave_up("stuck", None)
            return
        error = asyncio.CancelledError() if session.cancelled() else session.exception()
        if error is None:
            return
        failure: Failure = "start" if not consumer.started else "broker"
        self._telemetry.gave_up(failure if isinstance(error, ConsumerError) else "crashed", error)

    async def _end(self, consumer: WatchedConsumer, session: asyncio.Task[None]) -> None:
        """Lets a consumer go, whether it takes part in that or not."""
        settings = self._settings()
        consumer.give_up()
        session.cancel()
        await asyncio.wait((self._keep(session),), timeout=settings.let_go)
        closing = self._keep(asyncio.create_task(consumer.aclose()))
        await asyncio.wait((closing,), timeout=settings.close)
        closing.cancel()

    def _keep(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """A task that nobody waits for till its end; what it fails by was told, or is of no interest any more."""
        self._unfinished.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled():
            task.exception()

    async def _until_stopped(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return


async def gather(seconds: float) -> None:
    """Lets records come together, and serves whoever else lives in the event loop, however little time is left."""
    await asyncio.sleep(max(0.0, seconds))


def starts(records: Sequence[Record]) -> dict[Place, int]:
    """The first offset of each partition, of records in order."""
    found: dict[Place, int] = {}
    for record in records:
        found.setdefault(record.place, record.offset)
    return found
