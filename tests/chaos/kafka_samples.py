"""A history with Kafka made by hand, in which nothing is wrong, and the parts that it is made of."""

from __future__ import annotations

from typing import Any

from tests.chaos.history import Call, Ending, History, Json, Submission, Told
from tests.chaos.kafka_history import KafkaHistory, Letter, Published, Sent
from tests.chaos.record_requests import BOUND, BOUND_RESULTS, CONFLICT, DEAD_LETTERS, JOB, RESULTS

HEX = "0" * 35
CAME, CHAT, GONE, DOOR = (f"resp_{HEX}{digit}" for digit in "1234")
JOBS = {"came": CAME, "chat": CHAT, "gone": GONE, "door": DOOR}
SIGNED = ("eurouter-signature", "abc")


def sent(offset: int, job: str, name: str, expected: str = JOB, **others: Any) -> Sent:
    """A record that stands in the bound topic."""
    given: dict[str, Any] = {
        "place": (BOUND, 0, offset),
        "timestamp": 5,
        "name": name,
        "job": job,
        "expected": expected,
        "results": BOUND_RESULTS,
        "correlation": f"correlation-of-{name}",
        "protobuf": False,
        "chat": False,
        "key": name,
        "value": f"digest of {name}",
        "headers": [("chaos-name", name)],
    }
    return Sent(**{**given, **others})


def shown(job: str, status: str = "completed") -> Json:
    """A response as the doors show it."""
    content = [{"type": "output_text", "text": f"of {job}"}]
    output = [{"id": "msg_1", "content": content}] if status == "completed" else []
    return {"id": job, "object": "response", "status": status, "output": output}


def completion(job: str) -> Json:
    """The same as a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": f"of {job}"}}
    return {"id": f"chatcmpl-{job[5:]}", "object": "chat.completion", "choices": [choice]}


def result(offset: int, of: Sent, value: Json, version: int = 1, status: str = "completed") -> Published:
    """A result of a record's job."""
    topic, partition, place = of.place
    return Published(
        (of.results, 1, offset),
        of.job,
        value,
        [
            ("eurouter-status", status),
            ("eurouter-version", str(version)),
            ("correlation-id", of.correlation),
            ("eurouter-source-topic", topic),
            ("eurouter-source-partition", str(partition)),
            ("eurouter-source-offset", str(place)),
            ("eurouter-source-key", str(of.key)),
            ("content-type", "application/json"),
        ],
    )


def tombstone(offset: int, job: str, version: int = 2) -> Published:
    """Says that a job is gone."""
    return Published((BOUND_RESULTS, 1, offset), job, None, [("eurouter-version", str(version))])


def letter(offset: int, of: Sent, reason: str) -> Letter:
    """A record's dead letter."""
    headers = [*(one for one in of.headers if one != SIGNED), ("eurouter-dlq-reason", reason)]
    return Letter((DEAD_LETTERS, 0, offset), of.place, reason, of.key, of.value, headers)


def door_result(offset: int = 0, version: int = 1) -> Published:
    """The result of the job that came by another door."""
    headers = [
        ("eurouter-status", "cancelled"),
        ("eurouter-version", str(version)),
        ("content-type", "application/json"),
    ]
    return Published((RESULTS, 2, offset), DOOR, shown(DOOR, "cancelled"), headers)


def ending(response: Json | None) -> list[Ending]:
    """The same at both replicas; what the logs hold is for other rules."""
    if response is None:
        return [Ending(name, None, []) for name in ("a", "b")]
    events: list[dict[str, Any]] = [{"type": "response.created"}, {"type": "response.queued"}]
    events += [{"type": "response.output_item.done", "item": item} for item in response["output"]]
    events.append({"type": f"response.{response['status']}", "response": response})
    log = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return [Ending(name, response, log) for name in ("a", "b")]


def good() -> History:
    """A record that came twice, a chat request, a deleted one, one from another door, three dead letters."""
    came, again = sent(0, CAME, "came"), sent(1, CAME, "came")
    chat, gone = sent(2, CHAT, "chat", chat=True), sent(3, GONE, "gone")
    bad = sent(4, f"resp_{HEX}5", "bad", "invalid", headers=[("chaos-name", "bad"), SIGNED])
    other = sent(5, CAME, "came", CONFLICT)
    kafka = KafkaHistory(
        sent=[came, again, chat, gone, bad, other],
        published=[
            result(0, again, shown(CAME)),
            result(1, again, shown(CAME)),
            result(2, chat, completion(CHAT)),
            result(3, gone, shown(GONE)),
            tombstone(4, GONE),
            tombstone(5, GONE),
            door_result(),
        ],
        letters=[letter(0, bad, "invalid"), letter(1, other, CONFLICT), letter(2, bad, "invalid")],
    )
    return History(
        submissions=[Submission(name, f"of {job}", name, ids=[job]) for name, job in JOBS.items()],
        calls=[
            Call(job, 1, "worker-1.1", f"of {job}", began=0.1, closed=0.2, whole=True) for job in JOBS.values()
        ],
        endings={
            CAME: ending(shown(CAME)),
            CHAT: ending(shown(CHAT)),
            GONE: ending(None),
            DOOR: ending(shown(DOOR, "cancelled")),
        },
        told=[Told(GONE, 1.0, "completed", "read"), Told(GONE, 2.0, "deleted", "delete")],
        deleted={GONE},
        kafka=kafka,
    )
