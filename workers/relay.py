"""The relay: publishes what the outbox holds, in order for each key, at least once.

It works on the shards that it has a lease of and sends nothing that could still be under way when the lease is
over. One that can't reach the broker leaves its shards to others before long. A send whose outcome is unknown ends
the publisher, so that nothing of it comes later, and the rows are read again: what was deleted meanwhile is not
there any more, and its tombstone is. A process that is stopped for longer than its lease while it sends has the
newest state sent once more when it goes on; only one that dies before it could say so leaves an older state
behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from service.domain.outbox import Outbox, OutboxRow
from service.domain.publishing import Delivery, Message, Publisher
from service.domain.stored import StoreError
from service.domain.tracing import Tracer
from workers.leases import boottime
from workers.relay_backlog import Backlog, line_of
from workers.relay_connection import Connection
from workers.relay_messages import Messages
from workers.relay_ports import RelayTelemetry, Render
from workers.relay_settings import RelaySettings
from workers.relay_spans import SendSpans

_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0
_SETTLE_TRIES: Final = 5


class Relay:
    """One relay. `run` it once; `stop` lets it leave.

    `name` tells it from others. `make` gives a publisher that is not started. `clock` runs while the machine
    sleeps. With a `tracer` what goes out for recorded jobs has spans.
    """

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        make: Callable[[], Publisher],
        render: Render,
        telemetry: RelayTelemetry,
        *,
        settings: Callable[[], RelaySettings] = RelaySettings,
        clock: Callable[[], float] = boottime,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        tracer: Tracer | None = None,
    ) -> None:
        self._name = name
        self._spans = SendSpans(tracer)
        self._outbox = outbox
        self._connection = Connection(make, telemetry, clock)
        self._telemetry = telemetry
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._part = False
        self._held: Mapping[int, int] = {}
        self._until = self._renewed = self._began = self._back = -1e9
        self._backlog = Backlog()
        self._messages = Messages(render, self._backlog, telemetry)
        self._sent: list[tuple[list[OutboxRow], Mapping[int, int]]] = []
        self._unsure: list[tuple[OutboxRow, int]] = []
        self._wait = _FIRST_WAIT
        self._wake = asyncio.Event()
        self._left = asyncio.Event()
        self._emptied: asyncio.Event | None = None
        self.stopping = False

    def wake(self) -> None:
        """There may be something to publish. From the event loop's own thread; call it as often as you like."""
        self._wake.set()

    def stop(self) -> None:
        """Reads nothing more; `run` returns when what is under way is over. Idempotent."""
        self.stopping = True
        self._wake.set()

    async def leave(self) -> None:
        """`stop`, and returns when `run` does."""
        self.stop()
        await self._left.wait()

    async def drain(self, seconds: float) -> None:
        """Publishes what waits in its shards, for so many seconds at most; then as `leave`."""
        self._emptied = emptied = asyncio.Event()
        self.wake()
        try:
            async with asyncio.timeout(seconds):
                await emptied.wait()
        except TimeoutError:
            # It is in the outbox, for whoever comes next.
            pass
        await self.leave()

    async def run(self) -> None:
        """Publishes until stopped or cancelled. Whatever fails is tried again."""
        try:
            while not self.stopping:
                self._wake.clear()
                self._began = self._clock()
                wait = await self.turn()
                if wait is not None and not self.stopping:
                    await self._pause(wait)
        finally:
            try:
                await self._leave()
            finally:
                self._left.set()

    async def turn(self) -> float | None:
        """One batch. Seconds until the next one if nobody wakes the relay; None: there is more at once."""
        settings = self._settings()
        try:
            return await self._turn(settings, self._emptied)
        except StoreError:
            self._telemetry.store_failed("relay")
        except Exception as error:  # noqa: BLE001 - what one turn fails by must not be the last thing that is done
            self._telemetry.turn_crashed(error)
            await self._connection.close(settings)
        return self._longer()

    async def _turn(self, settings: RelaySettings, emptied: asyncio.Event | None) -> float | None:
        if not await self._take_part(settings):
            return self._longer()
        rows = await self._read(settings) if self._held else []
        if not rows:
            if emptied is not None:
                emptied.set()
            return settings.poll if self._held else settings.renew
        before = self._held
        # What is sent now must be over within the lease.
        await self._hold(settings, settings.trusted - settings.send - settings.close)
        mine = [row for row in rows if self._held.get(row.shard) == before[row.shard]]
        well = await self._pass_on(mine, settings)
        await self._confirm()
        if self._unsure:
            await self._hold(settings, 0.0)
            await self._repair()
        if not well:
            await self._step_aside(settings)
            return self._longer()
        self._wait = _FIRST_WAIT
        return None if len(rows) >= settings.rows else 0.0

    async def _take_part(self, settings: RelaySettings) -> bool:
        """Whether there is a publisher, and the shards are ours: nobody has any who never reached the broker."""
        if self._part:
            await self._hold(settings, settings.renew)
            await self._confirm()
            await self._repair()
        if not await self._connection.open(settings):
            await self._step_aside(settings)
            return False
        if not self._part and self._clock() >= self._back:
            self._part = True
            await self._hold(settings, 0.0)
        return self._part

    async def _step_aside(self, settings: RelaySettings) -> None:
        """Has others publish, once the broker was out of reach for long: they may have a better way to it."""
        if not self._part or self._connection.failed_for() < settings.patience:
            return
        if self._connection.quiet(settings):
            await self._outbox.leave(self._name)
        # Else the leases run out when nothing can be under way any more.
        self._part, self._held = False, {}
        self._back = self._clock() + settings.away
        self._telemetry.holds(0)

    async def _hold(self, settings: RelaySettings, at_least_every: float) -> None:
        """Renews the leases when that is due: at any rate when they may not have lasted."""
        sent = self._clock()
        if sent - self._renewed < at_least_every:
            return
        self._held = await self._outbox.hold(self._name, settings.lease)
        self._renewed, self._until = sent, sent + settings.trusted
        self._telemetry.holds(len(self._held))

    async def _confirm(self) -> None:
        """Has deleted what went out. Of a shard that is another's nothing is deleted: it goes out once more."""
        while self._sent:
            rows, held = self._sent[0]
            await self._outbox.sent(rows, held)
            del self._sent[0]

    async def _repair(self) -> None:
        """Has what went out too late followed by the newest state. The leases were just renewed."""
        if self._unsure:
            lost = [row for row, epoch in self._unsure if self._held.get(row.shard) != epoch]
            if lost:
                await self._outbox.again(lost)
                self._telemetry.late(len(lost))
            self._unsure.clear()

    async def _read(self, settings: RelaySettings) -> list[OutboxRow]:
        self._backlog.expire(self._clock())
        rows = await self._outbox.pending(
            self._held,
            settings.rows,
            most_bytes=settings.most_bytes,
            most_body=2 * settings.most_value,
            without=self._backlog.aside,
            resting=self._backlog.resting,
        )
        return self._backlog.in_line(rows)

    async def _pass_on(self, rows: Sequence[OutboxRow], settings: RelaySettings) -> bool:
        """Sends what is to be sent. False: something failed that may pass."""
        held = self._held
        batch, dropped = self._messages.of(rows, self._clock(), settings)
        went: list[OutboxRow] = []
        well = True
        if batch:
            if self._clock() + settings.send + settings.close > self._until:
                return False
            since = self._spans.begin()
            deliveries = await self._connection.send([message for _, message in batch], settings)
            self._spans.ended(batch, deliveries, since)
            well = all(delivery is Delivery.SENT for delivery in deliveries)
            if self._clock() >= self._until:
                # The machine slept, or this process was stopped: others may have sent newer states before.
                tried = zip(batch, deliveries, strict=True)
                self._unsure += [
                    (row, held[row.shard])
                    for (row, _), delivery in tried
                    if delivery in (Delivery.SENT, Delivery.UNKNOWN)
                ]
            went = self._sort(batch, deliveries, settings)
        self._telemetry.sent(went)
        self._telemetry.dropped(dropped)
        self._backlog.done(went)
        self._sent.append(([*went, *dropped], held))
        return well

    def _sort(
        self, batch: Sequence[tuple[OutboxRow, Message]], deliveries: Sequence[Delivery], settings: RelaySettings
    ) -> list[OutboxRow]:
        """The rows that went out. What follows one that did not, in its line, is sent after it once more."""
        went: list[OutboxRow] = []
        broken = set()
        now = self._clock()
        for (row, message), delivery in zip(batch, deliveries, strict=True):
            line = line_of(row)
            if line is not None and line in broken:
                continue
            if delivery is Delivery.SENT:
                went.append(row)
                continue
            broken.add(line)
            self._telemetry.failed(delivery, message.topic)
            if delivery is Delivery.REFUSED:
                self._backlog.rest(row, now + settings.rest)
            elif delivery is Delivery.UNKNOWN:
                self._backlog.put_aside(row, now + self._wait)
            elif self._backlog.is_small(row):
                self._backlog.put_aside(row, now + settings.aside)
            else:
                self._backlog.make_small(row)
        return went

    async def _pause(self, wait: float) -> None:
        """Until there may be something to publish, and it is worth a batch."""
        if wait > 0:
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass
        left = self._began + self._settings().gather - self._clock()
        if left > 0 and not self.stopping:
            await self._sleep(left)

    def _longer(self) -> float:
        wait, self._wait = self._wait, min(_LONGEST_WAIT, self._wait * 2)
        return wait

    async def _leave(self) -> None:
        """Tells the database what it must know, and lets others have the shards."""
        settings = self._settings()
        await self._connection.close(settings)
        for _ in range(_SETTLE_TRIES):
            try:
                if self._unsure:
                    await self._hold(settings, 0.0)
                await self._confirm()
                await self._repair()
                if self._connection.quiet(settings):
                    await self._outbox.leave(self._name)
            except StoreError:
                self._telemetry.store_failed("leave")
            except Exception as error:  # noqa: BLE001 - see above
                self._telemetry.turn_crashed(error)
            else:
                return
            await self._sleep(_FIRST_WAIT)
