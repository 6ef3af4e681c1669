"""Submits jobs by Kafka: one record each, to a topic that is bound to your team.

    python examples/kafka/submit.py --bootstrap 127.0.0.1:9092 --topic team-a.requests --count 10000

Needs `aiokafka`. Run it again with the same --label and nothing is done twice: the idempotency keys are the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import ssl
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

AT_A_TIME = 1000


def request(kind: str, model: str, number: int) -> dict[str, Any]:
    """What is asked: in the form of the Responses API, of the chat API, or as a line of a batch file."""
    text = f"Tell me something about the number {number}."
    messages = [{"role": "user", "content": text}]
    match kind:
        case "responses":
            return {"model": model, "input": text}
        case "chat":
            return {"model": model, "messages": messages}
        case _:
            body = {"model": model, "messages": messages}
            return {
                "custom_id": f"row-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }


def records(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The records, as arguments of `AIOKafkaProducer.send`."""
    for number in range(options.count):
        headers = {
            "content-type": "application/json",
            # With the owner it says which job it is, so that a record that is sent twice is one job.
            "idempotency-key": f"{options.label}-{number}",
            # Lists, counts and cancels all of them.
            "eurouter-group": options.label,
        }
        if options.kind == "chat":
            headers["eurouter-api"] = "chat"
        if options.kind != "batch":
            # Comes back with the result; a batch line has its custom_id for that.
            headers["correlation-id"] = f"row-{number}"
        if options.priority:
            headers["eurouter-priority"] = options.priority
        yield {
            "topic": options.topic,
            "key": f"row-{number}".encode(),
            "value": json.dumps(request(options.kind, options.model, number)).encode(),
            "headers": [(name, value.encode()) for name, value in headers.items()],
        }


async def submit(options: argparse.Namespace) -> int:
    """Sends all records and waits until the brokers have them; how many."""
    producer = AIOKafkaProducer(
        **connection(options),
        # What is acknowledged is stored by every replica in sync, once and in order.
        enable_idempotence=True,
        acks="all",
        compression_type="gzip",
        linger_ms=10,
        # A topic that is missing is waited for that long.
        request_timeout_ms=10_000,
    )
    sent = 0
    try:
        await producer.start()
        waiting = []
        for record in records(options):
            waiting.append(await producer.send(**record))
            if len(waiting) == AT_A_TIME:
                await asyncio.gather(*waiting)
                sent += len(waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
        return sent + len(waiting)
    finally:
        await producer.stop()


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
    parser = argparse.ArgumentParser(description="Submit jobs by Kafka.")
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="brokers, as host:port,host:port")
    parser.add_argument("--ca-file", help="a PEM file of authorities to trust: TLS")
    parser.add_argument("--username", help="log in by SCRAM-SHA-512 over TLS; the password is in KAFKA_PASSWORD")
    parser.add_argument("--topic", default="team-a.requests", help="default: %(default)s")
    parser.add_argument("--count", type=int, default=3, help="how many jobs (default: %(default)s)")
    parser.add_argument("--kind", choices=("responses", "chat", "batch"), default="responses")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="default: %(default)s")
    parser.add_argument("--label", default=f"run-{datetime.now(UTC):%Y%m%dT%H%M%S}", help="default: a new one")
    parser.add_argument("--priority", choices=("high", "normal", "bulk"))
    return parser.parse_args(given)


def reason(error: Exception, options: argparse.Namespace) -> str:
    """What went wrong, in words."""
    match error:
        case KafkaConnectionError():
            return f"no broker at {options.bootstrap} lets us in: is it there, does it want TLS or a login?"
        case UnknownTopicOrPartitionError():
            return f"there is no topic {options.topic}"
        case TopicAuthorizationFailedError():
            return f"we may not write to {options.topic}"
        case _:
            return f"{type(error).__name__}: {error}"


def main() -> int:
    """Submits what the command line says. Exit code 1: not all of it was, and the line says why."""
    options = arguments()
    # It logs every try; what came of all of them is said below.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    began = time.monotonic()
    try:
        sent = asyncio.run(submit(options))
    except (KafkaError, OSError) as error:
        sys.stderr.write(f"not submitted: {reason(error, options)}\n")
        return 1
    seconds = time.monotonic() - began
    sys.stdout.write(f"{sent} records to {options.topic} in {seconds:.1f} s; label {options.label}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
