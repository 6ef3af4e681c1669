"""Records out of the bytes that a broker sends: all of them, also those that aiokafka gives up on.

aiokafka raises where it can't read a record: the partition stands still from there on, and what it had taken out
of other partitions in the same call is lost. Here each becomes a Record, if need be one with `unreadable`.
"""
# ruff: noqa: SLF001

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.util import decode_varint

from adapters.kafka.decompression import (
    BATCH_BYTES,
    HEADER_BYTES,
    TooMuchError,
    check_old,
    codec_of,
    decompressed,
)
from service.domain.consuming import Place, Record

_DAMAGED: Final = "The checksum of its batch is wrong: it may not be what was sent."
_LOST_DAMAGED: Final = "The checksum of its batch is wrong, and nothing more can be made out in it."
_NAME: Final = "A header's name is not UTF-8."
_HEADERS: Final = "It has more than 10000 headers."
_MALFORMED: Final = "Its bytes are not those of a record."
_CODECS: Final = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}

_OVERHEAD: Final = 12  # a batch's first offset and its length, which counts what follows
_MAGIC_AT: Final = 16
_ATTRIBUTES_OF_OLD_AT: Final = 17
_SMALLEST: Final = 26  # of the oldest format
_COUNT_AT: Final = 57
_LARGE: Final = 1024 * 1024
"""A larger batch is read record by record here: of one whose records are nothing but headers, of two bytes each,
aiokafka makes more than thirty times as much."""
_MOST_HEADERS: Final = 10_000
_COUNTED: Final = 10_000
"""So many lost records, at most, become one Record each; of more, as of a damaged batch, one stands for all."""


class PartitionReader:
    """The records of one partition in one answer, as an iterator that never raises.

    `next_fetch_offset` is where to read on after what was iterated. `aborted` are transactions that were broken
    off, as pairs of producer and first offset in order of the latter; `end` is the end of the partition's log.
    Batches that hold more than `batch_bytes` once they are decompressed can't be read. `decompressed` is how many
    bytes were, or were tried to be, so far.
    """

    def __init__(
        self,
        place: Place,
        raw: bytes,
        offset: int,
        end: int,
        aborted: Sequence[tuple[int, int]] = (),
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self.next_fetch_offset = offset
        self.decompressed = 0
        self._place = place
        self._raw = memoryview(raw)
        self._end = end
        self._aborted = list(aborted)
        self._batch_bytes = batch_bytes
        self._producers: set[int] = set()
        self._records = self._read()

    def __iter__(self) -> PartitionReader:
        return self

    def __next__(self) -> Record:
        return next(self._records)

    def _read(self) -> Iterator[Record]:
        for raw, following in _batches(self._raw):
            batch = _parsed(raw)
            if batch is None:
                yield from self._damaged(raw, following, self._end)
                continue
            if self._left_out(batch):
                self.next_fetch_offset = batch.next_offset
                continue
            after = batch.next_offset
            yield from self._of_batch(raw, batch, after)
            # Compaction may have taken the last ones.
            self.next_fetch_offset = max(self.next_fetch_offset, after)

    def _of_batch(self, raw: memoryview, batch: Any, after: int) -> Iterator[Record]:
        topic, partition = self._place
        plain = raw
        try:
            if raw[_MAGIC_AT] < 2:
                self.decompressed += check_old(raw, raw[_MAGIC_AT], self._batch_bytes)
            else:
                plain = self._plain(raw)
        except Exception as error:  # noqa: BLE001 - each codec has its own
            yield from self._lost(after, _undone(raw, error, self._batch_bytes))
            return
        if len(plain) > _LARGE and raw[_MAGIC_AT] == 2:
            yield from self._leniently(plain, after)
            return
        try:
            for one in batch if plain is raw else DefaultRecordBatch(plain):
                if one.offset >= after:
                    raise ValueError(one.offset)
                if one.offset >= self.next_fetch_offset:
                    record = Record(
                        topic, partition, one.offset, one.timestamp or 0, one.key, one.value, one.headers
                    )
                    self.next_fetch_offset = one.offset + 1
                    yield record
        except Exception:  # noqa: BLE001 - whatever parsers raise
            yield from self._leniently(plain, after)

    def _plain(self, raw: memoryview) -> memoryview:
        """See `decompressed`."""
        plain: memoryview | None = None
        try:
            plain = decompressed(raw, self._batch_bytes)
        finally:
            if plain is not raw:
                self.decompressed += self._batch_bytes if plain is None else len(plain)
        return plain

    def _left_out(self, batch: Any) -> bool:
        """Whether it holds no records for us: a transaction's mark, or records of one that was broken off."""
        producer = batch.producer_id
        if producer is None:
            return False
        while self._aborted and self._aborted[0][1] <= batch.base_offset:
            self._producers.add(self._aborted.pop(0)[0])
        if batch.is_control_batch:
            if _is_abort(batch):
                self._producers.discard(producer)
            return True
        return bool(batch.is_transactional) and producer in self._producers

    def _damaged(self, raw: memoryview, following: int | None, end: int) -> Iterator[Record]:
        """What can be made out in a batch with a wrong checksum. Its count and last offset may be wrong too."""
        first = self.next_fetch_offset
        if following is None or following <= first:
            claimed = first
            if len(raw) > _COUNT_AT:
                base, delta = struct.unpack_from(">q", raw)[0], struct.unpack_from(">i", raw, 23)[0]
                claimed = base + delta + 1
            following = max(first + 1, min(claimed, end))
        if len(raw) > _COUNT_AT and raw[_MAGIC_AT] == 2:
            try:
                plain = self._plain(raw)
            except Exception:  # noqa: BLE001 - each codec has its own
                yield from self._lost(following, _LOST_DAMAGED, each=False)
            else:
                yield from self._leniently(plain, following, _DAMAGED)
        else:
            yield from self._lost(following, _LOST_DAMAGED, each=False)

    def _leniently(self, plain: memoryview, following: int, damage: str = "") -> Iterator[Record]:
        """The rest of a batch without compression, up to the offset `following`, record by record."""
        if plain[_MAGIC_AT] < 2:
            yield from self._lost(following, _MALFORMED)
            return
        batch, payload, position = _DefaultRecordBatchPy(plain[:HEADER_BYTES]), plain[HEADER_BYTES:], 0
        for _ in range(batch._num_records):
            try:
                length, position = decode_varint(payload, position)
                body, position = payload[position : position + length], position + length
                record = self._one(body, batch, damage)
            except (ValueError, IndexError):
                break
            if length < 0 or position > len(payload) or record.offset >= following:
                break
            if record.offset >= self.next_fetch_offset:
                self.next_fetch_offset = record.offset + 1
                yield record
        else:
            if position == len(payload):
                # What is missing before `following`, compaction took.
                self.next_fetch_offset = following
        yield from self._lost(following, _LOST_DAMAGED if damage else _MALFORMED, each=not damage)

    def _one(self, body: memoryview, batch: Any, damage: str) -> Record:
        """One record, as much of it as is there.

        Raises:
            ValueError, IndexError: not even its offset is.
        """
        delta, position = decode_varint(body, 1)
        step, position = decode_varint(body, position)
        own_time = batch.timestamp_type == batch.CREATE_TIME
        timestamp = batch.first_timestamp + delta if own_time else batch.max_timestamp
        key: bytes | None = None
        value: bytes | None = None
        headers: list[tuple[str, bytes | None]] = []
        why = damage
        try:
            key, position = _bytes_at(body, position)
            value, position = _bytes_at(body, position)
            count, position = decode_varint(body, position)
            if count > _MOST_HEADERS:
                why = why or _HEADERS
            for _ in range(min(count, _MOST_HEADERS)):
                name, position = _bytes_at(body, position)
                content, position = _bytes_at(body, position)
                text = (name or b"").decode("utf-8", "replace")
                if not why and text.encode() != (name or b""):
                    why = _NAME
                headers.append((text, content))
            if position != len(body):
                why = why or _MALFORMED
        except (ValueError, IndexError):
            why = why or _MALFORMED
        topic, partition = self._place
        return Record(topic, partition, batch.base_offset + step, timestamp, key, value, headers, why)

    def _lost(self, following: int, why: str, *, each: bool = True) -> Iterator[Record]:
        """Records of which nothing is known, from where we are up to an offset."""
        first = self.next_fetch_offset
        topic, partition = self._place
        if following - first > 1 and not (each and following - first <= _COUNTED):
            why = f"{why} This stands for the offsets {first} to {following - 1}."
            self.next_fetch_offset = following
            yield Record(topic, partition, first, 0, None, None, (), why)
            return
        for offset in range(first, following):
            self.next_fetch_offset = offset + 1
            yield Record(topic, partition, offset, 0, None, None, (), why)


def _batches(raw: memoryview) -> Iterator[tuple[memoryview, int | None]]:
    """Whole batches, each with the next one's first offset if that is there; the last may have come in part."""
    position = 0
    while len(raw) - position >= _SMALLEST:
        (length,) = struct.unpack_from(">i", raw, position + 8)
        ends = position + _OVERHEAD + length
        if length < _SMALLEST - _OVERHEAD or ends > len(raw):
            return
        following = struct.unpack_from(">q", raw, ends)[0] if len(raw) - ends >= _OVERHEAD else None
        yield raw[position:ends], following
        position = ends


def _parsed(raw: memoryview) -> Any:
    """The batch by aiokafka's parser, unread; None if it is damaged."""
    magic = raw[_MAGIC_AT]
    try:
        batch = DefaultRecordBatch(raw) if magic >= 2 else LegacyRecordBatch(raw, magic)
        return batch if batch.validate_crc() else None
    except Exception:  # noqa: BLE001 - whatever it raises, the batch is none
        return None


def _undone(raw: memoryview, error: Exception, most: int) -> str:
    if isinstance(error, TooMuchError):
        return f"Its batch is compressed and holds more than {most} bytes."
    codec = codec_of(raw) if raw[_MAGIC_AT] >= 2 else raw[_ATTRIBUTES_OF_OLD_AT] & 7
    return f"Its batch is compressed by {_CODECS.get(codec, 'an unknown codec')} and can't be decompressed here."


def _is_abort(batch: Any) -> bool:
    try:
        return bool(ControlRecord.parse(next(batch).key) == ABORT_MARKER)
    except Exception:  # noqa: BLE001 - rather a record too many than records that are left out
        return True


def _bytes_at(body: memoryview, position: int) -> tuple[bytes | None, int]:
    """Bytes with their length before them.

    Raises:
        ValueError, IndexError: they are not there.
    """
    length, position = decode_varint(body, position)
    if length < 0:
        return None, position
    if position + length > len(body):
        raise IndexError(length)
    return bytes(body[position : position + length]), position + length
