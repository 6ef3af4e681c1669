"""Batches that hold far more than was sent of them: how much is taken into memory, and that reading goes on."""

import asyncio
import struct
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from adapters.kafka.consumer_records import PartitionReader
from adapters.kafka.decompression import HEADER_BYTES
from adapters.kafka.fetched_records import FetchedRecords
from service.domain.consuming import Record
from tests.support.kafka_batches import GZIP, LZ4, PLAIN, SNAPPY, ZSTD, Fields, batch, compressed, placed

CODECS = [GZIP, SNAPPY, LZ4, ZSTD]
MOST = 100_000
AFTER: list[Fields] = [(b"k", b"after", [])]
TOO_MUCH = f"Its batch is compressed and holds more than {MOST} bytes."
UNDONE = "Its batch is compressed by snappy and can't be decompressed here."


def read(raw: bytes, offset: int = 0, most: int = MOST) -> tuple[list[Record], int]:
    reader = PartitionReader(("t", 3), raw, offset, 1000, (), most)
    return list(reader), reader.next_fetch_offset


def values(count: int, size: int) -> list[Fields]:
    return [(b"k%d" % n, b"%03d" % n + bytes(size), [(b"h", b"%d" % n)]) for n in range(count)]


def held(raw: bytes) -> int:
    """How many bytes the records have without compression."""
    return len(batch(fields_of(raw))) - HEADER_BYTES


def fields_of(raw: bytes) -> list[Fields]:
    read_by_aiokafka = DefaultRecordBatch(raw)
    return [(one.key, one.value, [(name.encode(), b) for name, b in one.headers]) for one in read_by_aiokafka]


def with_content(content: bytes, codec: int) -> bytes:
    """A batch of five records whose compressed content is this."""
    raw = bytearray(batch(values(5, 10))[:HEADER_BYTES] + content)
    struct.pack_into(">i", raw, 8, len(raw) - 12)
    raw[22] |= codec
    return placed(raw, 0)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [100, 500_000])
def test_a_compressed_batch_reads_as_it_was_written(codec: int, size: int) -> None:
    sent = values(5, size)
    raw = compressed(sent, codec)
    assert (raw[22] & 7, len(raw) < 5 * size) == (codec, True)
    records, following = read(placed(raw, 10) + placed(batch(AFTER), 15), 12, most=3_000_000)
    assert [(one.offset, one.key, one.value, one.unreadable) for one in records] == [
        (12, b"k2", sent[2][1], ""),
        (13, b"k3", sent[3][1], ""),
        (14, b"k4", sent[4][1], ""),
        (15, b"k", b"after", ""),
    ]
    assert (records[0].headers, following) == ([("h", b"2")], 16)
    stamps = [one.timestamp for one in DefaultRecordBatch(raw)]
    assert [one.timestamp_ms for one in records[:3]] == stamps[2:]


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_holds_too_much_is_told_for_each_of_its_records_and_the_record_after_it_comes(
    codec: int,
) -> None:
    raw = compressed(values(5, MOST), codec)
    assert raw[22] & 7 == codec
    records, following = read(placed(raw, 10) + placed(batch(AFTER), 15), 10)
    assert [(one.offset, one.value, one.unreadable) for one in records] == [
        *((offset, None, TOO_MUCH) for offset in range(10, 15)),
        (15, b"after", ""),
    ]
    assert following == 16


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_holds_just_as_much_as_it_may_is_read_and_with_a_byte_more_it_is_not(codec: int) -> None:
    raw = compressed(values(3, 5000), codec)
    size = held(raw)
    assert size > 15_000
    assert [one.unreadable for one in read(raw, most=size)[0]] == [""] * 3
    told = f"Its batch is compressed and holds more than {size - 1} bytes."
    assert [one.unreadable for one in read(raw, most=size - 1)[0]] == [told] * 3


@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_batch_that_holds_too_much_is_passed_too(codec: int) -> None:
    raw = bytearray(placed(compressed(values(5, MOST), codec), 10))
    raw[17] ^= 1  # the checksum
    records, following = read(bytes(raw) + placed(batch(AFTER), 15), 10)
    assert [one.offset for one in records] == [10, 15]
    assert records[0].unreadable.startswith("The checksum of its batch is wrong, and nothing more")
    assert (records[1].value, following) == (b"after", 16)


def test_half_a_gigabyte_in_a_few_kilobytes_costs_little_memory() -> None:
    """In a process of its own: how much one ever had only grows."""
    program = """
import resource, struct, sys
from adapters.kafka.consumer_records import PartitionReader
from tests.support.kafka_batches import ZSTD, batch, placed
raw = bytearray(batch([(b"k", b"v", [])])[:61] + sys.stdin.buffer.read())
struct.pack_into(">i", raw, 8, len(raw) - 12)
raw[22] |= ZSTD
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(record,) = PartitionReader(("t", 0), placed(raw, 0), 0, 1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, record.unreadable)
"""
    # Frames one after the other are one stream.
    frames = bytes(cramjam.zstd.compress(bytes(1 << 20))) * 512
    assert len(frames) < 100_000
    done = subprocess.run([sys.executable, "-c", program], input=frames, capture_output=True, check=True)
    kilobytes, unreadable = done.stdout.decode().split(" ", 1)
    assert unreadable.strip() == "Its batch is compressed and holds more than 33554432 bytes."
    assert int(kilobytes) < 80 * 1024


def test_snappy_whose_sizes_lie_is_told_of_and_takes_nothing() -> None:
    block = bytes(cramjam.snappy.compress_raw(b"abc" * 1000))
    begins = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
    for content, why in [
        (b"\xff\xff\xff\xff\x0f" + block[2:], TOO_MUCH),  # 4 GiB
        (b"\x05" + block[2:], UNDONE),
        (begins + struct.pack(">i", len(block) + 1) + block, UNDONE),
        (begins + struct.pack(">i", -4) + block, UNDONE),
        (begins + (struct.pack(">i", len(block)) + block) * 40, TOO_MUCH),
    ]:
        records, following = read(with_content(content, SNAPPY) + placed(batch(AFTER), 5))
        assert [one.unreadable for one in records] == [why] * 5 + [""]
        assert following == 6


def test_snappy_without_the_framing_of_javas_clients_is_read() -> None:
    plain = batch(values(5, 10))
    content = bytes(cramjam.snappy.compress_raw(plain[HEADER_BYTES:]))
    records, _ = read(with_content(content, SNAPPY))
    assert [one.value for one in records] == [value for _, value, _ in values(5, 10)]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [GZIP, SNAPPY])
def test_a_batch_of_an_old_format_is_read_or_told_of_by_the_same_bound(magic: int, codec: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, codec, 1 << 30)
    for offset in range(3):
        builder.append(offset, timestamp=1_790_000_000_000, key=b"k", value=b"%d" % offset + bytes(20_000))
    message = builder.build()
    struct.pack_into(">q", message, 0, 2)  # a broker gives it the offset of its last record
    raw = bytes(message)
    assert len(raw) < 10_000
    whole, _ = read(raw)
    assert [(one.offset, (one.value or b"")[:1]) for one in whole] == [(0, b"0"), (1, b"1"), (2, b"2")]
    told, following = read(raw + placed(batch(AFTER), 3), most=50_000)
    why = "Its batch is compressed and holds more than 50000 bytes."
    assert [(one.offset, one.unreadable) for one in told] == [(0, why), (1, why), (2, why), (3, "")]
    assert (told[-1].value, following) == (b"after", 4)


def test_a_large_batch_of_a_record_with_headers_only_is_told_of_and_its_neighbours_come() -> None:
    builder = DefaultRecordBatchBuilder(2, ZSTD, 0, -1, -1, -1, 1 << 30)
    for offset, count in enumerate([1, 700_000, 10_000]):
        builder.append(offset, 1_790_000_000_000, b"k", b"v", [("", None)] * count)
    records, following = read(bytes(builder.build()), most=3_000_000)
    assert [record.unreadable for record in records] == ["", "It has more than 10000 headers.", ""]
    assert [len(record.headers) for record in records] == [1, 10_000, 10_000]
    assert following == 3


class _State:
    paused = False
    position = 0

    def consumed_to(self, position: int) -> None:
        self.position = position


def fetched(raw: dict[TopicPartition, bytes], poll_bytes: int) -> Any:
    """aiokafka's fetcher when it has fetched these and is asked for records."""
    states = {place: _State() for place in raw}
    assignment = SimpleNamespace(active=True, state_value=states.__getitem__)
    subscription = SimpleNamespace(reassignment_in_progress=False)
    records = FetchedRecords(SimpleNamespace(send=None), subscription, batch_bytes=10**7, poll_bytes=poll_bytes)
    for place, content in raw.items():
        records._fetched[place.topic, place.partition] = (content, 1000)
        theirs = SimpleNamespace(next_fetch_offset=0, _aborted_transactions=[])
        records[place] = FetchResult(place, assignment=assignment, partition_records=theirs, backoff=0)
    return SimpleNamespace(
        _records=records, _subscriptions=subscription, _notify=lambda _: None, _wait_consume_future=None
    )


@pytest.mark.parametrize("codec", [PLAIN, ZSTD])
def test_one_call_takes_records_until_they_are_so_many_bytes_and_the_next_goes_on(codec: int) -> None:
    one, other = TopicPartition("t", 0), TopicPartition("t", 1)
    ten = compressed(values(10, 1000), codec)
    fetcher = fetched({one: ten, other: ten}, 3500)
    calls = []
    while taken := asyncio.run(Fetcher.fetched_records(fetcher, (), 0, 500)):
        calls.append({place.partition: [record.offset for record in records] for place, records in taken.items()})
    # That a batch was decompressed takes room, too.
    assert (
        calls
        == {
            PLAIN: [
                {0: [0, 1, 2, 3]},
                {0: [4, 5, 6, 7]},
                {0: [8, 9], 1: [0, 1]},
                {1: [2, 3, 4, 5]},
                {1: [6, 7, 8, 9]},
            ],
            ZSTD: [{0: [0]}, {0: [1, 2, 3, 4]}, {0: [5, 6, 7, 8]}, {0: [9], 1: [0]}, {1: [1, 2, 3, 4]}]
            + [{1: [5, 6, 7, 8]}, {1: [9]}],
        }[codec]
    )
    assert not fetcher._records


def test_one_call_tries_one_batch_that_holds_too_much_and_takes_no_time_for_the_next() -> None:
    place = TopicPartition("t", 0)
    bomb = compressed([(b"k", bytes(11_000_000), [])], ZSTD)
    fetcher = fetched({place: b"".join(placed(bomb, offset) for offset in range(3))}, 1_000_000)
    for offset in range(3):
        (record,) = asyncio.run(Fetcher.fetched_records(fetcher, (), 0, 500))[place]
        assert (record.offset, record.unreadable) == (
            offset,
            "Its batch is compressed and holds more than 10000000 bytes.",
        )


def test_headers_that_hold_nothing_count_by_what_they_take() -> None:
    place = TopicPartition("t", 0)
    builder = DefaultRecordBatchBuilder(2, PLAIN, 0, -1, -1, -1, 1 << 30)
    for offset in range(4):
        builder.append(offset, 1_790_000_000_000, b"k", b"v", [("", None)] * 1000)
    fetcher = fetched({place: bytes(builder.build())}, 150_000)
    assert len(asyncio.run(Fetcher.fetched_records(fetcher, (), 0, 500))[place]) == 2


def test_a_record_larger_than_what_one_call_takes_comes_alone_and_a_count_still_counts() -> None:
    place = TopicPartition("t", 0)
    fetcher = fetched({place: compressed(values(3, 5000), ZSTD)}, 10)
    assert [record.offset for record in asyncio.run(Fetcher.fetched_records(fetcher, (), 0, 500))[place]] == [0]
    fetcher = fetched({place: compressed(values(3, 10), PLAIN)}, 10_000)
    taken = asyncio.run(Fetcher.fetched_records(fetcher, (), 0, 2))
    assert [record.offset for record in taken[place]] == [0, 1]
