"""What a process says of Kafka when it runs."""

from __future__ import annotations

from typing import Any

from service.announcement import kafka_lines
from service.settings import Settings

KAFKA: dict[str, Any] = {"bootstrap_servers": "kafka-1:9092,kafka-2:9092"}


def lines(*, works: bool = True, **sections: Any) -> list[str]:
    return list(kafka_lines(Settings.model_validate(sections), works=works))


def test_without_kafka_nothing_is_said() -> None:
    assert lines() == []
    assert lines(works=False) == []


def test_a_process_that_works_names_what_it_reads_and_where_results_go() -> None:
    intake = [{"topic": "team-a.requests", "owner": "team-a", "results_topic": "team-a.results"}]
    (line,) = lines(kafka={**KAFKA, "intake": intake})
    assert line == (
        "==> Kafka at kafka-1:9092,kafka-2:9092: takes in team-a.requests, eurouter.submit.v1; results to "
        "eurouter.results.v1, team-a.results; dead letters to eurouter.dlq.v1"
    )


def test_many_topics_are_one_line() -> None:
    intake = [{"topic": f"t{n}", "owner": "o"} for n in range(9)]
    (line,) = lines(kafka={**KAFKA, "intake": intake})
    assert "takes in t0, t1, t2, t3, t4 and 5 more; results to eurouter.results.v1;" in line


def test_a_process_without_work_says_who_does_it() -> None:
    (line,) = lines(works=False, kafka=KAFKA)
    assert line.endswith(": `eurouter work` reads and writes it, this process only shows dead letters")
