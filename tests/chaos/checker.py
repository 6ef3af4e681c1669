"""What must hold of a run, by what outsiders saw of it. Pure functions over a history; each rule stands alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos.history import (
    CALLS_ID,
    TERMINAL_EVENTS,
    TERMINAL_STATUS,
    Call,
    Ending,
    History,
    Json,
    Span,
)
from tests.chaos.kafka_rules import KAFKA_RULES

CLOSED_WITHIN: Final = 1.0
"""Seconds in which a call must end that nobody may write for any more, by the time of its process."""

BACK_WITHIN: Final = 1.5
"""Seconds after which a process knows that a database that was away is back: they wait a second between tries."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule, by its function's name, that a response, or whatever else, broke, and how."""

    rule: str
    job: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.job}: {self.what}"


Found = Iterator[tuple[str, str]]
"""Pairs of a response, or whatever else, and what is wrong with it."""


def check(history: History) -> list[Violation]:
    """Everything that is wrong."""
    rules = RULES if history.kafka is None else (*RULES, *KAFKA_RULES)
    return [Violation(rule.__name__, job, what) for rule in rules for job, what in rule(history)]


def every_job_ends_once(history: History) -> Found:
    """Whatever was accepted is in one terminal state, the same at every replica and in its log; or is deleted."""
    for job in history.jobs():
        endings = history.endings.get(job, [])
        if job in history.deleted:
            there = [ending.replica for ending in endings if ending.response is not None or ending.events]
            if there:
                yield job, f"was deleted, and is at {' and '.join(there)}"
            continue
        statuses = {str(ending.response["status"]) if ending.response else "lost" for ending in endings}
        if len(statuses) != 1 or not statuses <= TERMINAL_STATUS:
            yield job, f"is {' and '.join(sorted(statuses)) or 'nowhere'} in the end"
            continue
        for ending in endings:
            terminal = [event["type"] for event in ending.events if event["type"] in TERMINAL_EVENTS]
            if terminal != [f"response.{status}" for status in statuses]:
                yield job, f"{ending.replica} has it {statuses} and its log ends {terminal}"


def only_lost_workers_fail_a_job(history: History) -> Found:
    """The provider of these runs fails nobody for good, so that nothing else can be a job's failure."""
    for job, ending in _endings(history):
        response = ending.response or {}
        code = (response.get("error") or {}).get("code")
        if response.get("status") == "failed" and code != "worker_lost":
            yield job, f"failed: {response.get('error')}"
        if response.get("status") == "incomplete":
            yield job, f"is incomplete: {response.get('incomplete_details')}"


def no_call_starts_after_one_of_a_higher_epoch(history: History) -> Found:
    """Whose job was given away asks no provider any more."""
    for job, calls in _calls(history).items():
        for call in calls:
            newer = [other for other in calls if other.epoch > call.epoch and other.began < call.began]
            if newer:
                late = call.began - min(other.began for other in newer)
                yield job, f"{call.process} began a call of epoch {call.epoch} {late:.3f} s after a newer one's"


def stale_calls_are_closed(history: History) -> Found:
    """A call ends soon once a newer epoch's began, or its job was said to be over.

    Time in which its process was stopped doesn't count. That a job is over is news from the database: while that
    is away nobody can learn it.
    """
    within = CLOSED_WITHIN + history.lateness
    over: dict[str, float] = {}
    for told in history.told:
        over[told.job] = min(told.at, over.get(told.job, told.at))
    back = [Span(outage.begin, outage.end + BACK_WITHIN) for outage in history.outages]
    for job, calls in _calls(history).items():
        for call in calls:
            pauses = history.pauses.get(call.process, [])
            newer = [other.began for other in calls if other.epoch > call.epoch]
            limits = [_later(max(min(newer), call.began), within, pauses)] if newer else []
            if job in over:
                limits.append(_later(max(over[job], call.began), within, [*pauses, *back]))
            closed = history.end if call.closed is None else call.closed
            if limits and closed > min(limits):
                late = closed - min(limits)
                yield job, f"{call.process}'s call of epoch {call.epoch} was open {late:.3f} s longer than it may"


def no_process_ends_by_itself(history: History) -> Found:
    """Only who was told to end does, and then in good order."""
    yield from history.ended


def no_caller_is_refused(history: History) -> Found:
    """All that the callers ask for is right, but for other requests under a key, which are refused."""
    yield from history.complaints


def who_waits_gets_an_answer(history: History) -> Found:
    """Pods that leave in good order cost nobody who waits a call, if its client does as our pages say."""
    yield from history.unanswered


def numbers_are_contiguous(history: History) -> Found:
    """A log's events are numbered from 0 without gaps, and begin with created and queued."""
    for job, ending in _endings(history):
        numbers = [event["sequence_number"] for event in ending.events]
        if numbers != list(range(len(numbers))):
            yield job, f"{ending.replica} numbers its events {numbers}"
        types = [event["type"] for event in ending.events[:2]]
        if types != ["response.created", "response.queued"]:
            yield job, f"{ending.replica} has a log that begins {types}"


def nothing_follows_the_end(history: History) -> Found:
    """The terminal event is a log's last, and holds the object that a reader gets."""
    for job, ending in _endings(history):
        places = [at for at, event in enumerate(ending.events) if event["type"] in TERMINAL_EVENTS]
        if places and places[0] != len(ending.events) - 1:
            after = [event["type"] for event in ending.events[places[0] + 1 :]]
            yield job, f"{ending.replica} has {after} after the end"
        elif places and ending.events[-1]["response"] != ending.response:
            yield job, f"{ending.replica}: the last event's object is not the one that is read"


def the_log_folds_to_the_object(history: History) -> Found:
    """What follows the last restart gives the output: whole items, and their text where deltas are kept."""
    streamed = {job for submission in history.submissions if submission.streamed for job in submission.ids}
    for job, ending in _endings(history):
        response = ending.response or {}
        if response.get("status") not in ("completed", "incomplete", "failed"):
            continue
        events = _last_run(ending.events)
        done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        if done != response["output"]:
            yield job, f"{ending.replica}: items {done} became {response['output']}"
        if job in streamed and (deltas := _deltas(events)) != (texts := _texts(response)):
            yield job, f"{ending.replica}: deltas {deltas} became {texts}"


def an_answer_is_one_calls(history: History) -> Found:
    """A completed job's text is what one call of the newest epoch gave, whole."""
    calls, prompts = _calls(history), _prompts(history)
    for job, ending in _endings(history):
        if not ending.response or ending.response["status"] != "completed" or job not in prompts:
            continue
        text = "".join(_texts(ending.response).values())
        mine = calls.get(job, [])
        newest = max((call.epoch for call in mine), default=0)
        if text != prompts[job].replace(CALLS_ID, f"{job}.{newest}"):
            yield job, f"is no answer of epoch {newest}, the newest: {text!r}"
        elif not any(call.epoch == newest and call.whole for call in mine):
            yield job, f"has an answer that no call of epoch {newest} gave to its end"


def what_was_told_holds(history: History) -> Found:
    """A state that somebody was told is the end stays; an acknowledged cancel above all."""
    for told in history.told:
        for ending in history.endings.get(told.job, []):
            if told.job in history.deleted and told.how != "delete":
                continue
            status = ending.response["status"] if ending.response else _gone(history, told.job)
            if status != told.status:
                yield told.job, f"was told to be {told.status} ({told.how}), and is {status}"


def followers_miss_and_repeat_nothing(history: History) -> Found:
    """Over all its connections a follower sees the log, each event once, up to the end or to where it left."""
    for follow in history.follows:
        seen: list[Json] = []
        for segment in follow.segments:
            numbers = [event["sequence_number"] for event in segment.events]
            if numbers != list(range(segment.after + 1, segment.after + 1 + len(numbers))):
                yield follow.job, f"{segment.replica} sent {numbers} after {segment.after}"
            seen += segment.events
        first = follow.segments[0].after + 1 if follow.segments else 0
        for ending in history.endings.get(follow.job, []):
            if seen != list(ending.events[first : first + len(seen)]):
                yield follow.job, f"a follower saw from {first} on what is not the log of {ending.replica}"
        ended = bool(seen) and seen[-1]["type"] in TERMINAL_EVENTS
        if not ended and any(segment.over for segment in follow.segments):
            yield follow.job, f"a stream ended well after {follow.last}, which is not the end"
        if not ended and not follow.left:
            yield follow.job, f"a follower that did not leave saw no end after {follow.last}"


def repeats_give_the_same(history: History) -> Found:
    """All tries with one idempotency key are one response, and a request that was answered is worked on once."""
    for submission in history.submissions:
        name = submission.ids[0] if submission.ids else submission.name
        ran = {call.job for call in history.calls if call.prompt == submission.prompt}
        known = {*submission.ids} | (ran if submission.key is not None else set())
        if len(known) > 1:
            yield name, f"{submission.name} became {sorted(known)} under one key"


RULES: Final[Sequence[Callable[[History], Found]]] = (
    every_job_ends_once,
    only_lost_workers_fail_a_job,
    no_call_starts_after_one_of_a_higher_epoch,
    stale_calls_are_closed,
    no_process_ends_by_itself,
    no_caller_is_refused,
    who_waits_gets_an_answer,
    numbers_are_contiguous,
    nothing_follows_the_end,
    the_log_folds_to_the_object,
    an_answer_is_one_calls,
    what_was_told_holds,
    followers_miss_and_repeat_nothing,
    repeats_give_the_same,
)


def _gone(history: History, job: str) -> str:
    return "deleted" if job in history.deleted else "lost"


def _endings(history: History) -> Iterator[tuple[str, Ending]]:
    """Of what is still there: whatever was deleted has no more to show."""
    there = {job: endings for job, endings in history.endings.items() if job not in history.deleted}
    return ((job, ending) for job, endings in there.items() for ending in endings)


def _calls(history: History) -> Mapping[str, Sequence[Call]]:
    found: defaultdict[str, list[Call]] = defaultdict(list)
    for call in history.calls:
        found[call.job].append(call)
    return found


def _prompts(history: History) -> Mapping[str, str]:
    by_calls = {call.job: call.prompt for call in history.calls}
    return by_calls | {job: submission.prompt for submission in history.submissions for job in submission.ids}


def _later(begin: float, seconds: float, without: Sequence[Span]) -> float:
    """When `seconds` have passed in one piece since `begin`, in which none of the spans was."""
    for span in sorted(without, key=lambda span: span.begin):
        if span.begin < begin + seconds and span.end > begin:
            begin = span.end
    return begin + seconds


def _last_run(events: Sequence[Json]) -> Sequence[Json]:
    restarts = [at for at, event in enumerate(events) if event["type"] == "response.restarted"]
    return events[restarts[-1] + 1 :] if restarts else events


def _deltas(events: Sequence[Json]) -> Mapping[tuple[int, int], str]:
    texts: defaultdict[tuple[int, int], str] = defaultdict(str)
    for event in events:
        if event["type"] == "response.output_text.delta":
            texts[event["output_index"], event["content_index"]] += event["delta"]
    return dict(texts)


def _texts(response: Json) -> Mapping[tuple[int, int], str]:
    return {
        (place, part): content["text"]
        for place, item in enumerate(response["output"])
        for part, content in enumerate(item.get("content") or ())
        if content.get("type") == "output_text"
    }
