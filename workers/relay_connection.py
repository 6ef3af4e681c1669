"""A relay's way to the broker: one publisher as long as it serves, and for how long none did.

Whatever a publisher fails by, it is closed and another one made; what was to be sent then has an unknown outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from service.domain.publishing import Delivery, Message, Publisher
from workers.relay_ports import RelayTelemetry
from workers.relay_settings import RelaySettings

_NEVER: Final = -1e9


class Connection:
    """`make` gives a publisher that is not started. `clock` is the relay's."""

    def __init__(
        self, make: Callable[[], Publisher], telemetry: RelayTelemetry, clock: Callable[[], float]
    ) -> None:
        self._make = make
        self._telemetry = telemetry
        self._clock = clock
        self._publisher: Publisher | None = None
        self._unreached_since: float | None = None
        self._unanswered_since: float | None = None
        self._unclosed_at = _NEVER

    async def open(self, settings: RelaySettings) -> bool:
        """Whether there is a publisher now."""
        if self._publisher is not None:
            return True
        try:
            self._publisher = self._make()
            async with asyncio.timeout(settings.start):
                await self._publisher.start()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the next one may be better
            _pass_on(error)
            self._telemetry.publisher_failed(error)
            self._unreached_since = self._since(self._unreached_since)
            await self.close(settings)
            return False
        self._unreached_since = None
        return True

    async def send(self, messages: Sequence[Message], settings: RelaySettings) -> Sequence[Delivery]:
        """What became of messages. Unless all were sent, the publisher is closed when this returns."""
        deliveries: Sequence[Delivery] = [Delivery.UNKNOWN] * len(messages)
        publisher = self._publisher
        if publisher is None:
            return deliveries
        try:
            async with asyncio.timeout(settings.send):
                deliveries = await publisher.send(messages)
        except TimeoutError:
            pass
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - see above
            _pass_on(error)
            self._telemetry.publisher_failed(error)
        if Delivery.SENT in deliveries:
            self._unanswered_since = None
        elif Delivery.UNKNOWN in deliveries:
            self._unanswered_since = self._since(self._unanswered_since)
        if any(delivery is not Delivery.SENT for delivery in deliveries):
            await self.close(settings)
        return deliveries

    def failed_for(self) -> float:
        """For how many seconds no publisher could be had, or none could send anything; 0.0 if it is not so."""
        since = [one for one in (self._unreached_since, self._unanswered_since) if one is not None]
        return self._clock() - min(since) if since else 0.0

    def quiet(self, settings: RelaySettings) -> bool:
        """Whether nothing of closed publishers is under way; one that would not close has a lease's time."""
        return self._clock() - self._unclosed_at > settings.lease

    async def close(self, settings: RelaySettings) -> None:
        """Ends the publisher, if there is one; `quiet` tells how that went."""
        publisher, self._publisher = self._publisher, None
        if publisher is None:
            return
        before, self._unclosed_at = self._unclosed_at, self._clock()
        try:
            async with asyncio.timeout(settings.close):
                await publisher.aclose()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - see above
            _pass_on(error)
            self._telemetry.publisher_failed(error)
        else:
            self._unclosed_at = before

    def _since(self, before: float | None) -> float:
        return self._clock() if before is None else before


def _pass_on(error: BaseException) -> None:
    """A cancellation of ours goes on. Clients of brokers end by others, of tasks of their own."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error
