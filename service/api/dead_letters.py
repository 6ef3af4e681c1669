"""Dead letters for every door: lists of them, and submitting them again. For operators alone.

What a record of their topic says, and what becomes of one that is submitted again, is the Kafka door's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

import structlog
from eurouter.v1 import jobs_pb2 as pb

from service.api.dead_letter_requests import (
    Chosen,
    LetterFilter,
    chosen_of,
    filter_of,
    from_here,
    id_of,
    letter_of,
    make_token,
    read_token,
    shown,
    size_of,
)
from service.domain.calls import CallContext, Principal
from service.domain.consuming import ConsumerError
from service.domain.dead_letters import DeadLetter, DeadLetterTopic, LetterPlace, ReadLetter, Redrive, Redriven
from service.domain.errors import Reason, ServiceError
from service.domain.intake import TryLaterError

UNAUTHENTICATED: Final = "unauthenticated"
TOO_LARGE: Final = "too_large"
NOT_ALLOWED: Final = "not_allowed"
NOT_FOUND: Final = "not_found"
"""Why a letter is not submitted at all; the first three are letters' reasons as well."""

_MOST_SCANNED: Final = 10_000
"""Records that one list looks at: a filter that few pass gives a short page, and a token to go on with."""
_SCAN_SECONDS: Final = 5.0
_LONGEST_READ: Final = 2000
_MOST_BYTES: Final = 3 * 1024 * 1024
"""Of a page: gRPC's clients take 4 MiB unless they are told otherwise."""
_AT_ONCE: Final = 20
_LONGEST_MESSAGE: Final = 300
_RETRY_SECONDS: Final = 2.0

_KAFKA_FAILED: Final = "dead_letters_failed"
_REDRIVEN: Final = "dead_letters_redriven"

T = TypeVar("T")
_Named: TypeAlias = tuple[LetterPlace, DeadLetter | None]


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """What the handler works with. `reasons` are all words that a letter's reason may be.

    `redrive` None: letters are only read here.
    """

    topic: DeadLetterTopic
    read: ReadLetter
    reasons: frozenset[str]
    redrive: Redrive | None = None


class DeadLettersHandler:
    """Over their topic. `letters` None: there is no Kafka here. `clock` is the router's, in seconds."""

    def __init__(self, letters: DeadLetters | None, *, clock: Callable[[], float]) -> None:
        self._letters = letters
        self._clock = clock

    async def list_dead_letters(
        self, request: pb.ListDeadLettersRequest, context: CallContext
    ) -> pb.ListDeadLettersResponse:
        """A page of letters. It may be short or empty and still not be the last: its token says so.

        Raises:
            ServiceError: PERMISSION_DENIED; API_NOT_OFFERED without Kafka; INVALID_REQUEST; STORE_UNAVAILABLE when
                Kafka is away; DEADLINE_EXCEEDED.
        """
        letters = self._for_operators(context.principal)
        which, size = filter_of(request, letters.reasons), size_of(request)
        before: Mapping[int, int] | None = read_token(request.page_token, which) if request.page_token else None
        now = self._clock()
        until = now + min(_SCAN_SECONDS, (context.deadline - now) / 2)
        page = pb.ListDeadLettersResponse()
        room, scanned, most = _MOST_BYTES, 0, size + 1
        while True:
            found = await self._asked(letters.topic.newest(before, most), context)
            for place, record in enumerate(found.records):
                letter = letter_of(record, letters.read)
                if letter is None or not which.passes(letter):
                    continue
                one = shown(letter, content=request.with_content)
                room -= one.ByteSize()
                if len(page.dead_letters) == size or (room < 0 and page.dead_letters):
                    page.next_page_token = make_token(from_here(found, place), which)
                    return page
                page.dead_letters.append(one)
            before = found.before
            scanned += len(found.records)
            if not before:
                return page
            if len(page.dead_letters) == size or scanned >= _MOST_SCANNED or self._clock() >= until:
                page.next_page_token = make_token(before, which)
                return page
            most = _next_read(most, len(found.records))

    async def redrive_dead_letters(
        self, request: pb.RedriveDeadLettersRequest, context: CallContext
    ) -> pb.RedriveDeadLettersResponse:
        """Submits letters again.

        Raises:
            ServiceError: as a list's; STORE_UNAVAILABLE and DEADLINE_EXCEEDED also when some were submitted.
        """
        letters = self._for_operators(context.principal)
        chosen = chosen_of(request, letters.reasons)
        turn = _Turn(None if request.dry_run else _redrive_of(letters), chosen.vouched_owner)
        try:
            await self._redrive(letters, chosen, turn, context)
        except ServiceError as error:
            raise _after(error, turn.answer.accepted_count) from error.__cause__
        finally:
            if not request.dry_run:
                turn.log(context.principal)
        return turn.answer

    async def _redrive(self, letters: DeadLetters, chosen: Chosen, turn: _Turn, context: CallContext) -> None:
        """Some at a time, so that few are held and all are bounded by the deadline."""
        waiting: list[_Named] = []
        count = 0
        by_id = bool(chosen.places)
        found = self._at(letters, chosen.places, context) if by_id else self._all(letters, chosen.which, context)
        async with aclosing(found):
            async for one in found:
                if not by_id and count == chosen.limit:
                    turn.answer.more = True
                    break
                count += 1
                waiting.append(one)
                if len(waiting) == _AT_ONCE:
                    await turn.submit(waiting)
                    waiting.clear()
                    self._check_time(context)
        await turn.submit(waiting)

    async def _at(
        self, letters: DeadLetters, places: Sequence[LetterPlace], context: CallContext
    ) -> AsyncGenerator[_Named, None]:
        for begin in range(0, len(places), _AT_ONCE):
            some = places[begin : begin + _AT_ONCE]
            records = await self._asked(letters.topic.at(some), context)
            for place, record in zip(some, records, strict=True):
                yield place, None if record is None else letter_of(record, letters.read)

    async def _all(
        self, letters: DeadLetters, which: LetterFilter, context: CallContext
    ) -> AsyncGenerator[_Named, None]:
        most = _AT_ONCE
        found = await self._asked(letters.topic.newest(None, most), context)
        while True:
            for record in found.records:
                letter = letter_of(record, letters.read)
                if letter is not None and which.passes(letter):
                    yield letter.place, letter
            if not found.before:
                return
            self._check_time(context)
            most = _next_read(most, len(found.records))
            found = await self._asked(letters.topic.newest(found.before, most), context)

    def _for_operators(self, principal: Principal) -> DeadLetters:
        if not principal.admin:
            why = (
                "dead letters are for operators: use a key with admin set, or eurouter dlq where the service runs"
            )
            raise ServiceError(Reason.PERMISSION_DENIED, why)
        if self._letters is None:
            why = "there are no dead letters: this service has no Kafka (setting kafka.bootstrap_servers)"
            raise ServiceError(Reason.API_NOT_OFFERED, why)
        return self._letters

    async def _asked(self, answer: Awaitable[T], context: CallContext) -> T:
        try:
            async with asyncio.timeout(context.deadline - self._clock()):
                return await answer
        except TimeoutError:
            raise _late() from None
        except ConsumerError as error:
            structlog.get_logger().warning(_KAFKA_FAILED, error=str(error))
            why = "dead letters can't be read now: Kafka did not answer, and the service's log says why"
            raise ServiceError(Reason.STORE_UNAVAILABLE, why, retry_after=_RETRY_SECONDS) from error

    def _check_time(self, context: CallContext) -> None:
        if self._clock() >= context.deadline:
            raise _late()


class _Turn:
    """One redrive: what becomes of letters, for its answer. Without `redrive`, what would."""

    def __init__(self, redrive: Redrive | None, vouched_owner: str | None) -> None:
        self._redrive = redrive
        self._vouched_owner = vouched_owner
        self._owners: set[str] = set()
        self.answer = pb.RedriveDeadLettersResponse()

    async def submit(self, letters: Sequence[_Named]) -> None:
        """Submits them side by side.

        Raises:
            ServiceError: STORE_UNAVAILABLE; those that went well are in the answer.
        """
        outcomes = await asyncio.gather(*(self._one(letter) for _, letter in letters), return_exceptions=True)
        failed: BaseException | None = None
        for (place, _), outcome in zip(letters, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                failed = outcome
            else:
                self._add(place, outcome)
        if isinstance(failed, TryLaterError):
            why = "letters can't be submitted now: the database failed, and the service's log says why"
            raise ServiceError(Reason.STORE_UNAVAILABLE, why, retry_after=_RETRY_SECONDS) from failed
        if failed is not None:
            raise failed

    def log(self, principal: Principal) -> None:
        """Who submitted how many, in whose names: a letter's owner is what its topic says."""
        structlog.get_logger().info(
            _REDRIVEN,
            key_id=principal.key_id,
            owners=sorted(self._owners),
            vouched_owner=self._vouched_owner,
            accepted=self.answer.accepted_count,
            rejected=self.answer.rejected_count,
        )

    async def _one(self, letter: DeadLetter | None) -> Redriven:
        if letter is None:
            return Redriven(reason=NOT_FOUND, message="there is no such letter (any more): list them again")
        owner = letter.owner or self._vouched_owner
        if not owner:
            why = "nothing says whose record it is: name its owner in vouched_owner"
            return Redriven(reason=UNAUTHENTICATED, message=why)
        if self._vouched_owner not in (None, owner):
            why = "it has an owner, who is another than vouched_owner: leave that out"
            return Redriven(reason=NOT_ALLOWED, message=why)
        if not letter.whole:
            at = letter.original
            why = (
                f"it was too large to be kept here as a whole: it stands in {at.topic}, partition {at.partition}, "
                f"offset {at.offset}, until that topic's retention ends"
            )
            return Redriven(reason=TOO_LARGE, message=why)
        self._owners.add(owner)
        return Redriven() if self._redrive is None else await self._redrive(letter.original, owner)

    def _add(self, place: LetterPlace, outcome: Redriven) -> None:
        message = outcome.message
        if len(message) > _LONGEST_MESSAGE:
            message = f"{message[: _LONGEST_MESSAGE - 1]}…"
        self.answer.letters.add(
            id=id_of(place),
            response_id=outcome.response_id,
            repeated=outcome.repeated,
            reason=outcome.reason,
            message=message,
        )
        self.answer.accepted_count += bool(outcome.response_id)
        self.answer.rejected_count += bool(outcome.reason)


def _redrive_of(letters: DeadLetters) -> Redrive:
    if letters.redrive is None:
        raise ServiceError(Reason.API_NOT_OFFERED, "letters can't be submitted here, only read")
    return letters.redrive


def _next_read(asked: int, came: int) -> int:
    """More at a time as long as all come; fewer where they are large."""
    return min(_LONGEST_READ, 2 * asked) if 2 * came >= asked else max(_AT_ONCE, 2 * came)


def _late() -> ServiceError:
    return ServiceError(Reason.DEADLINE_EXCEEDED, "the deadline passed while dead letters were read or submitted")


def _after(error: ServiceError, accepted: int) -> ServiceError:
    message = error.message
    if accepted:
        message += f"; {accepted} letters are jobs by now: send it again for the rest"
    return ServiceError(error.reason, message, retry_after=error.retry_after)
