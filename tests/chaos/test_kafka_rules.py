"""The rules on topics, on histories made by hand: a good one, and for each rule ones that break it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.checker import check
from tests.chaos.history import History
from tests.chaos.kafka_history import KafkaHistory, Place
from tests.chaos.kafka_rules import unaccounted
from tests.chaos.kafka_samples import (
    CAME,
    CHAT,
    DOOR,
    GONE,
    SIGNED,
    completion,
    door_result,
    ending,
    good,
    letter,
    result,
    shown,
    tombstone,
)
from tests.chaos.record_requests import BOUND, BOUND_RESULTS


def test_nothing_is_wrong_with_a_good_history() -> None:
    assert check(good()) == []
    assert unaccounted(good()) == set()


def kafka_of(history: History) -> KafkaHistory:
    assert history.kafka is not None
    return history.kafka


def without(history: History, *jobs: str) -> None:
    kafka_of(history).published = [one for one in kafka_of(history).published if one.job not in jobs]


def changed(history: History, job: str, **fields: Any) -> None:
    kafka = kafka_of(history)
    kafka.published = [replace(one, **fields) if one.job == job else one for one in kafka.published]


def with_header(history: History, job: str, name: str, value: str) -> None:
    kafka = kafka_of(history)
    kafka.published = [
        replace(one, headers=[*(h for h in one.headers if h[0] != name), (name, value)]) if one.job == job else one
        for one in kafka.published
    ]


def lost(history: History) -> None:
    without(history, CAME)
    del history.endings[CAME]
    history.submissions[0].ids = []
    del history.calls[0]


def lost_as_a_letter(history: History) -> None:
    kafka_of(history).letters.clear()


def refused_though_right(history: History) -> None:
    kafka_of(history).letters.append(letter(9, kafka_of(history).sent[2], "internal"))


def refused_for_another_reason(history: History) -> None:
    kafka = kafka_of(history)
    kafka.letters = [replace(one, reason="internal") for one in kafka.letters]


def taken_though_wrong(history: History) -> None:
    bad = kafka_of(history).sent[4]
    kafka_of(history).published.append(result(9, bad, shown(bad.job)))


def a_letter_of_nothing(history: History) -> None:
    kafka = kafka_of(history)
    kafka.letters.append(replace(kafka.letters[0], original=(BOUND, 5, 5)))


def unpublished(history: History) -> None:
    without(history, DOOR)


def published_twice(history: History) -> None:
    kafka_of(history).published.append(door_result(9, version=2))


def published_of_nobody(history: History) -> None:
    kafka_of(history).published.append(replace(door_result(), job="resp_nobody"))


def without_a_tombstone(history: History) -> None:
    kafka = kafka_of(history)
    kafka.published = [one for one in kafka.published if one.value is not None]


def a_tombstone_of_what_is_there(history: History) -> None:
    kafka_of(history).published.append(tombstone(9, CAME))


def two_tombstones(history: History) -> None:
    kafka_of(history).published.append(tombstone(9, GONE, version=3))


def a_result_after_the_tombstone(history: History) -> None:
    kafka_of(history).published.append(result(9, kafka_of(history).sent[3], shown(GONE)))


def in_two_partitions(history: History) -> None:
    kafka = kafka_of(history)
    kafka.published[1] = replace(kafka.published[1], place=(BOUND_RESULTS, 2, 1))


def a_repeat_that_differs(history: History) -> None:
    kafka = kafka_of(history)
    kafka.published[0] = replace(kafka.published[0], value=shown(CAME, "failed"))


def a_letter_that_differs(history: History) -> None:
    kafka = kafka_of(history)
    kafka.letters[2] = replace(kafka.letters[2], reason="internal")


def another_status(history: History) -> None:
    with_header(history, DOOR, "eurouter-status", "completed")


def another_object(history: History) -> None:
    changed(history, CAME, value={**shown(CAME), "model": "?"})


def another_answer(history: History) -> None:
    value = completion(CHAT)
    changed(history, CHAT, value={**value, "choices": [{"message": {"content": "something else"}}]})


def another_id(history: History) -> None:
    changed(history, CHAT, value=completion(CAME))


def unreadable(history: History) -> None:
    changed(history, CAME, value={"unreadable": "?"})


def there_after_all(history: History) -> None:
    history.endings[GONE] = ending(shown(GONE))


def in_another_topic(history: History) -> None:
    changed(history, DOOR, place=(BOUND_RESULTS, 1, 9))


def without_its_correlation(history: History) -> None:
    with_header(history, CAME, "correlation-id", "of-another")


def without_its_source(history: History) -> None:
    with_header(history, CAME, "eurouter-source-offset", "2")


def in_another_form(history: History) -> None:
    with_header(history, CHAT, "content-type", "application/protobuf; proto=eurouter.v1.ChatCompletion")


def answers_though_nobody_asked(history: History) -> None:
    with_header(history, DOOR, "correlation-id", "x")


def a_letter_with_another_value(history: History) -> None:
    kafka = kafka_of(history)
    kafka.letters = [replace(one, value="another") for one in kafka.letters]


def a_letter_with_its_signature(history: History) -> None:
    kafka = kafka_of(history)
    kafka.letters = [replace(one, headers=[*one.headers, SIGNED]) for one in kafka.letters]


def left_behind(history: History) -> None:
    kafka_of(history).unsettled = 3


@pytest.mark.parametrize(
    ("breaks", "rule"),
    [
        (lost, "every_record_is_a_job_or_a_dead_letter"),
        (lost_as_a_letter, "every_record_is_a_job_or_a_dead_letter"),
        (refused_though_right, "every_record_is_a_job_or_a_dead_letter"),
        (refused_for_another_reason, "every_record_is_a_job_or_a_dead_letter"),
        (taken_though_wrong, "every_record_is_a_job_or_a_dead_letter"),
        (a_letter_of_nothing, "every_record_is_a_job_or_a_dead_letter"),
        (unpublished, "every_job_has_one_result"),
        (published_twice, "every_job_has_one_result"),
        (published_of_nobody, "every_job_has_one_result"),
        (without_a_tombstone, "every_job_has_one_result"),
        (a_tombstone_of_what_is_there, "every_job_has_one_result"),
        (two_tombstones, "every_job_has_one_result"),
        (a_result_after_the_tombstone, "nothing_follows_a_tombstone"),
        (in_two_partitions, "nothing_follows_a_tombstone"),
        (a_repeat_that_differs, "repeats_are_the_same"),
        (a_letter_that_differs, "repeats_are_the_same"),
        (another_status, "the_last_state_is_the_databases"),
        (another_object, "the_last_state_is_the_databases"),
        (another_answer, "the_last_state_is_the_databases"),
        (another_id, "the_last_state_is_the_databases"),
        (unreadable, "the_last_state_is_the_databases"),
        (there_after_all, "the_last_state_is_the_databases"),
        (there_after_all, "every_job_ends_once"),
        (there_after_all, "what_was_told_holds"),
        (a_tombstone_of_what_is_there, "the_last_state_is_the_databases"),
        (a_result_after_the_tombstone, "the_last_state_is_the_databases"),
        (in_another_topic, "results_say_what_they_answer"),
        (without_its_correlation, "results_say_what_they_answer"),
        (without_its_source, "results_say_what_they_answer"),
        (in_another_form, "results_say_what_they_answer"),
        (answers_though_nobody_asked, "results_say_what_they_answer"),
        (a_letter_with_another_value, "dead_letters_are_as_submitted"),
        (a_letter_with_its_signature, "dead_letters_are_as_submitted"),
        (left_behind, "the_outbox_is_empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_bad_history_breaks_its_rule(breaks: Callable[[History], None], rule: str) -> None:
    history = good()
    breaks(history)
    assert rule in {violation.rule for violation in check(history)}


@pytest.mark.parametrize(
    "breaks", [lost, lost_as_a_letter, unpublished, without_a_tombstone], ids=lambda breaks: breaks.__name__
)
def test_what_is_still_missing_is_waited_for(breaks: Callable[[History], None]) -> None:
    history = good()
    breaks(history)
    assert unaccounted(history)


def test_a_deleted_job_may_be_gone_before_its_result_was_published() -> None:
    history = good()
    kafka = kafka_of(history)
    kafka.published = [one for one in kafka.published if one.job != GONE or one.value is None]
    assert check(history) == []


def test_a_failed_chat_job_is_published_as_the_response_that_it_is() -> None:
    history = good()
    failed = {**shown(CHAT, "failed"), "error": {"code": "worker_lost", "message": "?"}}
    history.endings[CHAT] = ending(failed)
    changed(history, CHAT, value=failed)
    with_header(history, CHAT, "eurouter-status", "failed")
    assert check(history) == []


def test_a_repeat_may_lack_the_trace() -> None:
    history = good()
    kafka = kafka_of(history)
    kafka.published[0] = replace(
        kafka.published[0], headers=[*kafka.published[0].headers, ("traceparent", "00-0-0-00")]
    )
    assert check(history) == []


def test_a_record_may_stand_anywhere() -> None:
    history = good()
    place: Place = (BOUND, 4, 17)
    kafka = kafka_of(history)
    kafka.sent[2] = replace(kafka.sent[2], place=place)
    assert {violation.rule for violation in check(history)} == {"results_say_what_they_answer"}
    kafka.published[2] = result(2, kafka.sent[2], completion(CHAT))
    assert check(history) == []
