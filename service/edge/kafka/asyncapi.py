"""Writes docs/asyncapi.yaml, the Kafka contract as AsyncAPI 3: `python -m service.edge.kafka.asyncapi`.

What it says of headers, reasons and forms comes from the code. Names of topics and what they are set to are the
defaults, which a test compares with those of the settings.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from service.edge.kafka.asyncapi_headers import REASONS
from service.edge.kafka.asyncapi_messages import (
    DEAD_LETTERS,
    KEYS,
    MESSAGES,
    RESULTS,
    SCHEMAS,
    SUBMISSIONS,
    WAKE_UPS,
    ref,
)
from service.edge.kafka.names import CORRELATION_ID

PAGE: Final = Path("docs/asyncapi.yaml")

_START: Final = "# Written by `make docs` from service/edge/kafka/: don't edit.\n"
_VERSION: Final = "1.0.0"
_BINDING: Final = "0.5.0"
_DAY: Final = 24 * 60 * 60 * 1000

INTAKE_GROUP: Final = "eurouter.intake.v1"
WAKE_GROUP: Final = "eurouter.workers.v1"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is by default. `config` has Kafka's names, times in milliseconds."""

    name: str
    cleanup: tuple[str, ...]
    days: int
    config: Mapping[str, int] = field(default_factory=dict)
    partitions: int = 12


SUBMIT: Final = Topic("eurouter.submit.v1", ("delete",), 7)
JOBS: Final = Topic("eurouter.jobs.v1", ("delete",), 1)
RESULT: Final = Topic("eurouter.results.v1", ("compact", "delete"), 30, {"max.compaction.lag.ms": _DAY})
DLQ: Final = Topic("eurouter.dlq.v1", ("delete",), 14)

_ABOUT: Final = (
    "Teams submit requests by writing to Kafka and read results from Kafka. docs/kafka.md says it in full.\n\n"
    "Names of topics and groups are settings; these are the defaults. The operator may bind further topics to "
    "owners: what comes there is theirs (`boundSubmissions`), and its results may have a topic of their own "
    "(`boundResults`). No order is promised between jobs. Results are delivered at least once: drop repeats by "
    "key and eurouter-version.\n\nReplication is 3 and min.insync.replicas 2 where the cluster has three brokers."
)


def document() -> dict[str, Any]:
    """The whole document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "eurouter over Kafka",
            "version": _VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": MESSAGES,
            "schemas": SCHEMAS,
            "messageBindings": {
                name: {"kafka": {**key["kafka"], "bindingVersion": _BINDING}} for name, key in KEYS.items()
            },
            "correlationIds": {"correlationId": {"location": f"$message.header#/{CORRELATION_ID}"}},
            "securitySchemes": _SECURITY,
        },
    }


def page() -> str:
    """The document as YAML."""
    return _START + yaml.dump(document(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)


class _Plain(yaml.SafeDumper):
    """Writes everything out where it stands, however often it is used."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


_SECURITY: Final = {
    "scramSha512": {"type": "scramSha512", "description": "SASL_SSL with SCRAM-SHA-512."},
    "scramSha256": {"type": "scramSha256", "description": "SASL_SSL with SCRAM-SHA-256."},
    "plain": {"type": "plain", "description": "SASL_SSL with PLAIN."},
    "oauthBearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "SASL_SSL with OAUTHBEARER; the token is your identity provider's.",
    },
    "clientCertificate": {"type": "X509", "description": "SSL with a certificate of the client's."},
}


def _servers() -> dict[str, Any]:
    variables = {"host": {"description": "Your brokers' name."}, "port": {"default": "9092"}}
    return {
        "secure": {
            "host": "{host}:{port}",
            "protocol": "kafka-secure",
            "description": "Your own cluster, by TLS.",
            "variables": variables,
            "security": [ref("components", "securitySchemes", name) for name in _SECURITY],
        },
        "plain": {
            "host": "{host}:{port}",
            "protocol": "kafka",
            "description": "Your own cluster, inside a network that you trust.",
            "variables": variables,
        },
    }


def _channels() -> dict[str, Any]:
    topic = {"topic": {"description": "As the settings name it."}}
    return {
        "submissions": _channel(SUBMIT, "Requests of owners who sign them.", SUBMISSIONS, address=SUBMIT.name),
        "boundSubmissions": {
            **_channel(SUBMIT, "Requests of one owner: the broker says who may write.", SUBMISSIONS),
            "parameters": topic,
        },
        "wakeUps": _channel(JOBS, "Among the service's own processes.", WAKE_UPS, address=JOBS.name),
        "results": _channel(
            RESULT, "What became of jobs whose results have no topic of their own.", RESULTS, address=RESULT.name
        ),
        "boundResults": {
            **_channel(
                RESULT, "What became of the jobs of one owner, or of those that ask for this topic.", RESULTS
            ),
            "parameters": topic,
        },
        "deadLetters": _channel(
            DLQ, f"Records that are no jobs, and why.\n\n{_reasons()}", DEAD_LETTERS, address=DLQ.name
        ),
    }


def _reasons() -> str:
    return "\n".join(f"- {reason.value}: {text}" for reason, text in REASONS.items())


def _channel(
    topic: Topic, description: str, messages: Mapping[str, Any], address: str = "{topic}"
) -> dict[str, Any]:
    return {
        "address": address,
        "description": description,
        "messages": {name: ref("components", "messages", name) for name in messages},
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": list(topic.cleanup),
                    "retention.ms": topic.days * _DAY,
                    **topic.config,
                },
                "bindingVersion": _BINDING,
            }
        },
    }


def _operations() -> dict[str, Any]:
    return {
        "takeSubmissions": _operation("receive", "submissions", "Takes requests in.", INTAKE_GROUP),
        "takeBoundSubmissions": _operation(
            "receive", "boundSubmissions", "Takes requests of one owner in.", INTAKE_GROUP
        ),
        "sendWakeUps": _operation("send", "wakeUps", "Tells workers that a job waits."),
        "takeWakeUps": _operation("receive", "wakeUps", "Wakes a worker.", WAKE_GROUP),
        "sendResults": _operation("send", "results", "Tells what became of a job, or that it is gone."),
        "sendBoundResults": _operation("send", "boundResults", "The same, in an owner's topic."),
        "sendDeadLetters": _operation("send", "deadLetters", "Tells that a record is no job."),
    }


def _operation(action: str, channel: str, summary: str, group: str = "") -> dict[str, Any]:
    operation: dict[str, Any] = {"action": action, "channel": ref("channels", channel), "summary": summary}
    if group:
        operation["bindings"] = {
            "kafka": {"groupId": {"type": "string", "const": group}, "bindingVersion": _BINDING}
        }
    return operation


def main() -> int:
    """Writes the page; run it in the repository's root."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
