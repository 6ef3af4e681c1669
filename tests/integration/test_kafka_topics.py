"""Topics on the real broker: made, checked, never changed; and clients that come in by TLS and a password."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from adapters.kafka import topics as settling
from adapters.kafka.client import KafkaClientOptions, client_arguments
from adapters.kafka.publisher import KafkaPublisher
from adapters.kafka.topics import TopicsError, TopicSpec, settle_topics, wanted_topics
from service.domain.publishing import Delivery, Message, PublisherError
from tests.support.kafka import KafkaCluster, cluster
from tests.support.kafka_clients import Kafka, Topics
from tests.support.kafka_security import PASSWORD, USER

HOUR = 3600 * 1000


class Heard:
    """What was reported, in its order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, object]]] = []

    def __call__(self, event: str, values: Mapping[str, object]) -> None:
        self.events.append((event, values))

    def of(self, event: str) -> list[Mapping[str, object]]:
        return [values for name, values in self.events if name == event]


def specs(topics: Topics, partitions: int = 3) -> tuple[TopicSpec, ...]:
    return wanted_topics(
        [topics.name("submit"), topics.name("team-a")],
        topics.name("jobs"),
        [topics.name("results")],
        topics.name("dlq"),
        partitions=partitions,
    )


async def settle(
    kafka: Kafka, wanted: Sequence[TopicSpec], mode: settling.Mode, heard: Heard | None = None
) -> list[str]:
    return await settle_topics(kafka.client(), wanted, mode, heard or Heard())


async def described(kafka: Kafka, topic: str) -> Any:
    async with kafka.admin() as admin:
        (found,) = await admin.describe_topics([topic])
    return found


def test_the_contracts_topics_are_wanted_with_its_settings() -> None:
    wanted = wanted_topics(
        ["submit", "team-a"], "jobs", ["results", "team-b"], "dlq", partitions=12, replication=2
    )
    assert [(spec.name, spec.partitions, spec.replication) for spec in wanted] == [
        (name, 12, 2) for name in ("submit", "team-a", "jobs", "results", "team-b", "dlq")
    ]
    days = 24 * HOUR
    configs = {spec.name: dict(spec.config) for spec in wanted}
    assert configs["submit"] == configs["team-a"] == {"cleanup.policy": "delete", "retention.ms": str(7 * days)}
    assert configs["jobs"] == {"cleanup.policy": "delete", "retention.ms": str(days)}
    assert configs["results"] == configs["team-b"]
    assert configs["results"] == {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(30 * days),
        "max.compaction.lag.ms": str(days),
    }
    assert configs["dlq"] == {"cleanup.policy": "delete", "retention.ms": str(14 * days)}


async def test_what_is_made_is_as_it_should_be_and_a_check_says_nothing(kafka: Kafka, topics: Topics) -> None:
    wanted, heard = specs(topics), Heard()
    assert await settle(kafka, wanted, "create", heard) == []
    assert [values["topic"] for values in heard.of("kafka_topic_created")] == [spec.name for spec in wanted]
    for spec in wanted:
        assert await kafka.settings(spec.name) == dict(spec.config)
        assert len((await described(kafka, spec.name))["partitions"]) == 3
    again = Heard()
    assert await settle(kafka, wanted, "check", again) == []
    assert await settle(kafka, wanted, "create", again) == []
    assert again.events == []


async def test_a_missing_topic_is_told_with_what_makes_it_and_not_made(kafka: Kafka, topics: Topics) -> None:
    (first, *_), heard = specs(topics), Heard()
    (problem,) = await settle(kafka, [first], "check", heard)
    command = (
        f"kafka-topics.sh --create --topic {first.name} --partitions 3 --replication-factor 1 "
        f"--config cleanup.policy=delete --config retention.ms={7 * 24 * HOUR}"
    )
    assert problem == (
        f"there is no topic '{first.name}': make it by `{command}`, or let the service make it by the setting "
        "kafka.topics: create"
    )
    assert heard.events == [("kafka_topic_differs", {"topic": first.name, "problem": problem})]
    async with kafka.admin() as admin:
        assert first.name not in await admin.list_topics()


async def test_nothing_is_asked_when_it_is_off() -> None:
    nobody = {"bootstrap_servers": "127.0.0.1:9"}
    assert await settle_topics(nobody, [TopicSpec("t", 1)], "off", Heard()) == []
    assert await settle_topics(nobody, [], "create", Heard()) == []


@pytest.mark.parametrize("mode", ["check", "create"])
async def test_every_setting_that_differs_is_told_and_none_is_changed(
    kafka: Kafka, topics: Topics, mode: settling.Mode
) -> None:
    results = specs(topics)[3]
    given = {"cleanup.policy": "compact", "retention.ms": str(HOUR)}
    await topics.create("results", 5, given)
    problems = await settle(kafka, [results], mode)
    start = f"the topic '{results.name}' has another"
    assert [problem.removeprefix(start) for problem in problems] == [
        " partitions than it should have: found 5, wanted 3",
        " cleanup.policy than it should have: found compact, wanted compact,delete",
        f" retention.ms than it should have: found {HOUR}, wanted {30 * 24 * HOUR}",
        f" max.compaction.lag.ms than it should have: found {2**63 - 1}, wanted {24 * HOUR}",
    ]
    assert await kafka.settings(results.name) == given
    assert len((await described(kafka, results.name))["partitions"]) == 5


async def test_the_order_of_policies_does_not_matter_and_fewer_partitions_do(kafka: Kafka, topics: Topics) -> None:
    results = specs(topics)[3]
    await topics.create("results", 2, {**results.config, "cleanup.policy": "delete,compact"})
    (problem,) = await settle(kafka, [results], "check")
    assert problem.endswith("another partitions than it should have: found 2, wanted 3")


async def test_more_replicas_than_there_are_brokers_are_told_and_the_others_are_made(
    kafka: Kafka, topics: Topics
) -> None:
    submit, team, *_ = specs(topics)
    heard = Heard()
    (problem,) = await settle(kafka, [replace(submit, replication=7), team], "create", heard)
    assert problem.startswith(f"the topic '{submit.name}' could not be made (InvalidReplicationFactorError")
    assert "--replication-factor 7" in problem
    assert [values["topic"] for values in heard.of("kafka_topic_created")] == [team.name]


async def test_two_that_make_the_same_topics_at_once_are_no_problem(kafka: Kafka, topics: Topics) -> None:
    wanted = specs(topics)
    told = await asyncio.gather(*(settle(kafka, wanted, "create") for _ in range(4)))
    assert told == [[], [], [], []]
    assert await settle(kafka, wanted, "check") == []


async def test_a_topic_that_another_made_since_it_was_looked_for_is_no_problem(
    kafka: Kafka, topics: Topics
) -> None:
    wanted, heard = specs(topics)[:1], Heard()
    await settle(kafka, wanted, "create")
    admin = AIOKafkaAdminClient(**kafka.client())
    await admin.start()
    try:
        assert await settling._create(admin, [spec.on(1) for spec in wanted], heard) == []
    finally:
        await admin.close()
    assert heard.events == []


async def test_nobody_there_is_told_in_time() -> None:
    began = time.monotonic()
    with pytest.raises(
        TopicsError, match=r"the topics could not be looked at.*127\.0\.0\.1:9: connection refused"
    ):
        await settle_topics({"bootstrap_servers": "127.0.0.1:9"}, [TopicSpec("t", 1)], "check", Heard(), seconds=2)
    assert time.monotonic() - began < 5


async def test_a_broker_that_stands_still_is_told_in_time(own_kafka: KafkaCluster) -> None:
    own_kafka.signal(1, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(TopicsError):
            await settle_topics(own_kafka.client(), [TopicSpec("t", 1)], "create", Heard(), seconds=2)
        assert time.monotonic() - began < 6
    finally:
        own_kafka.signal(1, signal.SIGCONT)


async def test_a_check_makes_nothing_where_brokers_make_topics_for_whoever_asks_for_them() -> None:
    with cluster(others={"auto.create.topics.enable": "true"}) as broker:
        (problem,) = await settle(broker, [TopicSpec("asked-for", 1)], "check")
        assert problem.startswith("there is no topic 'asked-for'")
        async with broker.admin() as admin:
            assert "asked-for" not in await admin.list_topics()


async def test_what_we_may_not_see_or_make_is_told_and_the_rest_goes_on() -> None:
    guarded = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
    }
    with cluster(others=guarded) as broker:
        for topic in ("closed", "seen", "unseen"):
            await broker.create(topic, config={"cleanup.policy": "delete"})
        # The broker itself has no name either: what it does to the cluster must stay allowed.
        await rule(broker, _CLUSTER, "kafka-cluster", _ALL, _ALLOW)
        await rule(broker, _CLUSTER, "kafka-cluster", _CREATE, _DENY)
        await rule(broker, _TOPIC, "new", _DESCRIBE, _ALLOW)
        await rule(broker, _TOPIC, "unseen", _DESCRIBE, _ALLOW)
        await rule(broker, _TOPIC, "closed", _DESCRIBE, _DENY)
        wanted = [TopicSpec(name, 1, {"cleanup.policy": "delete"}) for name in ("closed", "new", "seen", "unseen")]
        async with asyncio.timeout(10):
            while len(told := await settle(broker, wanted, "check")) < 3:
                await asyncio.sleep(0.1)  # rules take a moment to be known
        told = await settle(broker, wanted, "create")
        new = wanted[1].on(1).command
        assert new.startswith(
            "kafka-topics.sh --create --topic new --partitions 1 --replication-factor 1 --config"
        )
        assert sorted(told) == [
            "the topic 'closed' can't be checked: we may not see it, grant Describe on it",
            f"the topic 'new' may not be made by us: grant Create, or make it by `{new}`",
            "the topic 'unseen' can't be checked: we may not see it, grant DescribeConfigs on it",
        ]


_TOPIC, _CLUSTER = 2, 4
_ALL, _CREATE, _DESCRIBE = 2, 5, 8
_DENY, _ALLOW = 2, 3
_LITERAL = 3


async def rule(kafka: Kafka, resource: int, name: str, operation: int, permission: int) -> None:
    """Allows or denies something to whoever comes without a login."""
    async with kafka.admin() as admin:
        answer = await admin._send_request(
            CreateAclsRequest(resource, name, _LITERAL, "User:ANONYMOUS", "*", operation, permission)
        )
    assert [code for code, _ in answer.creation_responses] == [0]


@pytest.mark.slow
async def test_three_brokers_have_three_replicas_of_which_two_must_answer(three_kafkas: KafkaCluster) -> None:
    wanted = wanted_topics(["submit"], "jobs", ["results"], "dlq", partitions=2)
    assert await settle(three_kafkas, wanted, "create") == []
    for spec in wanted:
        async with asyncio.timeout(30):
            # The broker that is asked may not have heard of the topic yet.
            while not (partitions := (await described(three_kafkas, spec.name))["partitions"]):
                await asyncio.sleep(0.2)
        assert {len(partition["replicas"]) for partition in partitions} == {3}
        assert await three_kafkas.settings(spec.name) == {**spec.config, "min.insync.replicas": "2"}
    assert await settle(three_kafkas, wanted, "check") == []
    fewer = [replace(spec, replication=2) for spec in wanted[:1]]
    (problem,) = await settle(three_kafkas, fewer, "check")
    assert problem.endswith("another replication factor than it should have: found 3, wanted 2")
    await three_kafkas.create("thin", 1, {"min.insync.replicas": "1"})
    (problem,) = await settle(three_kafkas, [TopicSpec("thin", 1)], "check")
    assert problem.endswith("another min.insync.replicas than it should have: found 1, wanted 2")


@pytest.mark.slow
async def test_a_broker_that_is_down_makes_nothing_wrong(three_kafkas: KafkaCluster) -> None:
    wanted = wanted_topics(["submit"], "jobs", ["results"], "dlq", partitions=2)
    assert await settle(three_kafkas, wanted, "create") == []
    await asyncio.to_thread(three_kafkas.stop, 3, signal.SIGKILL)
    # In the beginning the cluster takes it for living.
    for seconds in (0, 5):
        await asyncio.sleep(seconds)
        async with asyncio.timeout(30):
            while (told := await told_by(three_kafkas, wanted)) is None:
                await asyncio.sleep(0.2)
        assert told == []


def login(kafka: KafkaCluster, password: str = PASSWORD) -> dict[str, Any]:
    return client_arguments(
        KafkaClientOptions(
            kafka.bootstrap,
            protocol="SASL_SSL",
            ca_file=kafka.ca_file,
            mechanism="SCRAM-SHA-512",
            username=USER,
            password=lambda: password,
        )
    )


async def test_by_tls_and_scram_topics_are_made_and_records_written_and_read(secure_kafka: KafkaCluster) -> None:
    wanted = [TopicSpec("by-tls", 1, {"retention.ms": str(HOUR)})]
    assert await settle_topics(login(secure_kafka), wanted, "create", Heard()) == []
    assert await settle_topics(login(secure_kafka), wanted, "check", Heard()) == []
    publisher = KafkaPublisher(login(secure_kafka))
    await publisher.start()
    assert await publisher.send([Message("by-tls", b"k", b"v")]) == [Delivery.SENT]
    await publisher.aclose()
    consumer = secure_kafka.consumer("by-tls", group="readers", **login(secure_kafka))
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            record = await consumer.getone()
    finally:
        await consumer.stop()
    assert (record.key, record.value) == (b"k", b"v")


async def test_a_wrong_password_and_a_strange_authority_are_errors_that_hold_no_secret(
    secure_kafka: KafkaCluster, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = login(secure_kafka, "wrong-Pa55word")
    with pytest.raises(TopicsError) as refused:
        await settle_topics(wrong, [TopicSpec("by-tls", 1)], "check", Heard(), seconds=5)
    publisher = KafkaPublisher(wrong)
    with pytest.raises(PublisherError) as not_let_in:
        await publisher.start()
    await publisher.aclose()
    strange = login(secure_kafka) | client_arguments(KafkaClientOptions(secure_kafka.bootstrap, protocol="SSL"))
    with pytest.raises(TopicsError) as not_trusted:
        await settle_topics(
            {**strange, "security_protocol": "SASL_SSL"}, [TopicSpec("by-tls", 1)], "check", Heard(), seconds=5
        )
    said = f"{refused.value!r} {not_let_in.value!r} {not_trusted.value!r} {caplog.text}"
    assert "wrong-Pa55word" not in said
    assert PASSWORD not in said
    assert "it refuses the login: " in str(refused.value)
    assert "its certificate is not trusted (" in str(not_trusted.value)


async def told_by(kafka: Kafka, wanted: Sequence[TopicSpec]) -> list[str] | None:
    """What a check says, None while a broker is asked that is not there."""
    try:
        return await settle(kafka, wanted, "check")
    except TopicsError:
        return None
