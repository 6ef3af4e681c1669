"""The checker on histories made by hand: a good one, and for each rule ones that break it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.checker import CLOSED_WITHIN, check
from tests.chaos.history import CALLS_ID, Call, Ending, Follow, History, Json, Segment, Span, Submission, Told

JOB = "resp_1"
PROMPT = f"{CALLS_ID} hello {CALLS_ID}"
PROCESS = "worker-1.1"


def says(epoch: int) -> list[str]:
    """The tokens of a run."""
    return [f"{JOB}.{epoch}", " hello", f" {JOB}.{epoch}"]


def finished(epoch: int, status: str = "completed") -> Json:
    """The object that a run of this epoch makes."""
    content = [{"type": "output_text", "text": "".join(says(epoch))}]
    return {"id": JOB, "status": status, "output": [{"id": "msg_1", "content": content}]}


def numbered(*events: dict[str, Any]) -> list[Json]:
    """Events with their numbers."""
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def event(kind: str, **fields: Any) -> dict[str, Any]:
    """An event without its number."""
    return {"type": f"response.{kind}", **fields}


def deltas(epoch: int, count: int = 3) -> list[dict[str, Any]]:
    """The beginning of a run's text."""
    return [
        event("output_text.delta", output_index=0, content_index=0, delta=token) for token in says(epoch)[:count]
    ]


def lost_once() -> list[Json]:
    """The log of a response whose first worker was lost."""
    return numbered(
        event("created", response={"id": JOB}),
        event("queued"),
        event("in_progress"),
        *deltas(1, 2),
        event("restarted"),
        event("in_progress"),
        *deltas(2),
        event("output_item.done", item=finished(2)["output"][0]),
        event("completed", response=finished(2)),
    )


def good() -> History:
    """A streamed response whose first worker was stopped beyond its lease, and a follower that came twice."""
    log = lost_once()
    return History(
        submissions=[Submission("job-1", PROMPT, key="k", streamed=True, ids=[JOB, JOB])],
        follows=[Follow(JOB, [Segment("a", -1, log[:4], over=False), Segment("b", 3, log[4:], over=True)])],
        told=[Told(JOB, 10.0, "completed", "read")],
        calls=[
            Call(JOB, 1, PROCESS, PROMPT, began=1.0, closed=7.5, whole=False),
            Call(JOB, 2, "worker-2.1", PROMPT, began=5.0, closed=9.0, whole=True),
        ],
        pauses={PROCESS: [Span(2.0, 7.0)]},
        endings={JOB: [Ending("a", finished(2), log), Ending("b", finished(2), log)]},
        end=20.0,
    )


def test_nothing_is_wrong_with_a_good_history() -> None:
    assert check(good()) == []


def ends(history: History, response: Json | None, log: list[Json]) -> None:
    """Makes this the end of the response, everywhere."""
    history.endings[JOB] = [Ending(name, response, log) for name in ("a", "b")]
    history.follows, history.told = [], []


def cancelled() -> History:
    """A response that was cancelled while a call was under way."""
    told = {"id": JOB, "status": "cancelled", "output": []}
    log = numbered(event("created"), event("queued"), event("in_progress"), event("cancelled", response=told))
    history = good()
    ends(history, told, log)
    history.told = [Told(JOB, 6.0, "cancelled", "cancel")]
    history.calls = [Call(JOB, 1, PROCESS, PROMPT, began=1.0, closed=6.4, whole=False)]
    history.pauses = {}
    return history


def test_nothing_is_wrong_with_a_cancel() -> None:
    assert check(cancelled()) == []


def lost(history: History) -> None:
    ends(history, None, [])


def waiting(history: History) -> None:
    ends(history, {**finished(2), "status": "in_progress"}, lost_once()[:-1])


def differing(history: History) -> None:
    history.endings[JOB][1] = Ending("b", {**finished(2), "status": "failed"}, lost_once())


def ended_twice(history: History) -> None:
    log = lost_once()
    ends(history, finished(2), numbered(*(dict(each) for each in log), dict(log[-1])))


def never_seen_by_its_caller(history: History) -> None:
    history.calls.append(Call("resp_2", 1, PROCESS, "another", began=1.0, closed=2.0, whole=True))


def failed_for_no_reason(history: History) -> None:
    response = {**finished(2, "failed"), "error": {"code": "server_error", "message": "?"}}
    ends(
        history, response, numbered(*(dict(each) for each in lost_once()[:-1]), event("failed", response=response))
    )


def begun_late(history: History) -> None:
    history.calls[0] = replace(history.calls[0], began=5.1)


def open_for_too_long(history: History) -> None:
    history.calls[0] = replace(history.calls[0], closed=7.0 + CLOSED_WITHIN + 0.1)


def never_closed(history: History) -> None:
    history.calls[0] = replace(history.calls[0], closed=None)


def open_without_a_pause(history: History) -> None:
    history.pauses = {PROCESS: [Span(1.5, 2.0)], "worker-2.1": [Span(2.0, 7.0)]}


def with_a_gap(history: History) -> None:
    ends(history, finished(2), [each for each in lost_once() if each["sequence_number"] != 4])


def with_a_false_beginning(history: History) -> None:
    log = [dict(each) for each in lost_once()]
    ends(history, finished(2), numbered(log[0], *log[2:]))


def going_on_after_its_end(history: History) -> None:
    log = [dict(each) for each in lost_once()]
    ends(history, finished(2), numbered(*log, *deltas(1, 1)))


def read_otherwise_than_told(history: History) -> None:
    ends(history, {**finished(2), "usage": {"output_tokens": 3}}, lost_once())


def without_its_restart(history: History) -> None:
    ends(history, finished(2), numbered(*(dict(each) for each in lost_once() if "restarted" not in each["type"])))


def with_a_stale_delta(history: History) -> None:
    log = [dict(each) for each in lost_once()]
    ends(history, finished(2), numbered(*log[:8], *deltas(1, 1), *log[8:]))


def with_another_item(history: History) -> None:
    log = [dict(each) for each in lost_once()]
    log[-2]["item"] = finished(1)["output"][0]
    ends(history, finished(2), numbered(*log))


def made_by_the_lost_worker(history: History) -> None:
    log = [dict(each) for each in lost_once()[:5]]
    done = event("output_item.done", item=finished(1)["output"][0])
    whole = numbered(*log[:3], *deltas(1), done, event("completed", response=finished(1)))
    ends(history, finished(1), whole)


def made_by_a_call_that_broke(history: History) -> None:
    history.calls[1] = replace(history.calls[1], whole=False)


def followed_with_a_gap(history: History) -> None:
    log = lost_once()
    history.follows = [Follow(JOB, [Segment("a", -1, log[:4], over=False), Segment("b", 3, log[5:], over=True)])]


def followed_with_a_repeat(history: History) -> None:
    log = lost_once()
    history.follows = [Follow(JOB, [Segment("a", -1, log[:5], over=False), Segment("b", 3, log[4:], over=True)])]


def followed_elsewhere(history: History) -> None:
    log = lost_once()
    other = [*log[:3], {**log[3], "delta": "what nobody said"}, *log[4:]]
    history.follows = [Follow(JOB, [Segment("a", -1, other, over=True)])]


def followed_to_no_end(history: History) -> None:
    history.follows = [Follow(JOB, [Segment("a", -1, lost_once()[:4], over=False)])]


def followed_to_a_false_end(history: History) -> None:
    history.follows = [Follow(JOB, [Segment("a", -1, lost_once()[:4], over=True)], left=True)]


def accepted_twice(history: History) -> None:
    history.submissions[0].ids[1] = "resp_2"
    history.endings["resp_2"] = history.endings[JOB]


def run_twice(history: History) -> None:
    history.calls.append(Call("resp_2", 1, PROCESS, PROMPT, began=9.0, closed=9.5, whole=True))


def complained_of(history: History) -> None:
    history.complaints.append((JOB, "500"))


def with_a_dead_process(history: History) -> None:
    history.ended.append((PROCESS, "ended by itself with 1"))


@pytest.mark.parametrize(
    ("breaks", "rule"),
    [
        (lost, "every_job_ends_once"),
        (waiting, "every_job_ends_once"),
        (differing, "every_job_ends_once"),
        (ended_twice, "every_job_ends_once"),
        (never_seen_by_its_caller, "every_job_ends_once"),
        (failed_for_no_reason, "only_lost_workers_fail_a_job"),
        (begun_late, "no_call_starts_after_one_of_a_higher_epoch"),
        (open_for_too_long, "stale_calls_are_closed"),
        (never_closed, "stale_calls_are_closed"),
        (open_without_a_pause, "stale_calls_are_closed"),
        (with_a_gap, "numbers_are_contiguous"),
        (with_a_false_beginning, "numbers_are_contiguous"),
        (going_on_after_its_end, "nothing_follows_the_end"),
        (read_otherwise_than_told, "nothing_follows_the_end"),
        (without_its_restart, "the_log_folds_to_the_object"),
        (with_a_stale_delta, "the_log_folds_to_the_object"),
        (with_another_item, "the_log_folds_to_the_object"),
        (made_by_the_lost_worker, "an_answer_is_one_calls"),
        (made_by_a_call_that_broke, "an_answer_is_one_calls"),
        (followed_with_a_gap, "followers_miss_and_repeat_nothing"),
        (followed_with_a_repeat, "followers_miss_and_repeat_nothing"),
        (followed_elsewhere, "followers_miss_and_repeat_nothing"),
        (followed_to_no_end, "followers_miss_and_repeat_nothing"),
        (followed_to_a_false_end, "followers_miss_and_repeat_nothing"),
        (accepted_twice, "repeats_give_the_same"),
        (run_twice, "repeats_give_the_same"),
        (complained_of, "no_caller_is_refused"),
        (with_a_dead_process, "no_process_ends_by_itself"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_bad_history_breaks_its_rule(breaks: Callable[[History], None], rule: str) -> None:
    history = good()
    breaks(history)
    assert rule in {violation.rule for violation in check(history)}


def test_an_acknowledged_cancel_must_hold() -> None:
    history = cancelled()
    ends(history, finished(2), lost_once())
    history.told = [Told(JOB, 6.0, "cancelled", "cancel")]
    assert {"what_was_told_holds"} <= {violation.rule for violation in check(history)}


def test_a_cancelled_responses_calls_must_be_closed_within_a_second() -> None:
    history = cancelled()
    history.calls[0] = replace(history.calls[0], closed=6.0 + CLOSED_WITHIN + 0.2)
    assert [violation.rule for violation in check(history)] == ["stale_calls_are_closed"]
    history.lateness = 0.3
    assert check(history) == []


def test_a_call_that_begins_after_its_response_was_cancelled_is_stale_from_its_beginning() -> None:
    history = cancelled()
    history.calls[0] = replace(history.calls[0], began=8.0, closed=8.5)
    assert check(history) == []
    history.calls[0] = replace(history.calls[0], closed=9.5)
    assert [violation.rule for violation in check(history)] == ["stale_calls_are_closed"]


def test_nobody_can_learn_of_a_cancel_while_the_database_is_away_but_of_a_newer_run() -> None:
    history = cancelled()
    history.outages = [Span(6.2, 9.0)]
    history.calls[0] = replace(history.calls[0], closed=11.0)
    assert check(history) == []
    history = good()
    history.outages = [Span(6.9, 12.0)]
    history.calls[0] = replace(history.calls[0], closed=11.0)
    assert [violation.rule for violation in check(history)] == ["stale_calls_are_closed"]


def test_a_pause_within_the_second_begins_it_anew() -> None:
    history = cancelled()
    history.pauses = {PROCESS: [Span(6.5, 8.0), Span(8.4, 10.0)]}
    history.calls[0] = replace(history.calls[0], closed=10.9)
    assert check(history) == []
    history.calls[0] = replace(history.calls[0], closed=11.1)
    assert [violation.rule for violation in check(history)] == ["stale_calls_are_closed"]


def test_a_follower_may_begin_anywhere_and_leave_before_the_end() -> None:
    history = good()
    history.follows = [Follow(JOB, [Segment("a", 2, lost_once()[3:6], over=False)], left=True)]
    assert check(history) == []
