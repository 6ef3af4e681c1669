"""Dead letters as text for a terminal."""

from __future__ import annotations

import json

import pytest
from eurouter.v1 import jobs_pb2 as pb

from service.dlq_text import json_text, letter_text, redriven_text, table
from service.domain.errors import Violation
from service.edge.kafka.rejections import RejectedRecordError, Rejection, malformed

ORDERS = "\x1b[2J\x9b31m\x07\u202e"
"""Clears the screen, colours it, rings, turns the direction of writing around."""


def letter() -> pb.DeadLetter:
    return pb.DeadLetter(
        id="3:41",
        reason=f"invalid{ORDERS}",
        message=f"model{ORDERS}: is\nnot known",
        owner=f"team{ORDERS}",
        original_topic=f"topic{ORDERS}",
        key=f"key{ORDERS}".encode(),
        value=f"value{ORDERS}".encode(),
        headers=[pb.RecordHeader(name=f"name{ORDERS}", value=ORDERS.encode())],
    )


@pytest.mark.parametrize(
    "text",
    [
        table([letter()]),
        letter_text(letter(), whole=True),
        json_text(letter()),
        redriven_text(
            pb.RedrivenLetter(id="3:41", reason="invalid", message=f"a{ORDERS}\r\nb"),
            f"team{ORDERS}",
            dry_run=False,
        ),
    ],
)
def test_nothing_of_a_record_reaches_a_terminal_that_it_would_obey(text: str) -> None:
    assert all(one.isprintable() for one in text.replace("\n", ""))
    assert "\\x1b[2J" in text or "\\u001b[2J" in text


def test_json_for_a_terminal_says_the_same() -> None:
    assert json.loads(json_text(letter()))["message"] == letter().message
    assert "\n" not in json_text(letter())


def test_the_sentence_of_a_refusal_holds_nothing_that_is_obeyed() -> None:
    refused = malformed(Violation(f"metadata{ORDERS}", "is unknown"))
    assert refused.message == str(refused) == "metadata\\x1b[2J\\x9b31m\\x07\\u202e: is unknown"
    assert RejectedRecordError(Rejection.INVALID, "a\nb ü").message == "a b ü"
