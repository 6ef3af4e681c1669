"""Scripts, the names that spell them, their JSON, and the redaction of the journal."""

from __future__ import annotations

import pytest

from adapters.providers.simulator import (
    CONTEXT_LENGTH,
    Cut,
    ErrorIn200,
    Garbage,
    HttpError,
    Reason,
    Reset,
    Script,
    SlowFirstByte,
    Stall,
    ToolCall,
    Usage,
    rate_limited,
    redacted,
)
from adapters.providers.simulator.control import script_from_json
from adapters.providers.simulator.model_names import EXAMPLES, script_of
from adapters.providers.simulator.script import pieces


@pytest.mark.parametrize(
    "text", ["", " ", "one", " two  words\n", "a\tb\n\n", "naïve 日本語 text ", "line\u2028sep"]
)
def test_cutting_text_into_tokens_loses_nothing(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_a_script_of_256_tokens_has_256_of_them() -> None:
    assert len(Script(tokens=256).text_tokens()) == 256
    assert Script(tokens=256).counted_usage().completion_tokens == 256


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"text": "a", "tokens": 1}, "text, tokens, echo"),
        ({"tokens": -1}, "tokens"),
        ({"pace": -0.1}, "pace"),
        ({"choices": 0}, "choices"),
        ({"fault": Cut(after_tokens=-1)}, "fault.after_tokens"),
    ],
)
def test_an_impossible_script_is_refused_by_the_field(fields: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Script(**fields)  # type: ignore[arg-type]


def test_a_success_status_is_not_a_fault() -> None:
    with pytest.raises(ValueError, match=r"fault\.status"):
        HttpError(200)


@pytest.mark.parametrize(
    ("model", "script"),
    [
        ("sim-echo", Script(echo=True)),
        ("simulator/sim-tokens-16", Script(tokens=16)),
        ("sim-paced-5ms-256", Script(tokens=256, pace=0.005)),
        ("sim-paced-0.5s-2", Script(tokens=2, pace=0.5)),
        ("sim-echo-pace-40ms-busy-2-1s", Script(echo=True, pace=0.04, busy_calls=2)),
        ("sim-tokens-64-fault-cut-10", Script(tokens=64, fault=Cut(10))),
        ("sim-fault-stall", Script(fault=Stall(3))),
        ("sim-fault-garbage-0", Script(fault=Garbage(0))),
        ("sim-fault-error200", Script(fault=ErrorIn200())),
        ("sim-fault-errorevent-2", Script(fault=ErrorIn200(2))),
        ("sim-fault-silence", Script(fault=Reset(None))),
        ("sim-fault-slow-2s", Script(fault=SlowFirstByte(2.0))),
        ("sim-fault-429", Script(fault=rate_limited(1))),
        ("sim-fault-429-30s", Script(fault=rate_limited(30))),
        ("sim-fault-529", Script(fault=HttpError(529, Reason.OVERLOADED))),
        ("sim-fault-context", Script(fault=CONTEXT_LENGTH)),
        ("sim-after-200ms-takes-1s-echo", Script(echo=True, first_byte_delay=0.2, latency=1.0)),
        ("gpt-4o", None),
    ],
)
def test_a_model_name_spells_its_script(model: str, script: Script | None) -> None:
    assert script_of(model) == script


@pytest.mark.parametrize("model", EXAMPLES)
def test_every_listed_name_can_be_read(model: str) -> None:
    assert script_of(model) is not None


@pytest.mark.parametrize(
    "model", ["sim-", "sim-tokens", "sim-tokens-many", "sim-paced-5-256", "sim-fault-flood", "sim-tokens-4-echo"]
)
def test_a_name_that_says_nonsense_is_an_error_that_quotes_it(model: str) -> None:
    with pytest.raises(ValueError, match=model):
        script_of(model)


def test_a_script_in_json_has_the_fields_of_the_script() -> None:
    given = {
        "text": ["a", " b"],
        "reasoning": "hm",
        "tool_calls": [{"id": "c1", "name": "f", "arguments": '{"x":1}'}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 6},
        "logprobs": [-1, -0.5],
        "pace": 1,
        "choices": None,
        "fault": {"kind": "http_error", "status": 429, "reason": "rate_limited", "headers": {"retry-after": "2"}},
    }
    assert script_from_json(given) == Script(
        text=("a", " b"),
        reasoning="hm",
        tool_calls=(ToolCall("c1", "f", '{"x":1}'),),
        usage=Usage(prompt_tokens=5, completion_tokens=6),
        logprobs=(-1.0, -0.5),
        pace=1.0,
        fault=rate_limited(2),
    )


def test_bytes_in_json_are_text_or_base64() -> None:
    text = script_from_json({"fault": {"kind": "garbage", "data": "zzz"}})
    encoded = script_from_json({"fault": {"kind": "garbage", "data": {"base64": "AP8="}}})
    assert text.fault == Garbage(data=b"zzz")
    assert encoded.fault == Garbage(data=b"\x00\xff")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ([], "script: must be an object"),
        ({"txt": "a"}, r"script\.txt: unknown"),
        ({"tokens": "3"}, r"script\.tokens: must be an integer"),
        ({"tokens": True}, r"script\.tokens: must be an integer"),
        ({"pace": None}, r"script\.pace: must be a number"),
        ({"pace": -1}, r"script\.pace: -1\.0 is below 0"),
        ({"text": [1]}, r"script\.text: must be a string or a list"),
        ({"tool_calls": [{"name": "f"}]}, r"script\.tool_calls\[0\]: .*'id'"),
        ({"fault": {"kind": "flood"}}, r"script\.fault\.kind: must be one of cut"),
        ({"fault": {"kind": "cut", "after": 1}}, r"script\.fault\.after: unknown"),
        ({"fault": {"kind": "garbage", "data": {"base64": "?"}}}, r"script\.fault\.data\.base64"),
        ({"fault": {"kind": "http_error", "status": 200}}, r"fault\.status"),
    ],
)
def test_bad_script_json_is_refused_by_its_path(given: object, path: str) -> None:
    with pytest.raises(ValueError, match=path):
        script_from_json(given)


def test_credentials_are_redacted_and_still_comparable() -> None:
    one, same, other = (redacted("Authorization", f"Bearer {key}") for key in ("sk-1", "sk-1", "sk-2"))
    assert one == same
    assert one != other
    assert one.startswith("Bearer [redacted")
    assert "sk-1" not in one
    assert "secret" not in redacted("x-api-key", "secret")
    assert redacted("accept", "text/event-stream") == "text/event-stream"
