"""The shared table of statuses, Retry-After, and messages that are safe to show."""

from __future__ import annotations

import pytest

from adapters.providers.status import MAX_MESSAGE, failure_for, kind_of, reset_seconds, retry_after, safe_message
from service.domain.failure import FailureKind as K

NOW = 1_763_780_400.0  # Sat, 22 Nov 2025 03:00:00 GMT


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, K.INVALID_REQUEST),
        (401, K.AUTH),
        (402, K.QUOTA),
        (403, K.AUTH),
        (404, K.MODEL_MISSING),
        (405, K.MODEL_MISSING),
        (408, K.TIMEOUT),
        (413, K.TOO_LARGE),
        (422, K.INVALID_REQUEST),
        (429, K.RATE_LIMITED),
        (500, K.SERVER_ERROR),
        (502, K.SERVER_ERROR),
        (503, K.OVERLOADED),
        (504, K.TIMEOUT),
        (524, K.SERVER_ERROR),
        (529, K.OVERLOADED),
        (301, K.UNKNOWN),
        (418, K.UNKNOWN),
    ],
)
def test_a_status_without_more_says_this_much(status: int, kind: K) -> None:
    assert failure_for(status, {}, "").kind is kind


def test_a_code_says_more_than_the_status() -> None:
    assert kind_of(429, "", "insufficient_quota") is K.QUOTA
    assert kind_of(403, "", "model_not_found") is K.MODEL_MISSING
    assert kind_of(400, "", "content_filter") is K.CONTENT_POLICY
    assert kind_of(413, "tokens per minute", "rate_limit_exceeded") is K.RATE_LIMITED
    assert kind_of(429, "", "a_new_code") is K.RATE_LIMITED


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
        "the request exceeds the available context size, try increasing it",
        "The decoder prompt (length 9000) is longer than the maximum model length of 8192",
        "prompt is too long: 210000 tokens > 200000 maximum",
    ],
)
def test_a_context_that_is_too_long_is_known_by_its_sentence(message: str) -> None:
    assert kind_of(400, message) is K.CONTEXT_LENGTH


def test_a_prompt_repeated_in_an_error_never_turns_it_into_one_worth_a_retry() -> None:
    prompt = "Invalid input: 'why do I get 429 rate limit, timeout, overloaded, insufficient_quota?'"
    assert kind_of(400, prompt) is K.INVALID_REQUEST
    assert kind_of(500, "maximum context length") is K.SERVER_ERROR


def test_a_404_is_our_mistake_unless_it_names_something_of_the_callers() -> None:
    assert kind_of(404, "Not Found") is K.MODEL_MISSING
    assert kind_of(404, "no such model", param="model") is K.MODEL_MISSING
    assert kind_of(404, "No such File object", param="messages[0].content") is K.INVALID_REQUEST
    assert kind_of(400, "invalid model ID", param="model") is K.MODEL_MISSING


def test_a_failure_keeps_what_the_provider_said() -> None:
    failure = failure_for(400, {"retry-after": "2"}, "Bad  value\n here", "bad", "messages[0]")
    assert (failure.message, failure.status, failure.code) == ("Bad value here", 400, "bad")
    assert (failure.param, failure.retry_after) == ("messages[0]", 2.0)
    assert failure_for(502, {}, "").message == "the provider answered with status 502"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "7", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Sat, 22 Nov 2025 03:00:30 GMT"}, 30.0),
        ({"retry-after": "Sat, 22 Nov 2025 02:59:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 1.0),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-remaining-tokens": "0",
            },
            360.0,
        ),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "0",
            },
            360.0,
        ),
        ({"retry-after": "3", "x-ratelimit-reset": "60"}, 3.0),
        ({"retry-after": "86400"}, 86400.0),
        ({"retry-after": "999999999999999"}, 86400.0),
        ({"retry-after-ms": "999999999999999"}, 86400.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 86400.0),
        ({"x-ratelimit-reset": "9999-12-31T00:00:00Z"}, 86400.0),
        ({"x-ratelimit-reset": "9" * 400 + "d"}, 86400.0),
        ({}, None),
    ],
)
def test_the_provider_names_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_a_date_counts_from_the_answers_own_date_when_no_clock_is_given() -> None:
    headers = {"retry-after": "Sat, 22 Nov 2025 03:00:30 GMT", "date": "Sat, 22 Nov 2025 03:00:10 GMT"}
    assert retry_after(headers) == 20.0
    assert retry_after({"retry-after": headers["retry-after"]}) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400.0),
        ("8.64s", 8.64),
        ("15", 15.0),
        (str(int(NOW) + 5), 5.0),
        (str(int(NOW) * 1000 + 2500), 2.5),
        ("2025-11-22T03:00:09Z", 9.0),
        ("1s later", None),
        ("", None),
    ],
)
def test_a_reset_is_read_in_every_form(value: str, seconds: float | None) -> None:
    assert reset_seconds(value, NOW) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abc123DEF_456-789",
        "sk-fake-key",
        "sk-ab****************wxyz",
        "eur_0123456789abcdefghijABCDEFGHIJ012345",
        "Bearer abcdefgh.ijkl-mnop",
        "gsk_abcdEFGH1234",
        "AIzaSyA1234567890abcdefg",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    ],
)
def test_no_credential_survives_in_a_message(secret: str) -> None:
    message = safe_message(f"Incorrect key: {secret}. See https://example.com/keys.")
    assert "***" in message
    assert message.endswith("See https://example.com/keys.")
    for piece in secret.replace("Bearer ", "").split("."):
        assert piece not in message


def test_a_key_of_any_form_is_masked_where_a_provider_repeats_it() -> None:
    assert safe_message("Incorrect API key provided: bad-key. Find it here.") == (
        "Incorrect API key provided: ***. Find it here."
    )


def test_a_long_message_is_cut() -> None:
    text = safe_message("x" * 100_000)
    assert len(text) == MAX_MESSAGE
    assert text.endswith("…")


def test_an_ordinary_sentence_is_left_alone() -> None:
    sentence = "The basic plan's task-key is risk-free: 'frequency_penalty' must be in [-2, 2]."
    assert safe_message(sentence) == sentence
