"""How a partition's bytes become records when something is wrong with them; a real broker sends them elsewhere."""

import random
import struct
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchError, FetchResult
from aiokafka.errors import RecordTooLargeError

from adapters.kafka.consumer_records import PartitionReader
from adapters.kafka.fetched_records import FetchedRecords
from service.domain.consuming import Record
from tests.support import kafka_batches
from tests.support.kafka_batches import GZIP, PLAIN, Fields, placed

FIVE: list[Fields] = [(b"k%d" % n, b"value %d" % n, [(b"name", b"%d" % n)]) for n in range(5)]


def batch(records: list[Fields], codec: int = PLAIN) -> bytes:
    return kafka_batches.batch(records, codec, 1_790_000_000_000)


def read(raw: bytes, offset: int = 0, end: int = 1000) -> tuple[list[Record], int]:
    reader = PartitionReader(("t", 3), raw, offset, end)
    return list(reader), reader.next_fetch_offset


@pytest.mark.parametrize("codec", [PLAIN, GZIP])
def test_whole_batches_come_as_they_are_from_the_offset_that_was_asked_for(codec: int) -> None:
    log = placed(batch(FIVE, codec), 10) + placed(batch(FIVE, codec), 20)
    records, following = read(log + log[:40], 12)
    assert [record.offset for record in records] == [12, 13, 14, 20, 21, 22, 23, 24]
    assert following == 25
    assert records[0] == Record("t", 3, 12, 1_790_000_000_002, b"k2", b"value 2", [("name", b"2")])


@pytest.mark.parametrize("codec", [PLAIN, GZIP])
def test_a_header_name_that_is_no_utf8_spoils_its_own_record_only(codec: int) -> None:
    bad: Fields = (b"key", None, [(b"a\xff", b"1"), (b"a\xff", None), ("ü".encode(), b"2")])
    records, following = read(placed(batch([*FIVE[:2], bad, *FIVE[3:]], codec), 7))
    assert [record.unreadable for record in records] == ["", "", "A header's name is not UTF-8.", "", ""]
    assert records[2] == Record(
        "t",
        3,
        9,
        1_790_000_000_002,
        b"key",
        None,
        [("a\ufffd", b"1"), ("a\ufffd", None), ("ü", b"2")],
        records[2].unreadable,
    )
    assert (records[3].key, records[4].value, following) == (b"k3", b"value 4", 12)


def test_a_record_whose_lengths_lie_spoils_itself_only_and_shows_what_can_be_made_out() -> None:
    raw = bytearray(batch(FIVE))
    at = raw.index(b"value 2") - 1
    raw[at] = 0x7E  # 63 bytes
    records, following = read(placed(raw, 0))
    assert [record.unreadable for record in records] == ["", "", "Its bytes are not those of a record.", "", ""]
    assert (records[2].key, records[2].value) == (b"k2", None)
    assert (records[3].key, following) == (b"k3", 5)


def test_a_batch_that_can_not_be_decompressed_becomes_one_record_for_each_that_is_lost() -> None:
    for codec, name in [(GZIP, "gzip"), (6, "an unknown codec")]:
        raw = bytearray(batch(FIVE))
        raw[22] |= codec
        records, following = read(placed(raw, 0) + placed(batch(FIVE), 5))
        assert [record.offset for record in records] == list(range(10))
        assert {record.unreadable for record in records[:5]} == {
            f"Its batch is compressed by {name} and can't be decompressed here."
        }
        assert [record.value for record in records[5:]] == [value for _, value, _ in FIVE]
        assert following == 10


def test_a_damaged_batch_is_told_with_what_can_be_made_out_and_its_neighbours_come() -> None:
    raw = bytearray(placed(batch(FIVE), 5))
    raw[raw.index(b"value 3")] ^= 0x01
    records, following = read(placed(batch(FIVE), 0) + bytes(raw) + placed(batch(FIVE), 10))
    assert [record.offset for record in records] == list(range(15))
    assert following == 15
    assert not any(record.unreadable for record in [*records[:5], *records[10:]])
    assert all(record.unreadable.startswith("The checksum of its batch is wrong") for record in records[5:10])
    assert (records[7].value, records[8].value) == (b"value 2", b"walue 3")


@pytest.mark.parametrize("delta", [-1, 0, 2**31 - 1, -(2**31)])
def test_a_damaged_count_neither_stops_reading_nor_makes_billions_of_records(delta: int) -> None:
    raw = bytearray(placed(batch(FIVE), 5))
    struct.pack_into(">i", raw, 23, delta)
    struct.pack_into(">i", raw, 57, delta)
    records, following = read(bytes(raw) + placed(batch(FIVE), 10), 5)
    assert len(records) <= 10
    assert [record.offset for record in records][-5:] == [10, 11, 12, 13, 14]
    assert following == 15
    records, following = read(bytes(raw), 5, end=10)
    assert records
    assert 5 < following <= 10


def test_random_damage_never_raises_and_always_goes_on() -> None:
    chance = random.Random(7)
    for number in range(3000):
        raw = bytearray(batch(FIVE, number % 2))
        # A broker checks what is before the records: with a right checksum it is right.
        sealed = chance.random() < 0.5
        for _ in range(chance.randint(1, 4)):
            raw[chance.randrange(61 if sealed else 17, len(raw))] = chance.randrange(256)
        damaged = placed(raw, 5, sealed=sealed)
        records, following = read(damaged + placed(batch(FIVE), 10), 5)
        offsets = [record.offset for record in records]
        assert offsets == sorted(set(offsets))
        assert len(offsets) > 5
        assert [record.value for record in records[-5:]] == [value for _, value, _ in FIVE]
        assert following == 15
        records, following = read(damaged, 5, end=10)
        assert records
        assert records[-1].offset < following <= 10


def test_a_record_that_the_broker_can_not_send_whole_is_told_of_and_passed() -> None:
    class Client:
        async def send(self) -> None: ...

    class State:
        paused = False
        position = 42

        def consumed_to(self, position: int) -> None:
            self.position = position

    class Assignment:
        active = True
        state = State()

        def state_value(self, _: Any) -> State:
            return self.state

    class Subscription:
        subscription = type("S", (), {"assignment": Assignment()})

    place = TopicPartition("t", 1)
    fetched = FetchedRecords(Client(), Subscription())
    fetched[place] = FetchError(error=RecordTooLargeError("text", place, 41, 1000), backoff=0.1)
    assert type(fetched[place]) is FetchResult
    (record,) = fetched[place].getall(10)
    assert record == Record(
        "t", 1, 41, 0, None, None, (), "It is larger than the 1000 bytes that are fetched at once."
    )
    assert Assignment.state.position == 42
