"""Random bodies at the HTTP door: never a fault of ours, never a crash, and the door answers afterwards."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.providers.simulator import Script
from tests.support.http_door import CHAT, Answer, body, http_door

IMAGE: Final = {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}}
CALL: Final = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
FULL: Final[dict[str, Any]] = {
    "model": "sim/both",
    "models": ["sim/alpha"],
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "developer", "content": [{"type": "text", "text": "be kind"}], "name": "dev"},
        {"role": "user", "content": [{"type": "text", "text": "hi"}, IMAGE]},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning": "hm", "refusal": None},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "user", "content": "go on"},
    ],
    "stream": True,
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "temperature": 1.0,
    "top_p": 0.5,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logprobs": True,
    "top_logprobs": 2,
    "seed": 7,
    "logit_bias": {"50256": -100},
    "stop": ["a", "b"],
    "reasoning": {"effort": "low", "summary": "auto"},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": True,
    "user": "u",
    "metadata": {"k": "v"},
    "provider": {
        "order": ["alpha"],
        "only": ["alpha", "beta"],
        "ignore": [],
        "allow_fallbacks": True,
        "sort": "price",
        "require_parameters": False,
        "data_collection": "allow",
    },
    "n": 1,
    "service_tier": "auto",
    "store": False,
    "prediction": {"type": "content", "content": "x"},
    "audio": {"voice": "alloy", "format": "wav"},
    "modalities": ["text"],
    "web_search_options": {"search_context_size": "low"},
    "functions": [],
    "function_call": "auto",
    "stream_options": {"include_usage": True},
}

TEXTS: Final = st.text(max_size=8) | st.sampled_from(
    [
        "",
        "sim/alpha",
        "auto",
        "none",
        "text",
        "function",
        "user",
        "tool",
        "\x00",
        "\u2028",
        "9" * 400,
        "data:;base64,",
        "eu",
    ]
)
LEAVES: Final = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([0, 1, -1, 2**31, 2**53, 1e308, -0.0, 5e-324])
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES: Final = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in a document with each key in it."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield value, key
        yield from places(item)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A request of many fields with some values exchanged, taken out or moved."""
    picked = draw(st.sets(st.sampled_from(sorted(FULL)), max_size=8)) | {"model", "messages"}
    request: dict[str, Any] = copy.deepcopy({key: value for key, value in FULL.items() if key in picked})
    for _ in range(draw(st.integers(0, 3))):
        holder, key = draw(st.sampled_from(list(places(request))))
        match draw(st.sampled_from(["exchange", "remove", "rename", "double"])):
            case "exchange":
                holder[key] = draw(VALUES)
            case "remove":
                del holder[key]
            case "rename" if isinstance(holder, dict):
                holder[draw(TEXTS)] = holder.pop(key)
            case "double" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case _:
                holder[key] = None
        if not list(places(request)):
            break
    return request


@st.composite
def torn(draw: st.DrawFn) -> bytes:
    """A request in JSON with some bytes lost, doubled or exchanged."""
    data = bytearray(orjson.dumps(draw(mutated())))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        data[at : at + draw(st.integers(0, 5))] = draw(st.binary(max_size=5))
    return bytes(data)


BODIES: Final = {
    "any JSON": VALUES.map(orjson.dumps),
    "any object": st.dictionaries(st.sampled_from(sorted(FULL)) | TEXTS, VALUES, max_size=6).map(orjson.dumps),
    "mutated": mutated().map(orjson.dumps),
    "torn": torn(),
    "bytes": st.binary(max_size=200),
}
EXAMPLES: Final = {"any JSON": 150, "any object": 300, "mutated": 1000, "torn": 300, "bytes": 150}
# Characters that may stand in a header's value; what is no UTF-8 comes as surrogates.
HEADER_VALUES: Final = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40)
HEADERS: Final = st.dictionaries(
    st.sampled_from(
        ["authorization", "x-api-key", "x-request-id", "traceparent", "tracestate", "content-type", "host"]
    ),
    HEADER_VALUES | st.sampled_from(["Bearer ", "00-" + "1" * 32 + "-" + "2" * 16 + "-01", "a=1,b=2"]),
    max_size=4,
)
PATHS: Final = st.builds(
    lambda prefix, path, query: f"{prefix}/{quote(path, safe='/%')}{'?' * bool(query)}{urlencode(query)}",
    st.sampled_from(["", "/v1", "/api/v1", "/v1/models", "/api/v1/models", "/v1/chat/completions"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from(["models", "providers", "%ff", "%"]),
    st.dictionaries(
        st.sampled_from(["category", "provider", "supported_parameters", "page_size", "page_token", "x"]),
        st.binary(max_size=6) | st.sampled_from([b"eu", b"1", b"W10="]),
        max_size=3,
    ),
)


class Runner:
    """A door on a loop of its own, for hypothesis, which knows no coroutines."""

    def __init__(self, folder: Path) -> None:
        self._runner = asyncio.Runner()
        self._folder = folder

    def __enter__(self) -> Self:
        self._context = http_door(self._folder, {"log": {"level": "error"}})
        self.door = self._runner.run(self._context.__aenter__())
        for simulator in (self.door.up.alpha, self.door.up.beta):
            simulator.script(Script(text="ok"))
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._context.__aexit__(None, None, None))
        self._runner.close()

    def send(self, data: bytes, path: str, method: str = "POST", **options: Any) -> Answer:
        return self._runner.run(self.door.call(method, path, data=data, **options))


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with Runner(tmp_path_factory.mktemp("fuzz")) as opened:
        yield opened


@pytest.mark.parametrize("kind", BODIES)
def test_no_body_whatever_it_holds_is_a_fault_of_ours(runner: Runner, kind: str) -> None:
    @settings(
        max_examples=EXAMPLES[kind],
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(BODIES[kind], st.sampled_from([CHAT, "/api/v1/chat/completions"]))
    def check(data: bytes, path: str) -> None:
        answer = runner.send(data, path)
        assert b'"INTERNAL"' not in answer.raw
        if answer.status == 200:
            return
        # 503: filters that leave nobody.
        assert answer.status in (400, 404, 413, 503), (answer.status, answer.raw)
        error = answer.error
        assert error["message"]
        assert error["reason"] not in ("INTERNAL", "PROVIDER_REJECTED", "PROVIDER_BROKEN_ANSWER"), answer.raw
        assert answer.headers["x-should-retry"] == "false"
        assert len(answer.raw) < 20_000

    check()
    assert runner.send(orjson.dumps(body()), CHAT).status == 200


def test_no_path_query_or_header_is_a_fault_of_ours(runner: Runner) -> None:
    @settings(max_examples=400, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(["GET", "POST", "DELETE", "OPTIONS"]), PATHS, HEADERS)
    def check(method: str, path: str, headers: dict[str, str]) -> None:
        answer = runner.send(b"", path, method, headers=headers, skip_auto_headers=["content-type"])
        assert answer.status in (200, 400, 404, 405), (answer.status, answer.raw)
        if answer.status != 200 and answer.headers["content-type"] == "application/json":
            assert answer.error["reason"] != "INTERNAL"
            assert answer.json["requestId"] == answer.headers["x-request-id"]

    check()
    assert runner.send(orjson.dumps(body()), CHAT).status == 200
