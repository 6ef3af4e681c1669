"""Takes the bytes of records before aiokafka's fetcher reads them; `consumer_records.py` reads them instead.

Also bounds by bytes what one call hands over: aiokafka counts records only.
"""
# ruff: noqa: SLF001

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Final
from weakref import proxy

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import OffsetOutOfRangeError, RecordTooLargeError
from aiokafka.protocol.fetch import FetchRequest

from adapters.kafka.consumer_records import PartitionReader
from adapters.kafka.decompression import BATCH_BYTES
from service.domain.consuming import Place, Record

_POLL_BYTES: Final = 16 * 1024 * 1024
_HEADER_BYTES: Final = 100
"""What a header takes in memory beside its bytes, about."""


class TooLarge(PartitionReader):
    """Stands for a record that the broker could not send as a whole; whoever fetches has passed it already."""

    def __init__(self, place: Place, offset: int, limit: int) -> None:
        super().__init__(place, b"", offset + 1, offset + 1)
        why = f"It is larger than the {limit} bytes that are fetched at once."
        self._records = iter([Record(*place, offset, 0, None, None, (), why)])


class FetchedRecords(OrderedDict[Any, Any]):
    """What aiokafka's fetcher has fetched and nobody has taken yet, by partition, with readers of ours.

    One call to take records gets `poll_bytes` of them, and what the last one has above. Batches that hold more
    than `batch_bytes` once they are decompressed can't be read.
    """

    def __init__(
        self,
        client: Any,
        subscription: Any,
        on_out_of_range: Callable[[Any, int], None] | None = None,
        *,
        batch_bytes: int = BATCH_BYTES,
        poll_bytes: int = _POLL_BYTES,
    ) -> None:
        super().__init__()
        self._room = self._poll_bytes = poll_bytes
        self._batch_bytes = batch_bytes
        self._on_out_of_range = on_out_of_range
        self._subscription = subscription
        self._send = client.send
        self._fetched: dict[Place, tuple[bytes, int]] = {}

    def keys(self) -> Any:
        """The partitions; a call of aiokafka's to take records begins by asking for them."""
        self._room = self._poll_bytes
        return super().keys()

    def __setitem__(self, partition: Any, result: Any) -> None:
        place = (partition.topic, partition.partition)
        if type(result) is FetchResult:
            theirs = result._partition_records
            raw, end = self._fetched.pop(place)
            result._partition_records = PartitionReader(
                place, raw, theirs.next_fetch_offset, end, theirs._aborted_transactions, self._batch_bytes
            )
            # aiokafka's own counts records only: 500 of one batch of 50 kB may be 500 MB.
            result.getall = partial(self._some_of, proxy(result))
        elif isinstance(result._error, RecordTooLargeError):
            _, _, offset, limit = result._error.args
            result = FetchResult(
                partition,
                assignment=self._subscription.subscription.assignment,
                partition_records=TooLarge(place, offset, limit),
                backoff=result._backoff,
            )
        elif self._on_out_of_range is not None and isinstance(result._error, OffsetOutOfRangeError):
            ((_, offset),) = result._error.args[0].items()
            self._on_out_of_range(partition, offset)
            return
        super().__setitem__(partition, result)

    def _some_of(self, result: Any, most: int | None = None) -> list[Record]:
        """As aiokafka's `getall`, as long as there is room.

        What is decompressed takes room, too: hundreds of batches that can't be read must not hold up the loop.
        """
        records: list[Record] = []
        reader = result._partition_records
        before = reader.decompressed
        while self._room > 0 and (most is None or len(records) < most):
            record = result.getone()
            if record is None:
                break
            records.append(record)
            self._room -= _size(record) + reader.decompressed - before
            before = reader.decompressed
        return records

    async def send(self, node: Any, request: Any, **others: Any) -> Any:
        """Sends as the client does and keeps the bytes of records until the fetcher, right after, brings them."""
        answer = await self._send(node, request, **others)
        if isinstance(request, FetchRequest):
            self._fetched = {
                (topic, number): (raw, end)
                for topic, partitions in answer.topics
                for number, _, end, *_, raw in partitions
                if raw
            }
        return answer


def read_all_records(
    consumer: Any,
    on_out_of_range: Callable[[Any, int], None] | None = None,
    *,
    batch_bytes: int = BATCH_BYTES,
    poll_bytes: int = _POLL_BYTES,
) -> None:
    """Makes a started consumer of aiokafka's that reads nothing yet yield our Records instead of its own.

    `on_out_of_range` is told of each partition that has nothing at the offset from where it was to be read;
    without it that is an error. `batch_bytes` and `poll_bytes` are those of FetchedRecords.
    """
    fetched = FetchedRecords(
        consumer._client, consumer._subscription, on_out_of_range, batch_bytes=batch_bytes, poll_bytes=poll_bytes
    )
    consumer._client.send = fetched.send
    consumer._fetcher._records = fetched


def _size(record: Record) -> int:
    headers = sum(_HEADER_BYTES + len(name) + len(content or b"") for name, content in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers
