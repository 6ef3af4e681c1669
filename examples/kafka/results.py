"""Reads results of jobs from Kafka: each once, whole or fetched by its id, until they are deleted.

    python examples/kafka/results.py --bootstrap 127.0.0.1:9092 --count 10000

Needs `aiokafka`. For results that are references: --api, and an API key in EUROUTER_KEY where keys are asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaConnectionError

HINT_SECONDS = 15
HINT = (
    "no results so far: were these jobs submitted before? A record with an idempotency key that was used already "
    "is no new job and makes no new result. Or this group has read the results already\n"
)


@dataclass(frozen=True)
class Result:
    """A result, or the news that a response is gone (`body` None and no status)."""

    id: str
    version: int
    status: str = ""
    correlation_id: str = ""
    inline: bool = True
    body: dict[str, Any] | None = None

    @property
    def is_tombstone(self) -> bool:
        """Whether the response was deleted or has expired."""
        return not self.status

    @property
    def text(self) -> str:
        """The answer's text: of a response or of a chat completion."""
        body = self.body or {}
        if body.get("object") == "chat.completion":
            return str(body["choices"][0]["message"].get("content") or "")
        parts = (part for item in body.get("output", []) for part in item.get("content") or [])
        return "".join(part.get("text", "") for part in parts)


def read(record: ConsumerRecord[bytes | None, bytes | None]) -> Result:
    """What a record of the results topic says."""
    headers = {name: value.decode() for name, value in record.headers}
    name = (record.key or b"").decode()
    version = int(headers["eurouter-version"])
    if record.value is None:
        return Result(name, version)
    if not headers["content-type"].startswith("application/json"):
        raise ValueError(f"{name}: this reader knows JSON, not {headers['content-type']}")
    return Result(
        id=name,
        version=version,
        status=headers["eurouter-status"],
        correlation_id=headers.get("correlation-id", ""),
        inline=headers.get("eurouter-inline") != "false",
        body=json.loads(record.value),
    )


@dataclass
class Inbox:
    """What was seen so far. A program of yours keeps it in its database, in the transaction that uses the result.

    Delivery is at least once: a repeat has the same id and version. In between nothing is lost.
    """

    versions: dict[str, int] = field(default_factory=dict)

    def is_new(self, result: Result) -> bool:
        """Whether it says something that was not known; then it is known from now on."""
        if result.version <= self.versions.get(result.id, -1):
            return False
        self.versions[result.id] = result.version
        return True


def fetch(api: str, name: str) -> dict[str, Any]:
    """The whole response that a reference stands for, by HTTP."""
    request = urllib.request.Request(f"{api}/responses/{name}")  # noqa: S310 - the address is the operator's own
    if key := os.environ.get("EUROUTER_KEY"):
        request.add_header("authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
    return found


async def show(result: Result, options: argparse.Namespace) -> None:
    """Here a program of yours would use the result."""
    if result.is_tombstone:
        told = "gone: forget what you know of it"
    else:
        if not result.inline and options.api:
            whole = await asyncio.to_thread(fetch, options.api, result.id)
            result = Result(result.id, result.version, result.status, result.correlation_id, body=whole)
        error = (result.body or {}).get("error") or {}
        told = error.get("message") or result.text or "(a reference: say --api to fetch it)"
    line = " ".join(told.split())
    sys.stdout.write(f"{result.status or 'deleted':10} {result.correlation_id or result.id}: {line[:100]}\n")


async def consume(options: argparse.Namespace) -> Counter[str]:
    """Reads until --count results came, or none for --idle seconds; how many of each status."""
    consumer = AIOKafkaConsumer(
        options.topic,
        **connection(options),
        group_id=options.group,
        # A group that begins reads what is there; what was used is committed below, not by a timer.
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        partition_assignment_strategy=(RoundRobinPartitionAssignor,),
        isolation_level="read_committed",
    )
    inbox, counts = Inbox(), Counter[str]()
    try:
        await consumer.start()
        heard = time.monotonic()
        hint_at = heard + min(HINT_SECONDS, options.idle / 2)
        while counts.total() < (options.count or sys.maxsize) and time.monotonic() - heard < options.idle:
            batches = await consumer.getmany(timeout_ms=500)
            if not counts and time.monotonic() > hint_at:
                sys.stderr.write(HINT)
                hint_at = float("inf")
            for records in batches.values():
                heard = time.monotonic()
                counts.update(await use(records, inbox, options))
            if batches:
                await consumer.commit()
    finally:
        await consumer.stop()
    return counts


async def use(
    records: Sequence[ConsumerRecord[bytes | None, bytes | None]], inbox: Inbox, options: argparse.Namespace
) -> list[str]:
    """Shows what is new of them; their statuses."""
    new = [result for record in records if inbox.is_new(result := read(record))]
    for result in new:
        await show(result, options)
    return [result.status or "deleted" for result in new]


def connection(options: argparse.Namespace) -> dict[str, Any]:
    """Where the brokers are, and the login if there is one; the password is in KAFKA_PASSWORD."""
    found: dict[str, Any] = {"bootstrap_servers": options.bootstrap}
    if options.ca_file:
        found |= {"security_protocol": "SSL", "ssl_context": ssl.create_default_context(cafile=options.ca_file)}
    if options.username:
        found |= {
            "security_protocol": "SASL_SSL",
            "ssl_context": ssl.create_default_context(cafile=options.ca_file),
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": options.username,
            "sasl_plain_password": os.environ["KAFKA_PASSWORD"],
        }
    return found


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Read results of jobs from Kafka.")
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="brokers, as host:port,host:port")
    parser.add_argument("--ca-file", help="a PEM file of authorities to trust: TLS")
    parser.add_argument("--username", help="log in by SCRAM-SHA-512 over TLS; the password is in KAFKA_PASSWORD")
    parser.add_argument("--topic", default="eurouter.results.v1", help="default: %(default)s")
    parser.add_argument("--group", default="team-a.results", help="consumer group (default: %(default)s)")
    parser.add_argument("--api", help="for references, such as http://127.0.0.1:8080/v1")
    parser.add_argument("--count", type=int, default=0, help="end after so many results (default: never)")
    parser.add_argument("--idle", type=float, default=300, help="end after so many seconds without any")
    return parser.parse_args(given)


def main() -> int:
    """Reads what the command line says. Exit code 1: fewer came than --count."""
    options = arguments()
    try:
        counts = asyncio.run(consume(options))
    except KafkaConnectionError:
        where = options.bootstrap
        sys.stderr.write(f"no broker at {where} lets us in: is it there, does it want TLS or a login?\n")
        return 1
    told = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    sys.stdout.write(f"{counts.total()} results: {told or 'none'}\n")
    return 0 if counts.total() >= options.count else 1


if __name__ == "__main__":
    sys.exit(main())
