"""Relays on an outbox in memory and a broker that is one list, whose time a test moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from service.domain.outbox import OutboxKind, OutboxRecord
from tests.support.fake_outbox import Broker, FakeOutbox, FakePublisher, RecordingRelayTelemetry, render
from workers.relay import Relay
from workers.relay_settings import RelaySettings


class Bench:
    """Relays on one outbox and one broker, whose time a test moves."""

    def __init__(self, **settings: float) -> None:
        self.now = 1000.0
        self.outbox = FakeOutbox(lambda: self.now)
        self.broker = Broker()
        self.telemetry = RecordingRelayTelemetry()
        self.settings = replace(RelaySettings(), **settings)  # type: ignore[arg-type]

    def relay(self, name: str = "r", make: Callable[[], FakePublisher] | None = None) -> Relay:
        return Relay(
            name,
            self.outbox,
            make or self.broker.make,
            self.render,
            self.telemetry,
            settings=lambda: self.settings,
            clock=lambda: self.now,
        )

    render = staticmethod(render)

    async def turns(self, relay: Relay, many: int = 20, seconds: float = 1.0) -> None:
        for _ in range(many):
            await relay.turn()
            self.now += seconds


def letter(key: bytes | None, value: bytes) -> OutboxRecord:
    return OutboxRecord(OutboxKind.DEAD_LETTER, key, value=value)


def owners(bench: Bench) -> set[str | None]:
    return {shard.name for shard in bench.outbox.shards if shard.until > bench.now}
