"""Dead letters as an API: who may, which pass, how pages are cut, what becomes of those submitted again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from eurouter.v1 import jobs_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.api import dead_letters as api
from service.api.dead_letter_requests import id_of, place_of
from service.api.dead_letters import DeadLetters, DeadLettersHandler
from service.domain.calls import CallContext, Principal
from service.domain.consuming import ConsumerError, Record
from service.domain.dead_letters import DeadLetter, LetterPage, LetterPlace, Redriven
from service.domain.errors import Reason, ServiceError
from service.domain.intake import TryLaterError
from service.edge.kafka.rejections import Rejection

REASONS = frozenset(Rejection)


class FakeTopic:
    """Partitions of records, whose values say who owns them; `most` bounds a page as an adapter may."""

    def __init__(self, *partitions: Sequence[bytes], most: int = 1000) -> None:
        self.records = [
            [Record("dlq", number, offset, 1000 * offset, None, value) for offset, value in enumerate(values)]
            for number, values in enumerate(partitions)
        ]
        self.most = most
        self.asked: list[int] = []
        self.error: Exception | None = None
        self.slow = 0.0

    async def newest(self, before: Mapping[int, int] | None, most: int) -> LetterPage:
        self.asked.append(most)
        await asyncio.sleep(self.slow)
        if self.error is not None:
            raise self.error
        ends = {n: len(one) if before is None else before.get(n, 0) for n, one in enumerate(self.records)}
        left = [record for number, one in enumerate(self.records) for record in one[: ends[number]]]
        left.sort(key=lambda record: (-record.timestamp_ms, record.partition))
        page, rest = left[: min(most, self.most)], left[min(most, self.most) :]
        following: dict[int, int] = {}
        for record in rest:
            following.setdefault(record.partition, record.offset + 1)
        return LetterPage(page, following)

    async def at(self, places: Sequence[LetterPlace]) -> Sequence[Record | None]:
        if self.error is not None:
            raise self.error
        return [
            self.records[p][o] if p < len(self.records) and o < len(self.records[p]) else None for p, o in places
        ]


def read(record: Record) -> DeadLetter | None:
    """A letter whose value is its owner, or none of ours."""
    owner = (record.value or b"").decode()
    if owner == "?":
        return None
    original = Record("submit", 1, record.offset + 100, 5, b"key", record.value, [("h", b"v"), ("null", None)])
    return DeadLetter(
        (record.partition, record.offset), 7, "expired", "late", owner, "group", original, len(record.value or b"")
    )


@dataclass
class FakeRedrive:
    """Makes a job of each record, once; `outcome` instead, or an error from `fail_after` calls on."""

    outcome: Redriven | None = None
    fail_after: int = 10_000
    calls: list[tuple[int, str]] = field(default_factory=list)
    seconds: float = 0.0
    together: int = 0
    most_together: int = 0

    async def __call__(self, record: Record, owner: str) -> Redriven:
        self.calls.append((record.offset, owner))
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        failing = len(self.calls) > self.fail_after
        await asyncio.sleep(self.seconds)
        self.together -= 1
        if failing:
            raise TryLaterError("the database is away")
        return self.outcome or Redriven(f"resp_{record.offset}", self.calls.count((record.offset, owner)) > 1)


class World:
    """A handler over fakes, on a clock that stands still unless told."""

    def __init__(self, *partitions: Sequence[bytes], most: int = 1000) -> None:
        self.topic = FakeTopic(*partitions, most=most)
        self.redrive = FakeRedrive()
        self.now = 0.0
        self.letters = DeadLetters(self.topic, read, REASONS, self.redrive)
        self.handler = DeadLettersHandler(self.letters, clock=lambda: self.now)

    def call(self, *, admin: bool = True, seconds: float = 60.0) -> CallContext:
        return CallContext(Principal("ops", admin=admin), "request", self.now + seconds)

    async def list(self, **fields: Any) -> pb.ListDeadLettersResponse:
        return await self.handler.list_dead_letters(pb.ListDeadLettersRequest(**fields), self.call())

    async def submit(self, **fields: Any) -> pb.RedriveDeadLettersResponse:
        return await self.handler.redrive_dead_letters(pb.RedriveDeadLettersRequest(**fields), self.call())


async def refused(awaitable: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await awaitable
    return caught.value


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([b"a", b"b", b"?"]), max_size=30), max_size=3),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from([None, "a", "b"]),
)
def test_whatever_the_sizes_of_pages_and_reads_each_letter_that_passes_is_listed_once_in_order(
    partitions: list[list[bytes]], size: int, most: int, owner: str | None
) -> None:
    async def holds() -> None:
        world = World(*partitions, most=most)
        world.topic.most = 10**6
        everything = (await world.topic.newest(None, 10**6)).records
        world.topic.most = most
        allowed = {owner.encode()} if owner else {b"a", b"b"}
        wanted = [id_of((one.partition, one.offset)) for one in everything if one.value in allowed]
        found, token = [], ""
        while True:
            page = await world.list(page_size=size, page_token=token, owner=owner)
            assert len(page.dead_letters) <= size
            found += [letter.id for letter in page.dead_letters]
            if not (token := page.next_page_token):
                break
        assert found == wanted

    asyncio.run(holds())


async def test_a_filter_that_few_pass_gives_an_empty_page_and_a_way_on_instead_of_reading_for_ever() -> None:
    world = World([b"rare", *[b"a"] * 25_000])
    pages, token = 0, ""
    while True:
        page = await world.list(owner="rare", page_token=token)
        pages += 1
        if not (token := page.next_page_token):
            break
        assert not page.dead_letters
    assert [letter.id for letter in page.dead_letters] == ["0:0"]
    assert pages == 3
    assert max(world.topic.asked) == 2000


async def test_a_list_that_takes_long_ends_early_with_a_way_on() -> None:
    world = World([b"rare", *[b"a"] * 5000])
    newest = world.topic.newest

    async def slowly(before: Mapping[int, int] | None, most: int) -> LetterPage:
        world.now += 3.0
        return await newest(before, most)

    world.topic.newest = slowly  # type: ignore[method-assign]
    page = await world.list(owner="rare")
    assert not page.dead_letters
    assert page.next_page_token
    assert world.now == 6.0


async def test_only_operators_may() -> None:
    world = World([b"a"])
    for method, request in (
        (world.handler.list_dead_letters, pb.ListDeadLettersRequest()),
        (world.handler.redrive_dead_letters, pb.RedriveDeadLettersRequest(owner="a")),
    ):
        error = await refused(method(request, world.call(admin=False)))  # type: ignore[arg-type]
        assert error.reason is Reason.PERMISSION_DENIED
    assert (world.topic.asked, world.redrive.calls) == ([], [])


async def test_without_kafka_or_a_way_to_submit_it_is_said() -> None:
    world = World([b"a"])
    nothing = DeadLettersHandler(None, clock=lambda: 0.0)
    error = await refused(nothing.list_dead_letters(pb.ListDeadLettersRequest(), world.call()))
    assert error.reason is Reason.API_NOT_OFFERED
    only_read = DeadLettersHandler(replace(world.letters, redrive=None), clock=lambda: 0.0)
    asked = pb.RedriveDeadLettersRequest(owner="a")
    assert (await refused(only_read.redrive_dead_letters(asked, world.call()))).reason is Reason.API_NOT_OFFERED
    asked.dry_run = True
    assert [one.id for one in (await only_read.redrive_dead_letters(asked, world.call())).letters] == ["0:0"]


async def test_kafka_that_is_away_is_an_error_that_may_pass_and_tells_callers_no_address() -> None:
    world = World([b"a"])
    world.topic.error = ConsumerError("Kafka: broker-7.internal is away")
    for asked in (world.list(), world.submit(owner="a"), world.submit(ids=["0:0"])):
        error = await refused(asked)
        assert (error.reason, error.may_retry) == (Reason.STORE_UNAVAILABLE, True)
        assert "broker-7" not in error.message


async def test_a_topic_that_answers_too_late_ends_the_call_at_its_deadline() -> None:
    world = World([b"a"])
    world.topic.slow = 5.0
    context = world.call(seconds=0.05)
    error = await refused(world.handler.list_dead_letters(pb.ListDeadLettersRequest(), context))
    assert error.reason is Reason.DEADLINE_EXCEEDED


async def test_some_letters_are_submitted_side_by_side_and_answered_in_order() -> None:
    world = World([b"a"] * 50)
    world.redrive.seconds = 0.001
    asked = [f"0:{n}" for n in range(49, -1, -1)]
    answer = await world.submit(ids=asked)
    assert [letter.id for letter in answer.letters] == asked
    assert [letter.response_id for letter in answer.letters] == [f"resp_{n + 100}" for n in range(49, -1, -1)]
    assert 1 < world.redrive.most_together <= 20


async def test_a_database_that_goes_away_half_way_is_told_with_the_number_of_jobs_so_far() -> None:
    world = World([b"a"] * 50)
    world.redrive.fail_after = 30
    error = await refused(world.submit(owner="a"))
    assert (error.reason, error.may_retry) == (Reason.STORE_UNAVAILABLE, True)
    assert "30 letters are jobs by now" in error.message
    assert len(world.redrive.calls) == 40


async def test_a_deadline_half_way_is_told_with_the_number_of_jobs_so_far() -> None:
    world = World([b"a"] * 50)
    submit = world.redrive

    class Late(FakeRedrive):
        async def __call__(self, record: Record, owner: str) -> Redriven:
            world.now += 2.0
            return await submit(record, owner)

    world.handler = DeadLettersHandler(replace(world.letters, redrive=Late()), clock=lambda: world.now)
    error = await refused(world.submit(owner="a"))
    assert error.reason is Reason.DEADLINE_EXCEEDED
    assert "40 letters are jobs by now" in error.message


async def test_an_owner_that_is_known_counts_and_one_that_is_not_has_to_be_named() -> None:
    world = World([b"", b"a", b"b"])
    answer = await world.submit(ids=["0:0", "0:1", "0:2"])
    assert [letter.reason for letter in answer.letters] == [api.UNAUTHENTICATED, "", ""]
    answer = await world.submit(ids=["0:0", "0:1", "0:2"], vouched_owner="b")
    assert [letter.reason for letter in answer.letters] == ["", api.NOT_ALLOWED, ""]
    assert sorted(world.redrive.calls) == [(100, "b"), (101, "a"), (102, "b"), (102, "b")]


async def test_in_whose_names_letters_are_submitted_again_is_logged_and_nothing_of_them() -> None:
    world = World([b"", b"a", b"b", b"a", b"c"])
    with capture_logs() as logs:
        await world.submit(ids=["0:0", "0:1", "0:2", "0:3"])
        await world.submit(ids=["0:0", "0:1"], vouched_owner="d")
        await world.submit(ids=["0:4"], dry_run=True)
    common = {"event": "dead_letters_redriven", "log_level": "info", "key_id": ""}
    assert logs == [
        {**common, "accepted": 3, "rejected": 1, "owners": ["a", "b"], "vouched_owner": None},
        {**common, "accepted": 1, "rejected": 1, "owners": ["d"], "vouched_owner": "d"},
    ]


async def test_what_an_answer_says_is_bounded() -> None:
    world = World([b"a"])
    world.redrive.outcome = Redriven(reason="invalid", message="x" * 5000)
    (letter,) = (await world.submit(ids=["0:0"])).letters
    assert (len(letter.message), letter.message[-2:]) == (300, "x…")


async def test_records_that_say_what_no_record_has_are_none_of_ours() -> None:
    world = World([b"a"])
    odd = replace(world.letters, read=lambda record: replace(read(record), value_bytes=2**70))  # type: ignore[type-var]
    handler = DeadLettersHandler(odd, clock=lambda: 0.0)
    assert not (await handler.list_dead_letters(pb.ListDeadLettersRequest(), world.call())).dead_letters


async def test_times_that_no_calendar_has_are_shown_as_the_last_and_none_as_none() -> None:
    world = World([b"a"])

    def at(record: Record) -> DeadLetter | None:
        letter = read(record)
        assert letter is not None
        return replace(letter, created_ms=2**62, original=replace(letter.original, timestamp_ms=-1))

    handler = DeadLettersHandler(replace(world.letters, read=at), clock=lambda: 0.0)
    (letter,) = (await handler.list_dead_letters(pb.ListDeadLettersRequest(), world.call())).dead_letters
    assert letter.create_time.ToJsonString().startswith("9999-12-31T23:59:59")
    assert not letter.HasField("original_time")


def test_the_words_for_letters_that_are_not_submitted_are_those_of_letters() -> None:
    assert {api.UNAUTHENTICATED, api.TOO_LARGE, api.NOT_ALLOWED} <= set(REASONS)
    assert api.NOT_FOUND not in REASONS


@given(st.text(max_size=30) | st.from_regex(r"[0-9]{1,12}:[0-9]{1,22}", fullmatch=True))
def test_an_id_is_read_as_it_is_written_and_nothing_else_is_one(text: str) -> None:
    place = place_of(text)
    assert place is None or id_of(place) == text
