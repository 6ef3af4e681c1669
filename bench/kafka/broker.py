"""A Kafka broker of a run's own, beside everything that is not under test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.fleet import Cores, StartError
from tests.kafka import prepare
from tests.support.kafka import KafkaCluster

PARTITIONS = 12
"""As many as topics have when the service makes them."""


class Broker:
    """One broker. `pid` is its process."""

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster
        self.bootstrap = cluster.bootstrap

    @property
    def pid(self) -> int:
        """Its process id."""
        process = self._cluster.nodes[0].process
        assert process is not None
        return process.pid

    def create(self, *topics: str) -> None:
        """Makes topics."""
        asyncio.run(self._create(topics))

    def statuses(self, topic: str, header: str) -> list[tuple[str, str]]:
        """Key and one header of every record that a topic holds."""
        records = asyncio.run(self._cluster.records(topic))
        return [
            ((record.key or b"").decode(), dict(record.headers).get(header, b"").decode()) for record in records
        ]

    def stop(self) -> None:
        """Ends it; its data is gone with the run's folder."""
        self._cluster.close()

    async def _create(self, topics: tuple[str, ...]) -> None:
        for topic in topics:
            await self._cluster.create(topic, PARTITIONS)


def start(cores: Cores, folder: Path) -> Broker:
    """Makes and starts one in a folder that is not there yet.

    Raises:
        StartError: this machine has none, or it did not start.
    """
    if not prepare.can_start():
        raise StartError(f"no Kafka: {prepare.how()}")
    folder.mkdir()
    try:
        with _pinned(cores.rest):
            cluster = KafkaCluster(folder)
    except AssertionError as error:
        raise StartError(f"the broker's storage was not made: {error}") from None
    try:
        with _pinned(cores.rest):
            cluster.start()
    except AssertionError as error:
        cluster.close()
        raise StartError(f"the broker did not start: {error}") from None
    return Broker(cluster)


@contextmanager
def _pinned(cores: frozenset[int]) -> Iterator[None]:
    """What starts meanwhile has these cores, with all its threads."""
    before = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
