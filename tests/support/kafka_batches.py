"""Batches of records byte by byte: what no careful producer would send, and how to send it all the same.

Codecs that aiokafka has only with another package are written in their simplest form, which compresses nothing.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import NotLeaderForPartitionError, for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBase, _DefaultRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c

from tests.support.kafka_clients import Kafka

PLAIN: Final = 0
GZIP: Final = 1
SNAPPY: Final = 2
LZ4: Final = 3
ZSTD: Final = 4

_HEADER: Final = DefaultRecordBase.HEADER_STRUCT.size

Fields = tuple[bytes | None, bytes | None, Sequence[tuple[bytes, bytes | None]]]
"""Key, value and headers of one record."""


class _Name(str):
    """A header's name that is not text."""

    raw = b""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return self.raw


def batch(records: Sequence[Fields], codec: int = PLAIN, first_timestamp: int | None = None) -> bytes:
    """One batch, a millisecond between its records, from offset 0: the broker gives it its place.

    The first is of now, in milliseconds, unless said otherwise: a broker soon deletes what is older than a week.
    """
    first = int(time.time() * 1000) if first_timestamp is None else first_timestamp
    builder = _DefaultRecordBatchBuilderPy(
        magic=2,
        compression_type=codec if codec == GZIP else PLAIN,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=10_000_000,
    )
    for offset, (key, value, headers) in enumerate(records):
        named = [(_name(raw), content) for raw, content in headers]
        builder.append(offset, first + offset, key, value, named)
    raw = bytearray(builder.build())
    if codec in _STORED:
        raw[_HEADER:] = _STORED[codec](bytes(raw[_HEADER:]))
        struct.pack_into(">i", raw, 8, len(raw) - 12)
        raw[22] |= codec
    return placed(raw, 0)


def compressed(records: Sequence[Fields], codec: int) -> bytes:
    """As `batch`, by the real codec; what does not become smaller by it stays as it is."""
    builder = _DefaultRecordBatchBuilderPy(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 40,
    )
    first = int(time.time() * 1000)
    for offset, (key, value, headers) in enumerate(records):
        builder.append(offset, first + offset, key, value, [(_name(raw), content) for raw, content in headers])
    return placed(builder.build(), 0)


def placed(raw: bytes | bytearray, first: int, *, sealed: bool = True) -> bytes:
    """The batch as it stands in a log from this offset; `sealed` with a checksum that is right."""
    moved = bytearray(raw)
    struct.pack_into(">q", moved, 0, first)
    if sealed:
        checksum = calc_crc32c(bytes(moved[DefaultRecordBase.ATTRIBUTES_OFFSET :]))
        struct.pack_into(">I", moved, DefaultRecordBase.CRC_OFFSET, checksum)
    return bytes(moved)


async def send_batch(kafka: Kafka, topic: str, raw: bytes, partition: int = 0) -> None:
    """Produces the bytes as they are.

    Raises:
        aiokafka.errors.KafkaError: what the broker has against them.
    """
    async with kafka.admin() as admin:
        client: Any = admin._client
        await client.set_topics([topic])
        request = ProduceRequest(
            transactional_id=None, required_acks=-1, timeout=10_000, topics=[(topic, [(partition, raw)])]
        )
        for _ in range(100):
            node = client.cluster.leader_for_partition(TopicPartition(topic, partition))
            ((_, ((_, code, *_),)),) = (await client.send(node, request)).topics
            if code != NotLeaderForPartitionError.errno:
                break
            # A topic that is quite new.
            await asyncio.sleep(0.05)
            await client.force_metadata_update()
    if code:
        raise for_code(code)


def _name(raw: bytes) -> _Name:
    name = _Name()
    name.raw = raw
    return name


def _snappy(content: bytes) -> bytes:
    """One literal of up to 64 KiB in one chunk, in the framing of Java's clients."""
    size = bytearray()
    rest = len(content)
    while rest > 0x7F:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    size.append(rest)
    chunk = bytes(size) + b"\xf4" + struct.pack("<H", len(content) - 1) + content
    return b"\x82SNAPPY\x00" + struct.pack(">iii", 1, 1, len(chunk)) + chunk


def _lz4(content: bytes) -> bytes:
    """One stored block of up to 64 KiB."""
    return b"\x04\x22\x4d\x18\x60\x40\x82" + struct.pack("<I", len(content) | 1 << 31) + content + bytes(4)


def _zstd(content: bytes) -> bytes:
    """One raw block of 256 bytes to 64 KiB."""
    block = struct.pack("<I", len(content) << 3 | 1)[:3]
    return b"\x28\xb5\x2f\xfd\x60" + struct.pack("<H", len(content) - 256) + block + content


_STORED: Final[Mapping[int, Callable[[bytes], bytes]]] = {SNAPPY: _snappy, LZ4: _lz4, ZSTD: _zstd}
