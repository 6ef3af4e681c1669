"""`eurouter dlq list`, `show` and `redrive`: what they do and say. Arguments and exit codes are the CLI's.

They work on Kafka, and to submit letters again on the database, by the service's own settings: no service has to
run, and no key is asked for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from eurouter.v1 import jobs_pb2 as pb

from adapters import logs
from adapters.documents.read import DocumentError
from adapters.kafka.client import KafkaClientError
from adapters.kafka.diagnosis import why_unreachable
from adapters.providers.listing import Listing
from adapters.providers.secrets import Secrets
from service.api.dead_letter_requests import id_of, letter_of, place_of, shown
from service.api.dead_letters import DeadLetters, DeadLettersHandler
from service.dlq_text import json_text, letter_text, redriven_text, table
from service.domain.calls import CallContext, Principal
from service.domain.consuming import ConsumerError, Record
from service.domain.dead_letters import DeadLetter, LetterPlace
from service.domain.errors import ServiceError
from service.domain.intake import TryLaterError
from service.domain.stored import StoreError
from service.engine import USER_AGENT, Engine, Start
from service.job_engine import JobEngine
from service.kafka_letters import dead_letters
from service.kafka_side import connection
from service.settings import Settings

_SECONDS: Final = 600.0
_DISCOVERY_SECONDS: Final = 15.0
_MOST_PAGE: Final = 1000
_AT_ONCE: Final = 100
_OPERATOR: Final = Principal("operator", admin=True)
_OPTIONS: Final = {
    "owner": "--owner",
    "reasons": "--reason",
    "original_topic": "--topic",
    "vouched_owner": "--vouched-owner",
}

Say: TypeAlias = Callable[[str], None]
"""Takes a line, or several, for whoever typed the command."""

T = TypeVar("T")


class DlqCommandError(Exception):
    """What went wrong, for whoever typed the command; no content and no secret."""


@dataclass(frozen=True, slots=True)
class Place:
    """The settings that a command works by, and what they were read from."""

    settings: Settings
    config: Path | None
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Which:
    """The letters that a command is about, `limit` of them at most; None and empty stand for any."""

    limit: int
    owner: str | None = None
    reasons: Sequence[str] = ()
    topic: str | None = None


def list_letters(place: Place, which: Which, say: Say, *, as_json: bool) -> None:
    """The newest letters, as a table or as lines of JSON.

    Raises:
        DlqCommandError: Kafka can't be read, or an argument is wrong.
    """

    async def work() -> None:
        async with open_dead_letters(place, to_redrive=False) as letters:
            found, more = await _listed(letters, which)
        if as_json:
            for letter in found:
                say(json_text(letter))
            return
        say(table(found) if found else "no dead letters")
        if more:
            say(f"these are the newest {len(found)}: for more raise --limit")

    _run(place, work())


def show_letter(place: Place, letter_id: str, say: Say) -> None:
    """All of a letter, its content too.

    Raises:
        DlqCommandError: there is no such letter, or Kafka can't be read.
    """

    async def work() -> None:
        where = _places([letter_id])[0]
        async with open_dead_letters(place, to_redrive=False) as letters:
            (record,) = await letters.topic.at([where])
            letter = None if record is None else letter_of(record, letters.read)
        if letter is None:
            raise DlqCommandError(
                f"there is no letter {letter_id} (any more): `eurouter dlq list` shows those there are"
            )
        say(letter_text(shown(letter, content=True), whole=letter.whole))

    _run(place, work())


def redrive_letters(
    place: Place, ids: Sequence[str], which: Which, vouched_owner: str | None, say: Say, *, dry_run: bool
) -> bool:
    """Submits letters again, those with these ids or else those that pass; whether all are jobs now.

    Raises:
        DlqCommandError: an argument is wrong, or Kafka or the database is away; what was said until then holds.
    """

    async def work() -> bool:
        chosen, more, rejected = [id_of(one) for one in _places(ids)], False, 0
        async with open_dead_letters(place, to_redrive=not dry_run) as letters:
            if not chosen:
                found, more = await _listed(letters, which)
                chosen = [letter.id for letter in found]
            owners: dict[str, str] = {}
            handler = DeadLettersHandler(_noting(letters, owners), clock=time.monotonic)
            for begin in range(0, len(chosen), _AT_ONCE):
                some = chosen[begin : begin + _AT_ONCE]
                request = pb.RedriveDeadLettersRequest(ids=some, vouched_owner=vouched_owner, dry_run=dry_run)
                answer = await handler.redrive_dead_letters(request, _call())
                for letter in answer.letters:
                    owner = owners.get(letter.id) or vouched_owner or ""
                    say(redriven_text(letter, owner, dry_run=dry_run))
                rejected += answer.rejected_count
        done = "would be submitted" if dry_run else "jobs now"
        say(f"{done}: {len(chosen) - rejected}; refused: {rejected}")
        if more:
            say(f"these are the newest {len(chosen)}: for more raise --limit")
        return not rejected

    return _run(place, work())


def _noting(letters: DeadLetters, owners: dict[str, str]) -> DeadLetters:
    """The letters, of which each one's owner is noted under its id when it is read."""

    def read(record: Record) -> DeadLetter | None:
        letter = letters.read(record)
        if letter is not None:
            owners[id_of(letter.place)] = letter.owner
        return letter

    return replace(letters, read=read)


@asynccontextmanager
async def open_dead_letters(place: Place, *, to_redrive: bool) -> AsyncIterator[DeadLetters]:
    """The letters that these settings lead to; what was opened for them is closed in the end.

    Raises:
        DlqCommandError: there is no Kafka.
        DocumentError: the catalogue, which is needed `to_redrive`, can't be used.
    """
    found = dead_letters(place.settings.kafka, Secrets(place.env).resolve, None)
    if found is None:
        raise DlqCommandError("there is no Kafka: set kafka.bootstrap_servers")
    logs.configure(place.settings.log.format, "error")
    # It tells of every address that it tried; the command says in a line what came of it.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    if not to_redrive:
        yield found
        return
    engine = JobEngine(place.settings, Start(place.config, place.env, has_doors=False))
    try:
        await _discover(engine, place.settings)
        yield replace(found, redrive=engine.acceptance().redrive)
    finally:
        for close in engine.closers:
            await close()


async def _discover(engine: Engine, settings: Settings) -> None:
    """Learns the models that servers have beside the catalogue, as a service does that begins."""
    ca_file = settings.upstream.ca_file
    listing = Listing(engine.secrets, USER_AGENT, ca_file=str(ca_file) if ca_file else None)
    try:
        async with asyncio.timeout(_DISCOVERY_SECONDS):
            await engine.catalog.discover(listing)
    except TimeoutError:
        # Letters for models of those that did not answer are refused, and say so.
        return


async def _listed(letters: DeadLetters, which: Which) -> tuple[list[pb.DeadLetter], bool]:
    """The newest that pass, and whether there may be more."""
    handler = DeadLettersHandler(letters, clock=time.monotonic)
    found: list[pb.DeadLetter] = []
    request = pb.ListDeadLettersRequest(owner=which.owner, reasons=which.reasons, original_topic=which.topic)
    while True:
        request.page_size = min(_MOST_PAGE, which.limit - len(found))
        page = await handler.list_dead_letters(request, _call())
        found += page.dead_letters
        request.page_token = page.next_page_token
        if not request.page_token or len(found) >= which.limit:
            return found, bool(request.page_token)


def _places(ids: Sequence[str]) -> list[LetterPlace]:
    """Where the letters stand, each once."""
    found: dict[LetterPlace, None] = {}
    for one in ids:
        place = place_of(one)
        if place is None:
            raise DlqCommandError(f"'{one}' is no id of a letter: `eurouter dlq list` shows them, such as 3:41")
        found[place] = None
    return list(found)


def _call() -> CallContext:
    return CallContext(_OPERATOR, "dlq", time.monotonic() + _SECONDS, door="cli")


def _run(place: Place, work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except (ServiceError, ConsumerError, DocumentError, StoreError) as error:
        raise DlqCommandError(_told(error, place)) from None


def _told(error: Exception, place: Place) -> str:
    """The error in the words of the command line."""
    cause = error.__cause__ or error
    if isinstance(cause, ConsumerError):
        why = asyncio.run(_why_unreachable(place))
        if why:
            return f"Kafka at {why}"
        return str(cause).replace("Kafka", f"Kafka at {place.settings.kafka.bootstrap_servers}", 1)
    if isinstance(cause, TryLaterError) or not isinstance(error, ServiceError):
        return str(cause)
    fields = [(_OPTIONS.get(one.path.partition("[")[0], one.path), one.message) for one in error.violations]
    return "\n".join(f"{name}: {message}" for name, message in fields) or error.message


async def _why_unreachable(place: Place) -> str:
    try:
        return await why_unreachable(connection(place.settings.kafka, Secrets(place.env).resolve))
    except KafkaClientError:
        # The error says it already.
        return ""
