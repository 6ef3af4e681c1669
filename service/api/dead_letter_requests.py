"""What is asked about dead letters, checked, and how a letter is shown; page tokens, which filters bind."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import orjson
from eurouter.v1 import jobs_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from service.api.problems import Problems
from service.domain.consuming import Record
from service.domain.dead_letters import DeadLetter, LetterPage, LetterPlace, ReadLetter
from service.domain.errors import invalid

MOST_IDS: Final = 1000
MOST_REDRIVEN: Final = 10_000
_DEFAULT_REDRIVEN: Final = 1000
_DEFAULT_PAGE: Final = 50
_MAX_PAGE: Final = 1000
_MAX_OWNER: Final = 255
_MAX_TOPIC: Final = 249
_MAX_PARTITION: Final = 2**31 - 1
_MAX_OFFSET: Final = 2**63 - 1
_LAST_MS: Final = 253402300799_999
"""Of the year 9999: no later time can be told."""

_ID: Final = re.compile(r"(0|[1-9][0-9]{0,9}):(0|[1-9][0-9]{0,18})")
_ID_RULE: Final = "must be an id as it is listed: partition, colon, offset"

_Filtered: TypeAlias = pb.ListDeadLettersRequest | pb.RedriveDeadLettersRequest


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters are meant; None and empty: any."""

    owner: str | None
    reasons: frozenset[str]
    topic: str | None

    @property
    def open(self) -> bool:
        """Whether all letters pass."""
        return self.owner is None and not self.reasons and self.topic is None

    def passes(self, letter: DeadLetter) -> bool:
        """Whether it is meant."""
        return (
            (self.owner is None or letter.owner == self.owner)
            and (not self.reasons or letter.reason in self.reasons)
            and (self.topic is None or letter.original.topic == self.topic)
        )

    def digest(self) -> str:
        """A short text that other filters do not have."""
        filters = [self.owner, sorted(self.reasons), self.topic]
        return hashlib.sha256(orjson.dumps(filters)).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters to submit again: those at `places`, or at most `limit` that pass the filter."""

    places: Sequence[LetterPlace]
    which: LetterFilter
    limit: int
    vouched_owner: str | None


def filter_of(request: _Filtered, reasons: Collection[str]) -> LetterFilter:
    """The filters of a request; `reasons` are all words that there are.

    Raises:
        ServiceError: INVALID_REQUEST or UNKNOWN_FIELD.
    """
    problems = Problems()
    problems.unknown_fields(request, "")
    owner = _name(problems, request, "owner", _MAX_OWNER)
    topic = _name(problems, request, "original_topic", _MAX_TOPIC)
    for place, reason in enumerate(request.reasons):
        if reason not in reasons:
            problems.add(f"reasons[{place}]", f"must be one of {', '.join(sorted(reasons))}")
    problems.raise_if_any()
    return LetterFilter(owner, frozenset(request.reasons), topic)


def size_of(request: pb.ListDeadLettersRequest) -> int:
    """How many letters a page has.

    Raises:
        ServiceError: INVALID_REQUEST.
    """
    if not 0 <= request.page_size <= _MAX_PAGE:
        raise invalid("page_size", f"must be 1 to {_MAX_PAGE}, or 0 for {_DEFAULT_PAGE}; got {request.page_size}")
    return request.page_size or _DEFAULT_PAGE


def chosen_of(request: pb.RedriveDeadLettersRequest, reasons: Collection[str]) -> Chosen:
    """Which letters are to be submitted again.

    Raises:
        ServiceError: INVALID_REQUEST or UNKNOWN_FIELD.
    """
    which = filter_of(request, reasons)
    problems = Problems()
    vouched = _name(problems, request, "vouched_owner", _MAX_OWNER)
    places: dict[LetterPlace, None] = {}
    for index, one in enumerate(request.ids[: MOST_IDS + 1]):
        place = place_of(one)
        if place is None:
            problems.add(f"ids[{index}]", _ID_RULE)
        elif place in places:
            problems.add(f"ids[{index}]", "stands there twice: leave it out")
        else:
            places[place] = None
    if len(request.ids) > MOST_IDS:
        problems.add("ids", f"at most {MOST_IDS} at a time; got {len(request.ids)}")
    if request.ids and not which.open:
        problems.add("ids", "says which letters are meant: leave it out, or owner, reasons and original_topic")
    if request.ids and request.limit:
        problems.add("limit", "is for filters: leave it out where ids say which letters are meant")
    if not request.ids and which.open:
        problems.add("ids", "must say which letters are meant; or owner, reasons or original_topic must")
    if not 0 <= request.limit <= MOST_REDRIVEN:
        problems.add("limit", f"must be 1 to {MOST_REDRIVEN}, or 0 for {_DEFAULT_REDRIVEN}; got {request.limit}")
    if None not in (vouched, which.owner) and vouched != which.owner:
        problems.add("vouched_owner", "is another than owner, whose letters have one: leave it out")
    problems.raise_if_any()
    return Chosen(tuple(places), which, request.limit or _DEFAULT_REDRIVEN, vouched)


def place_of(letter_id: str) -> LetterPlace | None:
    """Where the letter with this id stands; None for what is no id."""
    match = _ID.fullmatch(letter_id)
    if match is None:
        return None
    partition, offset = int(match[1]), int(match[2])
    return (partition, offset) if partition <= _MAX_PARTITION and offset <= _MAX_OFFSET else None


def id_of(place: LetterPlace) -> str:
    """The inverse of `place_of`."""
    return f"{place[0]}:{place[1]}"


def letter_of(record: Record, read: ReadLetter) -> DeadLetter | None:
    """The letter that a record is; None when it is none of ours, or says what no record of Kafka's has."""
    letter = read(record)
    if letter is None:
        return None
    original = letter.original
    told = 0 <= original.partition <= _MAX_PARTITION and 0 <= original.offset <= _MAX_OFFSET
    return letter if told and 0 <= letter.value_bytes <= _MAX_OFFSET else None


def shown(letter: DeadLetter, *, content: bool) -> pb.DeadLetter:
    """The letter as callers see it."""
    original = letter.original
    one = pb.DeadLetter(
        id=id_of(letter.place),
        reason=letter.reason,
        message=letter.message,
        owner=letter.owner,
        original_topic=original.topic,
        original_partition=original.partition,
        original_offset=original.offset,
        original_time=_time(original.timestamp_ms),
        create_time=_time(letter.created_ms),
        value_bytes=letter.value_bytes,
    )
    if content:
        if original.key is not None:
            one.key = original.key
        if original.value is not None:
            one.value = original.value
        one.headers.extend(pb.RecordHeader(name=name, value=value or b"") for name, value in original.headers)
    return one


def make_token(before: Mapping[int, int], which: LetterFilter) -> str:
    """Says where the next page of these filters begins."""
    values = [which.digest(), sorted(before.items())]
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode()


def read_token(token: str, which: LetterFilter) -> dict[int, int]:
    """The inverse of `make_token`.

    Raises:
        ServiceError: INVALID_REQUEST.
    """
    try:
        value = orjson.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except ValueError:
        value = None
    match value:
        case [str(digest), [*places]] if places and all(map(_may_be_place, places)):
            if digest != which.digest():
                raise invalid("page_token", "belongs to other filters: send those of the page before")
            return dict(places)
        case _:
            raise invalid("page_token", "must be the next_page_token of the page before, or empty")


def from_here(page: LetterPage, place: int) -> dict[int, int]:
    """Where to read on before, when a page is left before the record at this place of it."""
    before = dict(page.before)
    for record in reversed(page.records[place:]):
        before[record.partition] = record.offset + 1
    return before


def _may_be_place(value: object) -> bool:
    match value:
        case [int(partition), int(offset)]:
            return 0 <= partition <= _MAX_PARTITION and 0 <= offset <= _MAX_OFFSET
        case _:
            return False


def _name(problems: Problems, request: _Filtered, field: str, most: int) -> str | None:
    if not request.HasField(field):  # type: ignore[arg-type]  # callers know their request's fields
        return None
    name = str(getattr(request, field))
    if not (1 <= len(name) <= most and name.isprintable()):
        problems.add(field, f"must be 1 to {most} printable characters, or left out")
    return name


def _time(milliseconds: int) -> Timestamp | None:
    """The nearest that can be told; None for a record without a time."""
    if milliseconds < 0:
        return None
    told = Timestamp()
    told.FromMilliseconds(min(milliseconds, _LAST_MS))
    return told
